"""Changes of folders, told by the kernel (inotify(7)); where it has no more watches, by looking every second.

By ctypes, since Python has no module for it, and the packages that have one are larger than these calls.
"""

import asyncio
import contextlib
import ctypes
import errno
import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

_CREATE, _DELETE, _MOVED, _WRITTEN = 0x100, 0x200, 0xC0, 0x8
_MODIFIED, _ATTRIBUTES, _SELF = 0x2, 0x4, 0xC00
_MASK: Final = _CREATE | _DELETE | _MOVED | _WRITTEN | _MODIFIED | _ATTRIBUTES | _SELF
_POLL: Final = 1.0
"""Seconds between looks without inotify."""


class Watch:
    """Use as `with Watch(folders) as watch`, in an event loop. OSError where a folder is not there."""

    def __init__(self, folders: Iterable[Path]) -> None:
        self._folders, self._descriptor, self._changed = tuple(folders), -1, asyncio.Event()

    def __enter__(self) -> Self:
        libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._descriptor < 0:
            return self  # there are few of them for a user (fs.inotify.max_user_instances)
        for folder in self._folders:
            if libc.inotify_add_watch(self._descriptor, os.fsencode(folder), _MASK) < 0:
                code = ctypes.get_errno()
                self.__exit__(None, None, None)
                if code == errno.ENOSPC:
                    return self  # nor as many watches as one may want
                raise OSError(code, os.strerror(code), str(folder))
        asyncio.get_running_loop().add_reader(self._descriptor, self._read)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._descriptor >= 0:
            asyncio.get_running_loop().remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1

    async def changed(self, seconds: float) -> None:
        """Wait until something has changed since the last call, at most for that long."""
        limit = seconds if self._descriptor >= 0 else min(seconds, _POLL)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit):
                await self._changed.wait()
        self._changed.clear()

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while os.read(self._descriptor, 1 << 16):
                self._changed.set()
