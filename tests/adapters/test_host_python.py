"""Nodes as distributions make them, and which Python of theirs is found."""

from pathlib import Path

import pytest

from weft.adapters.host_python import Python, find

WHOLE = ("encodings/__init__.py", "json/__init__.py", "http/client.py", "ssl.py")


def program(root: Path, path: str, text: bytes = b"\x7fELF...") -> None:
    where = root / path.lstrip("/")
    where.parent.mkdir(parents=True, exist_ok=True)
    where.write_bytes(text)
    where.chmod(0o755)


def library(root: Path, folder: str, names: tuple[str, ...] = WHOLE) -> None:
    for name in names:
        where = root / folder.lstrip("/") / name
        where.parent.mkdir(parents=True, exist_ok=True)
        where.touch()


def link(root: Path, path: str, target: str) -> None:
    where = root / path.lstrip("/")
    where.parent.mkdir(parents=True, exist_ok=True)
    where.symlink_to(target)


def test_a_name_that_stays_is_preferred_to_one_with_a_number(tmp_path: Path) -> None:
    program(tmp_path, "/usr/bin/python3.11")
    link(tmp_path, "/usr/bin/python3", "python3.11")
    library(tmp_path, "/usr/lib/python3.11")
    assert find(tmp_path) == Python("/usr/bin/python3", (3, 11))


def test_links_lead_from_the_nodes_root_and_not_from_ours(tmp_path: Path) -> None:
    link(tmp_path, "/usr/bin/python3", "/etc/alternatives/python3")
    link(tmp_path, "/etc/alternatives/python3", "/usr/bin/python3.12")
    program(tmp_path, "/usr/bin/python3.12")
    library(tmp_path, "/usr/lib64/python3.12")
    assert find(tmp_path) == Python("/usr/bin/python3", (3, 12))


def test_a_newer_one_beside_one_that_is_too_old_is_found(tmp_path: Path) -> None:
    link(tmp_path, "/usr/bin/python3", "python3.6")
    for minor in (6, 9, 10):
        program(tmp_path, f"/usr/bin/python3.{minor}")
        library(tmp_path, f"/usr/lib64/python3.{minor}")
    assert find(tmp_path) == Python("/usr/bin/python3.10", (3, 10))


@pytest.mark.parametrize(
    ("version", "text", "names", "said"),
    [
        ("3.6", b"\x7fELF", WHOLE, "none is 3.8 or newer with its standard library: /usr/bin/python3.6 (3.6)"),
        ("3.11", b"\x7fELF", WHOLE[:1], "with its standard library: /usr/bin/python3.11 (3.11)"),
        ("3.11", b"#!/bin/sh\n", WHOLE, "there is no python3 in /usr/bin or /usr/local/bin"),
    ],
)
def test_a_python_that_will_not_do_is_named(
    tmp_path: Path, version: str, text: bytes, names: tuple[str, ...], said: str
) -> None:
    program(tmp_path, f"/usr/bin/python{version}", text)
    library(tmp_path, f"/usr/lib/python{version}", names)
    assert said in str(find(tmp_path))


def test_a_node_without_any_says_so(tmp_path: Path) -> None:
    assert find(tmp_path) == f"{tmp_path}/usr is not there"
    (tmp_path / "usr/bin").mkdir(parents=True)
    assert find(tmp_path) == "there is no python3 in /usr/bin or /usr/local/bin"


def test_this_machines_own_is_found() -> None:
    assert isinstance(find(Path("/")), Python)
