"""Connections (exec, attach, port-forward, proxy) as admission sees them: their options are the object."""

from collections.abc import Iterable
from typing import Any

from weft.cluster.apiserver.admission.attributes import Attributes
from weft.cluster.apiserver.admission.chain import Admission
from weft.cluster.apiserver.cluster import Call, Obj

_OPTIONS = {"exec": "PodExecOptions", "attach": "PodAttachOptions", "portforward": "PodPortForwardOptions"}
_SWITCHES = frozenset({"stdin", "stdout", "stderr", "tty"})


def options(call: Call, query: Iterable[tuple[str, str]]) -> Obj:
    """The object that the query stands for, such as `PodExecOptions`."""
    found: dict[str, Any] = {
        "kind": _OPTIONS.get(call.subresource) or f"{call.kind.kind}ProxyOptions",
        "apiVersion": "v1",
    }
    for name, value in query:
        match name:
            case "command":
                found.setdefault("command", []).append(value)
            case "ports" if value.isdigit():
                found.setdefault("ports", []).append(int(value))
            case "container" | "path":
                found[name] = value
            case _ if name in _SWITCHES:
                found[name] = value in {"true", "1"}
    return found


async def admit(admission: Admission, call: Call, query: Iterable[tuple[str, str]]) -> None:
    """Ask the webhooks that watch over connections; raises where one refuses."""
    attributes = Attributes(call, "CONNECT", options(call, query))
    await admission.mutate(attributes)
    await admission.validate(attributes)
