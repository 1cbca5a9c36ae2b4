"""What CRI has no call for: bringing an image in from a tar, by containerd's own tool."""

import asyncio
from pathlib import Path


class ImportFailedError(Exception):
    """containerd refused an image; the message is its own."""


async def import_image(socket: Path, tar: bytes) -> None:
    """Bring an OCI tar into the images that CRI sees. CRI itself learns of it a few milliseconds later."""
    await _import(socket, "-", tar)


async def import_file(socket: Path, archive: Path) -> None:
    """Bring the images of a Docker or OCI archive into those that CRI sees."""
    await _import(socket, str(archive), b"")


async def _import(socket: Path, source: str, tar: bytes) -> None:
    process = await asyncio.create_subprocess_exec(
        "ctr",
        "--address",
        str(socket),
        "--namespace",
        "k8s.io",
        "images",
        "import",
        source,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await process.communicate(tar)
    if process.returncode:
        raise ImportFailedError(errors.decode(errors="replace").strip() or f"ctr ended with {process.returncode}")
