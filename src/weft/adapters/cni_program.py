"""Programs of CNI plugins, run as the container runtime of the node runs them."""

import asyncio
import contextlib
import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_MOST: Final = 32
"""Programs at the same time: more than there are processors, since most of them wait for the kernel."""


class ProgramError(OSError):
    """A program cannot be run, or does not end."""


@dataclass(frozen=True, slots=True)
class Ended:
    """What a program has said."""

    code: int
    out: bytes
    err: bytes


class Programs:
    """Runs programs of `folder`, which is that of the node as its runtime names it, within the node's `root`."""

    def __init__(self, root: Path, folder: str, most: int = _MOST) -> None:
        self._root, self._folder = root, folder
        self._at_once = asyncio.Semaphore(most)

    async def run(
        self, kind: str, variables: Mapping[str, str], text: bytes, namespace: int | None, seconds: float
    ) -> Ended:
        """Run the program of a type. `namespace` is a descriptor that it inherits, by its number.

        ProgramError where there is none, or it takes longer than `seconds`: then it has been killed.
        """
        if "/" in kind or not self._has(kind):
            raise ProgramError(f"there is no program {kind} in {self._folder} of the node")
        environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", **variables}
        command = [f"{self._folder}/{kind}"]
        if self._root != Path("/"):
            command = ["chroot", str(self._root), *command]
        async with self._at_once:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment | {"CNI_PATH": self._folder},
                pass_fds=() if namespace is None else (namespace,),
                cwd="/",
            )
            try:
                async with asyncio.timeout(seconds):
                    out, err = await process.communicate(text)
            except TimeoutError:
                raise ProgramError(f"{kind} has not ended in {seconds:g} s") from None
            finally:
                if process.returncode is None:
                    with contextlib.suppress(ProcessLookupError):
                        process.kill()
                    await process.wait()
        return Ended(process.returncode or 0, out, err)

    def _has(self, kind: str) -> bool:
        # it may be a link whose target is the node's
        return os.path.lexists(self._root / self._folder.lstrip("/") / kind)


@contextlib.contextmanager
def opened(path: str) -> Iterator[int | None]:
    """A descriptor of a network namespace, None where there is no path."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC) if path else None
    try:
        yield descriptor
    finally:
        if descriptor is not None:
            os.close(descriptor)
