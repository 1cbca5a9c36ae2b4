"""The node's own Python, seen from a container: which one will run a program, and where it is on the node."""

import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from weft.adapters.links import followed

OLDEST: Final = (3, 8)
_FOLDERS: Final = ("/usr/bin", "/usr/local/bin")
_NEEDED: Final = ("encodings/__init__.py", "json/__init__.py", "http/client.py", "ssl.py")
"""Of the standard library: some distributions have an interpreter without it."""


@dataclass(frozen=True, slots=True)
class Python:
    """`path` is as the node sees it."""

    path: str
    version: tuple[int, int]

    def __str__(self) -> str:
        return f"{self.path} ({'.'.join(map(str, self.version))})"


def find(root: Path) -> Python | str:
    """The first Python that is new enough and whole, or what there is instead, as a sentence's end."""
    try:
        if not (root / "usr").exists():
            return f"{root}/usr is not there"
        found = list(_interpreters(root))
    except PermissionError:
        return f"{root} may not be looked into"
    for python in found:
        if python.version >= OLDEST and _is_whole(root, python):
            return python
    if not found:
        return f"there is no python3 in {' or '.join(_FOLDERS)}"
    wanted = ".".join(map(str, OLDEST))
    return f"none is {wanted} or newer with its standard library: {', '.join(map(str, found))}"


def _interpreters(root: Path) -> Iterator[Python]:
    """`python3` first, which stays when the node gets a newer one; then the newest of those with a number."""
    for folder in _FOLDERS:
        try:
            names = [path.name for path in _inside(root, folder).iterdir()]
        except (FileNotFoundError, NotADirectoryError):
            continue
        numbered = sorted(
            (int(match[1]) for name in names if (match := re.fullmatch(r"python3\.(\d+)", name))), reverse=True
        )
        for name in ("python3", *(f"python3.{minor}" for minor in numbered)):
            try:
                real = _inside(root, f"{folder}/{name}")
            except OSError:
                continue  # its links lead nowhere
            match = re.fullmatch(r"python3\.(\d+)", real.name)
            if match and _is_program(real):
                yield Python(f"{folder}/{name}", (3, int(match[1])))


def _inside(root: Path, path: str) -> Path:
    """Where a path of the node is seen from here."""
    return followed(root / path.lstrip("/"), root)


def _is_program(path: Path) -> bool:
    """Whether it is run by itself: a shim in a shell's language chooses slowly, and by a user's settings."""
    try:
        mode = path.stat().st_mode
        with path.open("rb") as stream:
            return stat.S_ISREG(mode) and bool(mode & 0o111) and stream.read(4) == b"\x7fELF"
    except OSError:
        return False


def _is_whole(root: Path, python: Python) -> bool:
    prefix = python.path.removesuffix("/").rpartition("/bin/")[0]
    libraries = [f"{prefix}/{lib}/python3.{python.version[1]}" for lib in ("lib", "lib64")]
    return any(all((_inside(root, library) / name).is_file() for name in _NEEDED) for library in libraries)
