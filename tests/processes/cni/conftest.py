import subprocess
from pathlib import Path

import pytest

from weft import cni_plugin


@pytest.fixture(scope="session")
def self_contained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The self-contained program, of the source as it is."""
    target = tmp_path_factory.mktemp("plugin") / "istio-cni"
    subprocess.run([Path(__file__).parents[3] / "tools" / "build-plugin", target], check=True, timeout=60)
    return target


@pytest.fixture(params=["python", "self-contained"])
def program(request: pytest.FixtureRequest) -> Path:
    """Either program; that for Python by the interpreter that its first line names."""
    if request.param == "python":
        return cni_plugin.PYTHON
    built: Path = request.getfixturevalue("self_contained")
    return built
