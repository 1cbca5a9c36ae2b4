"""nftables in the current network namespace, by atomic transactions."""

import asyncio
import contextlib


class NftError(Exception):
    """nft refused the text; nothing of it was applied. The message is nft's first line."""


async def apply(text: str) -> None:
    """Apply one transaction: all of it, or (NftError) nothing."""
    code, _, stderr = await _run(["nft", "-f", "-"], text)
    if code:
        lines = [line for line in stderr.splitlines() if line.strip()]
        raise NftError(lines[0] if lines else f"nft ended with {code}")


async def forget_udp(address: str, port: int, target: str) -> None:
    """Forget UDP flows to `address:port` that were translated to `target`: their next packet chooses anew.

    No address means any.

    Without conntrack(8) on the machine they last until they are silent for their timeout (30 to 120 s).
    """
    to = ["--orig-dst", address] if address else []
    command = ["conntrack", "-D", "-p", "udp", *to, "--dport", str(port), "--dst-nat", target]
    with contextlib.suppress(FileNotFoundError):
        await _run(command, "")


async def _run(command: list[str], text: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    stdout, stderr = await process.communicate(text.encode())
    return process.returncode or 0, stdout.decode(errors="replace"), stderr.decode(errors="replace")
