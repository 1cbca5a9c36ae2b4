"""A folder of network configurations that others write to as well: read and changed without losing theirs."""

import ctypes
import errno
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from weft.adapters.links import followed
from weft.install.cni_config import Change, Put, is_ours_to_list
from weft.install.cni_networks import File

_LONGEST: Final = 1 << 20
"""Bytes of a configuration; there is none as long."""
_DRAFT: Final = ".istio-cni-draft"
_HERE: Final = -100  # AT_FDCWD
_NO_REPLACE, _EXCHANGE = 1, 2  # renameat2(2)


class ChangedError(Exception):
    """Another has changed a file after we looked: look again."""


def listing(folder: Path, root: Path) -> dict[str, File]:
    """The files that runtimes read, and ours. `root` is where the node's root is seen: links lead there.

    A folder that is not there is an empty one. OSError where it cannot be read.
    """
    try:
        names = [path.name for path in folder.iterdir()]
    except FileNotFoundError:
        return {}
    found = ((name, _read(folder / name, root)) for name in names if is_ours_to_list(name))
    return {name: file for name, file in found if file is not None}


def apply(folder: Path, root: Path, changes: Iterable[Change]) -> None:
    """Make changes, each whole or not at all. ChangedError before one whose file is not what it was; OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    for change in changes:
        draft = folder / f".{change.name}{_DRAFT}"
        draft.unlink(missing_ok=True)
        if isinstance(change, Put):
            _put(folder / change.name, draft, change.file, change.over, root)
        else:
            _remove(folder / change.name, draft, change.over, root)
    _sync(folder)


def write(path: Path, content: bytes, mode: int) -> None:
    """Make a file of ours so, whole or not at all, whatever is there."""
    draft = path.with_name(f".{path.name}{_DRAFT}")
    draft.unlink(missing_ok=True)
    try:
        _write(draft, File(content, mode))
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _read(path: Path, root: Path) -> File | None:
    """A file as runtimes on the node read it; None for a folder, and for what is gone."""
    link = _link(path)
    try:
        descriptor = os.open(followed(path, root), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        return File(b"", link=link, trouble=f"it cannot be read: {error.strerror}") if link else None
    except OSError as error:
        return File(b"", link=link, trouble=f"it cannot be read: {error.strerror or error}")
    try:
        status = os.fstat(descriptor)
        mode = stat.S_IMODE(status.st_mode)
        if stat.S_ISDIR(status.st_mode):
            return None
        if not stat.S_ISREG(status.st_mode):
            return File(b"", mode, link, "it is no regular file")
        content = os.read(descriptor, _LONGEST + 1)
        while part := os.read(descriptor, _LONGEST + 1 - len(content)):
            content += part
    finally:
        os.close(descriptor)
    return File(content, mode, link) if len(content) <= _LONGEST else File(b"", mode, link, "it is too long")


def _link(path: Path) -> str:
    try:
        return str(path.readlink())
    except OSError:
        return ""


def _put(path: Path, draft: Path, file: File, over: File | None, root: Path) -> None:
    try:
        _write(draft, file)
        if over is None:
            _rename(draft, path, _NO_REPLACE)
        else:
            _exchange(path, draft, over, root)
    except FileExistsError as error:
        raise ChangedError(path.name) from error
    finally:
        draft.unlink(missing_ok=True)


def _write(draft: Path, file: File) -> None:
    if file.link:
        draft.symlink_to(file.link)
        return
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(file.content)
        stream.flush()
        os.fchmod(descriptor, file.mode)
        # a file that is empty after a loss of power would be no network
        os.fsync(descriptor)


def _exchange(path: Path, draft: Path, over: File, root: Path) -> None:
    """Put the draft in the place of what was read, and nothing else: what comes out tells."""
    ours = draft.lstat().st_ino
    try:
        _rename(draft, path, _EXCHANGE)
    except FileNotFoundError as error:
        raise ChangedError(path.name) from error
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOSYS}:
            raise
        # a file system that exchanges nothing, or an old C library: look once more, and replace
        if _read(path, root) != over:
            raise ChangedError(path.name) from error
        draft.replace(path)
        return
    if _read(draft, root) == over:
        return
    _rename(draft, path, _EXCHANGE)
    if draft.lstat().st_ino != ours:
        # in between there came a third one, which is newer
        _rename(draft, path, _EXCHANGE)
    raise ChangedError(path.name)


def _remove(path: Path, draft: Path, over: File, root: Path) -> None:
    """Take a file away, and look at what it was: it comes back if it was something else."""
    try:
        path.rename(draft)
    except FileNotFoundError:
        return
    if _read(draft, root) == over:
        draft.unlink()
        return
    try:
        _rename(draft, path, _NO_REPLACE)
    except FileExistsError:
        draft.unlink()
    raise ChangedError(path.name)


def _rename(source: Path, target: Path, flags: int) -> None:
    code = errno.ENOSYS
    if call := _renamer():
        if call(_HERE, os.fsencode(source), _HERE, os.fsencode(target), flags) == 0:
            return
        code = ctypes.get_errno()
    if flags == _NO_REPLACE and code in {errno.EINVAL, errno.ENOSYS}:
        # a second name for the draft, which goes
        os.link(source, target, follow_symlinks=False)
        source.unlink()
        return
    raise OSError(code, os.strerror(code), str(target))


def _renamer() -> Any:
    """The C library's renameat2, where it has one."""
    return getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
