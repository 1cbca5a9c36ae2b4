"""Network namespaces by name, and code that runs inside one."""

import ctypes
import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

NETNS = Path("/run/netns")
_CLONE_NEWNET = 0x40000000


def names() -> frozenset[str]:
    """The namespaces that `ip netns` knows."""
    try:
        return frozenset(entry.name for entry in NETNS.iterdir())
    except FileNotFoundError:
        return frozenset()


def current() -> int:
    """The number (inode) of the namespace this thread is in."""
    return Path("/proc/thread-self/ns/net").stat().st_ino


def enter(name: str) -> list[str]:
    """The words before a command that put it into a namespace.

    Not `ip netns exec`: that hides /sys/fs/cgroup, which containers need.
    """
    return ["nsenter", f"--net={NETNS / name}", "--"]


def inside(name: str, work: Callable[[], T]) -> T:
    """Run `work` in a namespace, in a thread that ends with it. The process itself stays where it is.

    `name` may be the path of a namespace too (`/proc/PID/ns/net`).
    """
    result: list[T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            _setns(NETNS / name)
            result.append(work())
        except BaseException as error:  # noqa: BLE001 -- it is raised again in the caller's thread
            failure.append(error)

    thread = threading.Thread(target=run, name=f"netns-{name}")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return result[0]


def visit(name: str, work: Callable[[], T]) -> T:
    """Run `work` in a namespace in this very thread, which is where it was afterwards.

    For threads of `inside`, which go between two namespaces: if it cannot come back, the thread is of no more use.
    """
    with Path("/proc/thread-self/ns/net").open("rb") as own:
        _setns(NETNS / name)
        try:
            return work()
        finally:
            _setns(Path(f"/proc/self/fd/{own.fileno()}"))


def _setns(path: Path) -> None:
    # os.setns came with Python 3.12
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.setns(descriptor, _CLONE_NEWNET):
            code = ctypes.get_errno()
            raise OSError(code, f"cannot enter {path}: {os.strerror(code)}")
    finally:
        os.close(descriptor)


def remove(name: str) -> bool:
    """Forget a namespace: its links go when the last process in it has ended. False where it was gone already."""
    path = NETNS / name
    if not path.exists():
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    # a file that is no mount point is what a half-made namespace leaves; it only needs unlinking
    if libc.umount2(os.fsencode(path), 2) and (code := ctypes.get_errno()) not in {errno.EINVAL, errno.ENOENT}:
        raise OSError(code, f"cannot unmount {path}: {os.strerror(code)}")
    path.unlink(missing_ok=True)
    return True
