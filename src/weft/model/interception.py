"""What of its traffic a pod gives to its proxy: its annotations, and what they come to for `istio-iptables`.

Injection writes the arguments into an init container. The CNI plugin reads the annotations of the pod that was
injected, and makes the arguments from them. Both go by this table, so both capture the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from weft.base import texts
from weft.base.texts import Check
from weft.model.enrolment import Pod, proxy

PROXY_USER: Final = 1337
AGENT_PORT: Final = 15020
METRICS_PORT: Final = 15090
READINESS_PORT: Final = 15021
MODES: Final = ("REDIRECT", "TPROXY", "NONE")

_TRAFFIC: Final = "traffic.sidecar.istio.io/"
MODE: Final = "sidecar.istio.io/interceptionMode"
STATUS_PORT: Final = "status.sidecar.istio.io/port"
EXCLUDE_OUTBOUND_PORTS: Final = _TRAFFIC + "excludeOutboundPorts"


@dataclass(frozen=True, slots=True)
class Interception:
    """Lists as `istio-iptables` takes them: by comma, `*` for all where all can be meant.

    `excluded_inbound_ports` are the pod's own; the mesh's ports come besides.
    """

    mode: str = "REDIRECT"
    inbound_ports: str = "*"
    excluded_inbound_ports: str = ""
    outbound_ranges: str = "*"
    excluded_outbound_ranges: str = ""
    outbound_ports: str = ""
    excluded_outbound_ports: str = ""
    excluded_interfaces: str = ""
    virtual_interfaces: str = ""

    @property
    def captures(self) -> bool:
        """Whether anything is captured at all."""
        return self.mode != "NONE"


@dataclass(frozen=True, slots=True)
class Owner:
    """The user and group that the proxy runs as, for the rules that let its own traffic pass."""

    uid: int = PROXY_USER
    gid: int = PROXY_USER


@dataclass(frozen=True, slots=True)
class Listeners:
    """Where the proxy takes what is captured."""

    outbound: int = 15001
    inbound: int = 15006


@dataclass(frozen=True, slots=True)
class _Knob:
    """One list: its field, its annotations (of several the last that is there counts), flag and check."""

    field: str
    annotations: tuple[str, ...]
    flag: str
    check: Check
    usual: str = ""
    always: bool = False
    """Whether the flag is written though the list is empty: without it everything would not be meant."""


_KNOBS: Final = (
    _Knob(
        "outbound_ranges",
        (_TRAFFIC + "includeOutboundIPRanges",),
        "-i",
        texts.or_all(texts.ranges),
        usual="*",
        always=True,
    ),
    _Knob("excluded_outbound_ranges", (_TRAFFIC + "excludeOutboundIPRanges",), "-x", texts.ranges, always=True),
    _Knob(
        "inbound_ports",
        (_TRAFFIC + "includeInboundPorts",),
        "-b",
        texts.or_all(texts.ports),
        usual="*",
        always=True,
    ),
    _Knob("excluded_inbound_ports", (_TRAFFIC + "excludeInboundPorts",), "-d", texts.ports, always=True),
    _Knob("outbound_ports", (_TRAFFIC + "includeOutboundPorts",), "-q", texts.ports),
    _Knob("excluded_outbound_ports", (EXCLUDE_OUTBOUND_PORTS,), "-o", texts.ports),
    _Knob(
        "virtual_interfaces",
        (_TRAFFIC + "kubevirtInterfaces", "istio.io/reroute-virtual-interfaces"),
        "-k",
        texts.interfaces,
    ),
    _Knob("excluded_interfaces", (_TRAFFIC + "excludeInterfaces",), "-c", texts.interfaces),
)
"""In the order of the flags in Istio's init container."""


class Take(Protocol):
    """Reads one annotation: what the pod says, checked, or `otherwise` where it says nothing."""

    def __call__(self, name: str, otherwise: str, check: Check) -> str: ...  # noqa: D102 -- the class says it


def read(take: Take, mode: str) -> Interception:
    """The interception of a pod whose annotations `take` reads."""
    return Interception(mode, **{knob.field: _taken(take, knob) for knob in _KNOBS})


def _taken(take: Take, knob: _Knob) -> str:
    value = knob.usual
    for annotation in knob.annotations:
        value = take(annotation, value, knob.check)
    return value


def excluded_inbound(chosen: str, status_port: int) -> str:
    """The inbound ports that are not captured: the mesh's own, the pod's, and the agent's last, as in Istio.

    >>> excluded_inbound("8080", 15020)
    '15090,15021,8080,15020'
    """
    own = [str(METRICS_PORT), str(READINESS_PORT)]
    agent = [str(status_port), str(AGENT_PORT)]
    chosen_ports = [port for port in chosen.split(",") if port and port not in (*own, *agent)]
    return ",".join(dict.fromkeys((*own, *chosen_ports, *agent)))


def arguments(wanted: Interception, owner: Owner, listeners: Listeners, status_port: int) -> list[str]:
    """The flags of `istio-iptables`, in Istio's order."""
    values = {knob.field: str(getattr(wanted, knob.field)) for knob in _KNOBS}
    values["excluded_inbound_ports"] = excluded_inbound(values["excluded_inbound_ports"], status_port)
    lists = (
        part for knob in _KNOBS if knob.always or values[knob.field] for part in (knob.flag, values[knob.field])
    )
    # as in Istio: the group is the user's unless named
    group = () if owner.gid == owner.uid else ("-g", str(owner.gid))
    return [
        *("-p", str(listeners.outbound), "-z", str(listeners.inbound)),
        *("-u", str(owner.uid), *group, "-m", wanted.mode),
        *lists,
    ]


def effective(wanted: Interception, status_port: int) -> dict[str, str]:
    """The annotations from which the same interception is read, whatever else decided about it."""
    values = {knob.field: str(getattr(wanted, knob.field)) for knob in _KNOBS}
    chosen = [port for port in values["excluded_inbound_ports"].split(",") if port and port != str(status_port)]
    values["excluded_inbound_ports"] = ",".join([*chosen, str(status_port)])
    # without it the plugin's default would be read
    said = {EXCLUDE_OUTBOUND_PORTS: values["excluded_outbound_ports"]}
    for knob in _KNOBS:
        if knob.always or values[knob.field]:
            said[knob.annotations[-1]] = values[knob.field]
    return {MODE: wanted.mode, **dict(sorted(said.items()))}


def owner(pod: Pod) -> Owner:
    """Whom the rules know the proxy by: whom its container runs as, else its pod.

    A proxy that runs as root is told by its other half: all of root's traffic would pass it otherwise.
    """
    whole = (pod.get("spec") or {}).get("securityContext") or {}
    own = {**whole, **((proxy(pod) or {}).get("securityContext") or {})}
    return Owner(_known(own, "runAsUser"), _known(own, "runAsGroup"))


def _known(context: Mapping[str, Any], key: str) -> int:
    number = context.get(key)
    return number if isinstance(number, int) and number > 0 else PROXY_USER
