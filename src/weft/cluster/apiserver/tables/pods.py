"""The cells of pods: the status that kubectl shows is put together from phase, conditions and containers."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from weft.cluster.apiserver.tables.ages import human_duration, moment
from weft.cluster.apiserver.tables.columns import AGE, NAME, NONE, Column, Object, look, maps, text

_TERMINAL = ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class Summary:
    """A pod in four figures."""

    ready: int
    total: int
    status: str
    restarts: int
    last_restart: datetime | None


@dataclass(frozen=True, slots=True)
class _Tally:
    """Restarts of some containers, and when the last of them was."""

    restarts: int = 0
    last: datetime | None = None

    def plus(self, status: Object) -> "_Tally":
        ended = moment(look(status, "lastState.terminated.finishedAt"))
        newest = max((one for one in (self.last, ended) if one), default=None)
        return _Tally(self.restarts + int(look(status, "restartCount", 0)), newest)


@dataclass(frozen=True, slots=True)
class _Init:
    """How far the init containers are; `blocked` says what the pod waits for (`Init:0/1`), empty for nothing."""

    ready: int
    blocked: str
    all: _Tally
    sidecars: _Tally


def summary(pod: Object) -> Summary:
    """READY, STATUS and RESTARTS of a pod, by the rules of Kubernetes' own printer (printers/internalversion)."""
    sidecars = {
        str(look(one, "name"))
        for one in maps(pod, "spec.initContainers")
        if look(one, "restartPolicy") == "Always"
    }
    init = _init(pod, sidecars)
    status, ready, tally = init.blocked or _phase(pod), init.ready, init.all
    if not init.blocked or _condition(pod, "Initialized"):
        status, running, tally = _main(pod, status, init.sidecars)
        ready += running
    status = _deleted(pod) or status
    total = len(maps(pod, "spec.containers")) + len(sidecars)
    return Summary(ready, total, status, tally.restarts, tally.last)


def _phase(pod: Object) -> str:
    for condition in maps(pod, "status.conditions"):
        if look(condition, "type") == "PodScheduled" and look(condition, "reason") == "SchedulingGated":
            return "SchedulingGated"
    return str(look(pod, "status.reason", "") or look(pod, "status.phase", ""))


def _condition(pod: Object, name: str) -> bool:
    return any(
        look(one, "type") == name and look(one, "status") == "True" for one in maps(pod, "status.conditions")
    )


def _init(pod: Object, sidecars: set[str]) -> _Init:
    ready, everything, of_sidecars = 0, _Tally(), _Tally()
    count = len(maps(pod, "spec.initContainers"))
    for index, status in enumerate(maps(pod, "status.initContainerStatuses")):
        everything = everything.plus(status)
        sidecar = look(status, "name") in sidecars
        if sidecar:
            of_sidecars = of_sidecars.plus(status)
        terminated = look(status, "state.terminated")
        if terminated is not None and look(terminated, "exitCode", 0) == 0:
            continue
        if sidecar and look(status, "started", default=False):
            ready += bool(look(status, "ready"))
            continue
        return _Init(ready, _init_reason(status, index, count), everything, of_sidecars)
    return _Init(ready, "", everything, of_sidecars)


def _init_reason(status: Object, index: int, count: int) -> str:
    terminated = look(status, "state.terminated")
    if terminated is not None:
        return f"Init:{_ended(terminated)}"
    waiting = look(status, "state.waiting.reason", "")
    return f"Init:{waiting}" if waiting not in {"", "PodInitializing"} else f"Init:{index}/{count}"


def _ended(terminated: Object) -> str:
    if reason := look(terminated, "reason", ""):
        return str(reason)
    signal = look(terminated, "signal", 0)
    return f"Signal:{signal}" if signal else f"ExitCode:{look(terminated, 'exitCode', 0)}"


def _main(pod: Object, status: str, tally: _Tally) -> tuple[str, int, _Tally]:
    """Status, ready containers and restarts, once initialisation is over; the first container decides."""
    ready, running = 0, False
    for container in reversed(maps(pod, "status.containerStatuses")):
        tally = tally.plus(container)
        terminated = look(container, "state.terminated")
        if waiting := look(container, "state.waiting.reason", ""):
            status = str(waiting)
        elif terminated is not None:
            status = _ended(terminated)
        elif look(container, "ready", default=False) and look(container, "state.running") is not None:
            running = True
            ready += 1
    if status == "Completed" and running:
        status = "Running" if _condition(pod, "Ready") else "NotReady"
    return status, ready, tally


def _deleted(pod: Object) -> str:
    if look(pod, "metadata.deletionTimestamp") is None:
        return ""
    if look(pod, "status.reason") == "NodeLost":
        return "Unknown"
    return "" if look(pod, "status.phase") in _TERMINAL else "Terminating"


def _ready(pod: Object, _now: datetime) -> str:
    found = summary(pod)
    return f"{found.ready}/{found.total}"


def _restarts(pod: Object, now: datetime) -> str:
    found = summary(pod)
    if found.restarts and found.last_restart:
        return f"{found.restarts} ({human_duration(now - found.last_restart)} ago)"
    return str(found.restarts)


def _ip(pod: Object, _now: datetime) -> Any:
    ips = maps(pod, "status.podIPs")
    return (look(ips[0], "ip") if ips else look(pod, "status.podIP")) or NONE


def _gates(pod: Object, _now: datetime) -> str:
    gates = [str(look(gate, "conditionType")) for gate in maps(pod, "spec.readinessGates")]
    return f"{sum(_condition(pod, gate) for gate in gates)}/{len(gates)}" if gates else NONE


PODS = (
    NAME,
    Column("Ready", _ready),
    Column("Status", lambda pod, _now: summary(pod).status),
    Column("Restarts", _restarts),
    AGE,
    Column("IP", _ip, wide=True),
    Column("Node", text("spec.nodeName"), wide=True),
    Column("Nominated Node", text("status.nominatedNodeName"), wide=True),
    Column("Readiness Gates", _gates, wide=True),
)
