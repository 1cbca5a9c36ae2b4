"""Symbolic links of a file system whose root is seen elsewhere: a node's, from a container."""

from pathlib import Path
from typing import Final

_MOST: Final = 16


def followed(path: Path, root: Path) -> Path:
    """Where a path leads, by links of its last part; absolute ones begin at `root`. OSError if they do not end."""
    for _ in range(_MOST):
        if not path.is_symlink():
            return path
        link = str(path.readlink())
        path = root / link.lstrip("/") if link.startswith("/") else path.parent / link
    raise OSError(f"{path}: too many links")
