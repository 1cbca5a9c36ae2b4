import re
import subprocess
from pathlib import Path

import pytest

from weft import cni_plugin


@pytest.fixture(scope="session")
def self_contained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The self-contained program, of the source as it is."""
    return build(tmp_path_factory.mktemp("plugin") / "istio-cni")


def build(target: Path, *flags: str) -> Path:
    script = Path(__file__).parents[3] / "tools" / "build-plugin"
    subprocess.run([script, target, *flags], check=True, timeout=60)
    return target


@pytest.fixture(params=["python", "self-contained"])
def hasty(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Either program, with a second's patience for whomever it asks."""
    if request.param == "self-contained":
        return build(tmp_path / "istio-cni", "-DANSWER_SECONDS=1")
    text, target = cni_plugin.PYTHON.read_text(), tmp_path / "istio_cni.py"
    for name in ("ANSWER_SECONDS", "API_SECONDS"):
        text, found = re.subn(rf"(?m)^{name} = \d+", f"{name} = 1", text)
        assert found == 1
    target.write_text(text)
    target.chmod(0o755)
    return target


@pytest.fixture(params=["python", "self-contained"])
def program(request: pytest.FixtureRequest) -> Path:
    """Either program; that for Python by the interpreter that its first line names."""
    if request.param == "python":
        return cni_plugin.PYTHON
    built: Path = request.getfixturevalue("self_contained")
    return built
