"""Calls as they come over the wire, each given to the plugin whose program was called, and their answers."""

import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from weft.adapters import netns as namespaces
from weft.processes.cni import calls, wire
from weft.processes.cni.calls import CallError
from weft.processes.cni.metrics import Registry
from weft.processes.underlay.plugins import Call, Json, Plugin
from weft.underlay.networks import results

SOCKET: Final = "spiderpool.sock"

_NEEDED: Final[Mapping[str, tuple[str, ...]]] = {
    "ADD": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"),
    "CHECK": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"),
    "DEL": ("CNI_CONTAINERID", "CNI_IFNAME"),
}
_ATTACHMENTS: Final = "cni.dev/valid-attachments"

log = logging.getLogger("weft.underlay.calls")


def read(request: bytes, netns: str) -> tuple[str, Call]:
    """The plugin's type, and the call; CallError for what the specification does not allow.

    `netns` is the path of the namespace that came along.
    """
    variables, text = calls.split(request)
    command = calls.command_of(variables)
    calls.check(command, variables, _NEEDED.get(command, ()))
    config = _config(command, text)
    sandbox = variables.get("CNI_NETNS", "")
    if command == "ADD" and not netns:
        raise CallError(
            calls.ENVIRONMENT,
            f"the network namespace CNI_NETNS={sandbox} cannot be opened",
            "The runtime makes it before it calls.",
        )
    if netns and command in _NEEDED and Path(netns).stat().st_ino == namespaces.current():
        raise CallError(calls.ENVIRONMENT, f"CNI_NETNS={sandbox} is the node's own network, and no pod's")
    arguments = calls.arguments_of(variables)
    return variables.get("CNI_PLUGIN", ""), Call(
        command=command,
        container_id=variables.get("CNI_CONTAINERID", ""),
        ifname=variables.get("CNI_IFNAME", ""),
        netns=netns,
        sandbox=sandbox,
        namespace=arguments.get("K8S_POD_NAMESPACE", ""),
        name=arguments.get("K8S_POD_NAME", ""),
        uid=arguments.get("K8S_POD_UID", ""),
        config=config,
    )


def _config(command: str, text: bytes) -> Json:
    try:
        config = msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CallError(calls.DECODING, f"the network configuration is no JSON object: {error}") from error
    calls.supported(config.get("cniVersion"), command)
    before = config.pop("prevResult", None)
    if before is not None:
        if not _is_result(before):
            raise CallError(calls.CONFIG, "the network configuration: prevResult is no result of a plugin")
        config["prevResult"] = results.inside(before)
    attachments = config.get(_ATTACHMENTS, [])
    if not isinstance(attachments, list) or not all(isinstance(each, dict) for each in attachments):
        raise CallError(calls.CONFIG, f"the network configuration: {_ATTACHMENTS} is no list of objects")
    return config


def _is_result(found: object) -> bool:
    if not isinstance(found, dict):
        return False
    lists = [found.get(key) or [] for key in ("interfaces", "ips", "routes")]
    return all(isinstance(each, list) and all(isinstance(one, dict) for one in each) for each in lists)


class Serving:
    """Answers calls by `plugins`, which have the types of plugins as their keys."""

    def __init__(self, plugins: Mapping[str, Plugin], registry: Registry, monotonic: Callable[[], float]) -> None:
        self._plugins, self._monotonic = plugins, monotonic
        self._calls = registry.counter(
            "spiderpool_cni_calls_total",
            "Calls of the plugins, and what came of them.",
            "plugin",
            "command",
            "outcome",
        )
        self._took = registry.histogram(
            "spiderpool_cni_seconds", "Seconds that a call took in the node process.", "plugin", "command"
        )

    @contextlib.asynccontextmanager
    async def serving(self, folder: Path) -> AsyncIterator[None]:
        """Answer on the socket in `folder` while the context is open."""
        async with wire.serving(folder, self.answer, SOCKET):
            yield

    async def answer(self, request: bytes, netns: str) -> bytes:
        """The answer to a request, as it goes back. `netns` is the path of the namespace that came along."""
        began, kind, command, outcome = self._monotonic(), "?", "?", "failed"
        try:
            asked, call = read(request, netns)
            plugin = self._plugin(asked)
            kind, command = asked, call.command
            text = await self._answer(plugin, call)
            outcome = "done"
        except CallError as error:
            log.warning("%s %s fails: %s", command, kind, error.msg)
            return error.answer(calls.version(request))
        except Exception as error:
            log.exception("%s %s fails by a defect of ours", command, kind)
            defect = f"spiderpool-agent: a defect of the node process: {type(error).__name__}: {error}"
            return CallError(calls.DEFECT, defect, "Its log has more. Please report it.").answer("")
        else:
            return text
        finally:
            self._calls.add(kind, command, outcome)
            self._took.took(self._monotonic() - began, kind, command)

    def _plugin(self, asked: str) -> Plugin:
        if (plugin := self._plugins.get(asked)) is None:
            raise CallError(
                calls.ENVIRONMENT,
                f"no plugin of type {asked!r} is answered here",
                f"There are {', '.join(self._plugins)}.",
            )
        return plugin

    async def _answer(self, plugin: Plugin, call: Call) -> bytes:
        match call.command:
            case "ADD":
                result = results.written(await plugin.add(call), call.config["cniVersion"])
                return b"0\n" + msgspec.json.encode(result) + b"\n"
            case "DEL":
                await plugin.delete(call)
            case "CHECK":
                await plugin.check(call)
            case "GC":
                await plugin.gc(call)
            case "STATUS":
                await plugin.status(call)
        return b"0\n"
