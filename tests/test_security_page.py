"""SECURITY.md and the table of defects say only what some test shows, and what is installed is what was locked."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NAMED = re.compile(r"`(tests/[\w/.-]+)(?:::(\w+))?`")
PAGE = (ROOT / "SECURITY.md").read_text()
DEFECTS = (ROOT / "docs" / "reference" / "underlay.md").read_text()


@pytest.mark.parametrize(("path", "name"), sorted(set(NAMED.findall(PAGE + DEFECTS))))
def test_each_test_that_the_page_names_exists(path: str, name: str) -> None:
    text = (ROOT / path).read_text()
    if name:
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
        assert name in {each.name for each in ast.parse(text).body if isinstance(each, kinds)}


def test_what_somebody_cannot_do_is_shown_by_a_test() -> None:
    rows = [
        line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith(("| cannot", "| ---"))
    ]
    assert len(rows) > 40
    assert [line for line in rows if not NAMED.search(line)] == []


def test_everything_that_is_locked_has_a_hash() -> None:
    locked = tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    fetched = [each for each in locked if "registry" in each["source"]]
    files = [
        file
        for each in fetched
        for file in (*each.get("wheels", ()), *([each["sdist"]] if "sdist" in each else ()))
    ]
    assert len(fetched) > 50
    assert all(file["hash"].startswith("sha256:") for file in files)
    assert all(each.get("wheels") or each.get("sdist") for each in fetched)
    assert [each["name"] for each in locked if each not in fetched] == ["weft"]
    for pinned in ("uv", "audit"):
        text = (ROOT / "tools" / f"{pinned}.txt").read_text()
        assert re.findall(r"^\S+==\S+(?: ; [^\\]+)?$", text, re.MULTILINE) == []  # each is followed by its hashes
        assert "--hash=sha256:" in text
