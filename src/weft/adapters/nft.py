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


def forgetting_udp(address: str, port: int, target: str) -> list[str]:
    """The command to forget UDP flows to `address:port` that were translated to `target`.

    Their next packet chooses anew. No address means any, no target all flows.
    """
    to = ["--orig-dst", address] if address else []
    command = ["conntrack", "-D", "-p", "udp", *to, "--dport", str(port)]
    command += ["--dst-nat", target] if target else []
    return command


async def forget_udp(address: str, port: int, target: str) -> None:
    """Run that command in the current network namespace.

    Without conntrack(8) on the machine flows last until they are silent for their timeout (30 to 120 s).
    """
    with contextlib.suppress(FileNotFoundError):
        await _run(forgetting_udp(address, port, target), "")


async def _run(command: list[str], text: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    stdout, stderr = await process.communicate(text.encode())
    return process.returncode or 0, stdout.decode(errors="replace"), stderr.decode(errors="replace")
