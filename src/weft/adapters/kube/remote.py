"""Run a command in a container and read what it prints, by the API's WebSocket channels."""

import json
from dataclasses import dataclass
from http import HTTPStatus

import aiohttp

from weft.adapters.kube.client import ApiError, Kube
from weft.adapters.kube.kinds import PODS

# the first byte of each message says which stream it belongs to (v4.channel.k8s.io)
_STDOUT, _STDERR, _RESULT = 1, 2, 3


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command in a container ended, and what it printed."""

    code: int
    stdout: bytes
    stderr: str


async def run(
    kube: Kube, namespace: str, pod: str, container: str, command: list[str], *, seconds: float = 30
) -> Ran:
    """Run `command` without a terminal or input; TimeoutError after that many seconds."""
    query = [("container", container), ("stdout", "true"), ("stderr", "true")]
    query += [("command", word) for word in command]
    printed = {_STDOUT: b"", _STDERR: b"", _RESULT: b""}
    try:
        async with kube.websocket(
            PODS.path(namespace, pod, "exec"), query, "v4.channel.k8s.io", seconds
        ) as socket:
            async for message in socket:
                if message.type == aiohttp.WSMsgType.BINARY and message.data:
                    channel = message.data[0]
                    printed[channel] = printed.get(channel, b"") + message.data[1:]
    except aiohttp.WSServerHandshakeError as error:
        # aiohttp keeps the status of a refused WebSocket, but not what the server said about it
        refused = f"{error.status} {HTTPStatus(error.status).phrase}"
        where = f"{namespace}/{pod}"
        raise ApiError(
            error.status, "", f"the API server refuses to run a command in {where}: {refused}"
        ) from error
    return Ran(_exit_code(printed[_RESULT]), printed[_STDOUT], printed[_STDERR].decode(errors="replace"))


def _exit_code(result: bytes) -> int:
    """The exit code that the closing Status tells; 1 where it tells of another failure."""
    status = json.loads(result) if result else {}
    if status.get("status") == "Success":
        return 0
    causes = (status.get("details") or {}).get("causes") or ()
    codes = [int(cause["message"]) for cause in causes if cause.get("reason") == "ExitCode"]
    return codes[0] if codes else 1
