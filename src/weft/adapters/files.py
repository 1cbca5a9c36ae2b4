"""Files, mounts and cgroups of this machine."""

import contextlib
import ctypes
import errno
import fcntl
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_MNT_DETACH = 2


def write(path: Path, content: str, *, mode: int = 0o644) -> None:
    """Write a file whole or not at all: readers see the old content or the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(content)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def read(path: Path) -> str | None:
    """A file's text, None where there is no such file."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return None


class LockedError(Exception):
    """Somebody else holds the lock."""


@contextlib.contextmanager
def locked(path: Path, *, patience: float = 0.0) -> Iterator[None]:
    """Hold a lock file, or LockedError after `patience` seconds.

    It is free again when the process ends, however it ends.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + patience
        while not _lock(descriptor):
            if time.monotonic() >= deadline:
                raise LockedError(str(path))
            time.sleep(0.02)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def mounts() -> list[Path]:
    """All mount points that this process sees, in the order they were mounted."""
    return [_unescaped(line.split()[4]) for line in Path("/proc/self/mountinfo").read_text().splitlines()]


def _unescaped(field: str) -> Path:
    # spaces and the like are written in octal (proc(5))
    return Path(field.encode().decode("unicode_escape").encode("latin-1").decode())


def is_in_memory(path: Path) -> bool:
    """Whether a file of this folder would lie in memory and never on a disk, swap aside."""
    real = path.resolve()
    lines = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    # the last mount of those that are nearest above is the one seen; the type comes after the dash (proc(5))
    kinds = {_unescaped(each[4]): each[each.index("-") + 1] for each in lines}
    above = next((kinds[folder] for folder in (real, *real.parents) if folder in kinds), "")
    return above in {"tmpfs", "ramfs"}


def unmount(path: Path) -> bool:
    """Take a mount away from the tree, even while something holds it. False where nothing was mounted."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.umount2(os.fsencode(path), _MNT_DETACH) == 0:
        return True
    code = ctypes.get_errno()
    if code in {errno.EINVAL, errno.ENOENT}:
        return False
    raise OSError(code, f"cannot unmount {path}: {os.strerror(code)}")


def overlay(point: Path, lower: Path, upper: Path, work: Path) -> None:
    """Show `lower` at `point`, with what is changed there kept in `upper`. Nothing happens where it is mounted."""
    if point in mounts():
        return
    for folder in (point, upper, work):
        folder.mkdir(parents=True, exist_ok=True)
    places = (("lowerdir", lower), ("upperdir", upper), ("workdir", work))
    options = ",".join(f"{name}={_escaped(path)}" for name, path in places)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"overlay", os.fsencode(point), b"overlay", 0, os.fsencode(options)):
        code = ctypes.get_errno()
        raise OSError(code, f"cannot mount an overlay at {point}: {os.strerror(code)}")


def _escaped(path: Path) -> str:
    return re.sub(r"([\\,:])", r"\\\1", str(path))


def cgroups(name: str) -> list[Path]:
    """The control groups of this name at the top of each hierarchy."""
    tops = [_CGROUPS, *(path for path in _CGROUPS.glob("*") if path.is_dir() and not path.is_symlink())]
    return [top / name for top in tops if (top / name / "cgroup.procs").exists()]


def cgroup_pids(group: Path) -> frozenset[int]:
    """The processes of a control group and of all groups in it."""
    pids: set[int] = set()
    for folder, _, _ in os.walk(group):
        with contextlib.suppress(FileNotFoundError, OSError):
            pids.update(int(line) for line in (Path(folder) / "cgroup.procs").read_text().split())
    return frozenset(pids)


def remove_cgroup(group: Path, *, patience: float = 3.0) -> None:
    """Remove a control group and those in it; the kernel takes a moment to let go of processes that ended."""
    deadline = time.monotonic() + patience
    for folder, _, _ in os.walk(group, topdown=False):
        while True:
            try:
                Path(folder).rmdir()
            except FileNotFoundError:
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
            else:
                break


def remove(path: Path) -> None:
    """Remove a file or a folder with all it holds, if it is there; OSError while anything is mounted below it."""
    if path.is_dir() and not path.is_symlink():
        # what is mounted there may be the machine's own files
        if mounted := [point for point in mounts() if point.is_relative_to(path.absolute())]:
            raise OSError(errno.EBUSY, f"still mounted: {mounted[0]}")
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def last_lines(path: Path, count: int, *, keep: Callable[[str], bool] = bool) -> list[str]:
    """The last lines of a log (its last 64 KiB at most) that `keep` accepts."""
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - 65536))
            text = stream.read().decode(errors="replace")
    except FileNotFoundError:
        return []
    return [line for line in text.splitlines() if keep(line.strip())][-count:]
