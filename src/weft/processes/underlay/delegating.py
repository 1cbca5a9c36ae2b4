"""Calls of a network's list of plugins, each by itself: ours in this process, others as programs of the node."""

import contextlib
import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import msgspec

from weft.adapters import cni_program
from weft.adapters.cni_program import ProgramError, Programs
from weft.processes.cni import calls
from weft.processes.cni.calls import CallError
from weft.processes.underlay.plugins import MULTUS, Call, Json, Plugin
from weft.underlay.networks import results

_SECONDS: Final = 60.0
"""What one plugin may take."""
_SINCE: Final = {"CHECK": "0.4.0", "GC": "1.1.0", "STATUS": "1.1.0"}
"""Versions of lists in which plugins know a command."""
_WITH_RESULT: Final = "0.4.0"
"""Versions since which DEL is told what ADD has made."""

log = logging.getLogger("weft.underlay.networks.asked")


class Delegator:
    """Calls lists of plugins, whose versions are ones that we speak.

    `plugins` are ours; `run_dir` is where their programs find us, as the node sees it.
    """

    def __init__(self, plugins: Mapping[str, Plugin], programs: Programs, run_dir: str) -> None:
        self._plugins, self._programs, self._run_dir = plugins, programs, run_dir

    async def add(self, call: Call, network: Json, before: Json | None) -> Json:
        """Call each plugin with the result of the one before it; the last result, which may say nothing."""
        result = before
        for plugin in network["plugins"]:
            made = await self._one(call, network, plugin, result)
            # a plugin that makes no interface may say nothing: what was there before it still is
            result = made if made and (_says(made) or result is None) else result
        return result or {"cniVersion": results.INSIDE}

    async def delete(self, call: Call, network: Json, result: Json | None) -> None:
        """Call all plugins, the last one first, whatever becomes of each; CallError of the first that fails."""
        failed: CallError | None = None
        told = (
            result if calls.VERSIONS.index(network["cniVersion"]) >= calls.VERSIONS.index(_WITH_RESULT) else None
        )
        for plugin in reversed(network["plugins"]):
            try:
                await self._one(call, network, plugin, told)
            except CallError as error:
                log.warning("DEL of %s, network %s: %s", call.subject, network["name"], error.msg)
                failed = failed or error
        if failed:
            raise failed

    async def check(self, call: Call, network: Json, result: Json | None) -> None:
        """Call all plugins that know CHECK."""
        if network.get("disableCheck") is not True:
            await self._each(call, network, result)

    async def status(self, call: Call, network: Json) -> None:
        """Call all plugins that know STATUS."""
        await self._each(call, network, None)

    async def collect(self, call: Call, network: Json) -> None:
        """Call all programs that know GC, whatever becomes of each; CallError of the first that fails."""
        failed: CallError | None = None
        for plugin in network["plugins"]:
            if plugin["type"] in self._plugins or not self._knows(plugin, network, "GC"):
                continue
            try:
                await self._one(call, network, plugin, None)
            except CallError as error:
                log.warning("GC of network %s: %s", network["name"], error.msg)
                failed = failed or error
        if failed:
            raise failed

    async def _each(self, call: Call, network: Json, result: Json | None) -> None:
        for plugin in network["plugins"]:
            if self._knows(plugin, network, call.command):
                await self._one(call, network, plugin, result)

    def _knows(self, plugin: Json, network: Json, command: str) -> bool:
        if plugin["type"] in self._plugins:
            return True
        return _order(network["cniVersion"]) >= _order(_SINCE[command])

    async def _one(self, call: Call, network: Json, plugin: Json, before: Json | None) -> Json:
        """One plugin's result, as 1.0.0 has it; nothing for what is no ADD."""
        kind = plugin["type"]
        config = {**plugin, "cniVersion": network["cniVersion"], "name": network["name"]}
        if call.command == "GC":
            config["cni.dev/valid-attachments"] = call.config["cni.dev/valid-attachments"]
        if kind == MULTUS:
            raise CallError(
                calls.CONFIG, f"network {network['name']}: {MULTUS} cannot be a part of its own networks"
            )
        try:
            if kind in self._plugins:
                if before is not None:
                    config["prevResult"] = before
                return await _ours(self._plugins[kind], replace(call, config=config))
            return await self._program(call, kind, config, before)
        except CallError as error:
            told = f'plugin type="{kind}" failed ({call.command.lower()}): {error.msg}'
            raise CallError(error.code, told, error.details) from error

    async def _program(self, call: Call, kind: str, config: Json, before: Json | None) -> Json:
        with contextlib.ExitStack() as stack:
            try:
                namespace = stack.enter_context(cni_program.opened(call.netns))
            except OSError as error:
                raise CallError(calls.IO, f"the pod's network namespace: {error}") from error
            path = "" if namespace is None else f"/proc/self/fd/{namespace}"
            if before is not None:
                # a program compares what a result says with what it is called with
                seen = results.seen_from(before, call.sandbox, path)
                config = {**config, "prevResult": results.written(seen, config["cniVersion"])}
            try:
                ended = await self._programs.run(
                    kind, self._variables(call, path), msgspec.json.encode(config), namespace, _SECONDS
                )
            except OSError as error:
                raise CallError(calls.IO, str(error), _way_out(error, kind)) from error
            if ended.code != 0:
                raise _error(ended)
            return results.seen_from(_result(ended), path, call.sandbox) if call.command == "ADD" else {}

    def _variables(self, call: Call, path: str) -> dict[str, str]:
        pod = {
            "K8S_POD_NAMESPACE": call.namespace,
            "K8S_POD_NAME": call.name,
            "K8S_POD_INFRA_CONTAINER_ID": call.container_id,
            "K8S_POD_UID": call.uid,
        }
        arguments = ["IgnoreUnknown=1", *(f"{name}={value}" for name, value in pod.items() if value)]
        given = {
            "CNI_COMMAND": call.command,
            "CNI_CONTAINERID": call.container_id,
            "CNI_IFNAME": call.ifname,
            "CNI_NETNS": path,
            "CNI_ARGS": ";".join(arguments) if call.name else "",
            "SPIDERPOOL_RUN_DIR": self._run_dir,
        }
        return {name: value for name, value in given.items() if value}


async def _ours(plugin: Plugin, call: Call) -> Json:
    match call.command:
        case "ADD":
            return await plugin.add(call)
        case "DEL":
            await plugin.delete(call)
        case "CHECK":
            await plugin.check(call)
        case "GC":
            await plugin.gc(call)
        case "STATUS":
            await plugin.status(call)
    return {}


def _order(version: str) -> int:
    return calls.VERSIONS.index(version)


def _way_out(error: OSError, kind: str) -> str:
    if isinstance(error, ProgramError) and "no program" in str(error):
        return f"Install {kind} there (Helm: plugins.installCNI), or name another network."
    return ""


def _result(ended: cni_program.Ended) -> Json:
    """What a program says; nothing is a result, too."""
    if not ended.out.strip():
        return {}
    try:
        found = msgspec.json.decode(ended.out)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CallError(calls.DECODING, f"its result is no JSON: {error}") from error
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise CallError(calls.DECODING, "its result is no JSON object")
    return results.inside(found)


def _error(ended: cni_program.Ended) -> CallError:
    """The error of a program, which may have broken down before it could say one."""
    try:
        found = msgspec.json.decode(ended.out, type=_Error)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        text = (ended.out or ended.err).decode(errors="replace").strip()[-1000:]
        return CallError(calls.DEFECT, text or f"it ended with code {ended.code} and said nothing")
    return CallError(found.code or calls.DEFECT, found.msg or f"it failed with code {found.code}", found.details)


class _Error(msgspec.Struct):
    code: int = 0
    msg: str = ""
    details: str = ""


def _says(result: Mapping[str, Any]) -> bool:
    return any(result.get(key) for key in ("interfaces", "ips", "routes"))
