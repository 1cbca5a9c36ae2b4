"""A pod's status as the API shows it: pure."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from weft.adapters.cri.types import Container, State
from weft.cluster.kubelet import image_names, quantity
from weft.cluster.kubelet.lifecycle import (
    Notes,
    Seen,
    deadline,
    ephemerals,
    health,
    held_until,
    inits,
    is_sidecar,
    outcome,
    wanted_again,
)
from weft.cluster.kubelet.refusals import ended_by_node, refusal

Json = dict[str, Any]
_KINDS = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")
_UNKNOWN = "ContainerStatusUnknown"
_PATCHED = ("podIP", "podIPs", "initContainerStatuses", "ephemeralContainerStatuses", "reason", "message")
OURS = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
"""The conditions that the kubelet writes."""


def timestamp(seconds: float) -> str:
    """Epoch seconds as the API writes times."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def status(pod: Mapping[str, Any], seen: Seen, notes: Notes, host_ip: str, now: float) -> Json:
    """The pod's whole status. Conditions that are not the kubelet's are kept as they are."""
    before = pod.get("status") or {}
    spec = pod["spec"]
    initialized = _incomplete(pod, seen, notes)
    main = [_container(each, pod, seen, notes, now) for each in sorted(spec["containers"], key=_by_name)]
    init = [_container(each, pod, seen, notes, now, is_init=True) for each in inits(pod)]
    extra = [_container(each, pod, seen, notes, now) for each in sorted(ephemerals(pod), key=_by_name)]
    phase = _phase(pod, seen, main, initialized, now)
    sandbox = seen.sandbox
    ip = sandbox.ip if sandbox is not None and sandbox.ready else ""
    ip = ip or str(before.get("podIP") or "")
    result: Json = {
        "phase": phase,
        "hostIP": host_ip,
        "hostIPs": [{"ip": host_ip}],
        "startTime": before.get("startTime") or timestamp(now),
        "qosClass": before.get("qosClass") or quantity.qos_class(spec),
        "conditions": _conditions(pod, seen, phase, initialized, _sidecars(pod, init) + _in_order(pod, main), now),
        "containerStatuses": main,
        **_generation(pod),
    }
    if ip:
        result |= {"podIP": ip, "podIPs": [{"ip": ip}]}
    if init:
        result["initContainerStatuses"] = init
    if extra:
        result["ephemeralContainerStatuses"] = [
            {key: value for key, value in each.items() if key != "started"} | {"ready": False} for each in extra
        ]
    if _rejected(pod, seen):
        # nothing of it was ever begun
        for kind in _KINDS:
            result.pop(kind, None)
    if before.get("reason"):
        result |= {"reason": before["reason"], "message": before.get("message", "")}
    elif (refused := refusal(pod)) is not None:
        result |= {"reason": refused.reason, "message": f"Pod was rejected: {refused.message}"}
    elif phase == "Failed" and (ends := deadline(pod)) is not None and ends <= now:
        message = "Pod was active on the node longer than the specified deadline"
        result |= {"reason": "DeadlineExceeded", "message": message}
    return result


def _rejected(pod: Mapping[str, Any], seen: Seen) -> bool:
    ended = refusal(pod) or ended_by_node(pod.get("status") or {})
    return ended is not None and not seen.containers and not (pod.get("status") or {}).get("containerStatuses")


def _in_order(pod: Mapping[str, Any], statuses: list[Json]) -> list[Json]:
    """Statuses in the order of the pod's spec, which messages keep to."""
    order = [spec["name"] for spec in pod["spec"]["containers"]]
    return sorted(statuses, key=lambda each: order.index(each["name"]))


def _by_name(spec: Mapping[str, Any]) -> str:
    return str(spec["name"])


def _generation(pod: Mapping[str, Any]) -> Json:
    """Which version of the pod's spec this speaks of."""
    generation = pod["metadata"].get("generation")
    return {"observedGeneration": generation} if generation else {}


def _sidecars(pod: Mapping[str, Any], statuses: list[Json]) -> list[Json]:
    names = {spec["name"] for spec in inits(pod) if is_sidecar(spec)}
    return [each for each in statuses if each["name"] in names]


def _incomplete(pod: Mapping[str, Any], seen: Seen, notes: Notes) -> list[str]:
    """The init containers that have not done their part yet."""
    latest = seen.latest()
    if any(spec["name"] in latest for spec in pod["spec"]["containers"]):
        return []
    names = []
    for spec in inits(pod):
        container = latest.get(spec["name"])
        if container is None:
            done = False
        elif is_sidecar(spec):
            done = container.state == State.RUNNING and health(spec, container, notes).started
        else:
            done = container.state == State.EXITED and container.exit_code == 0
        if not done:
            names.append(str(spec["name"]))
    return names


def _phase(pod: Mapping[str, Any], seen: Seen, main: Iterable[Json], incomplete: list[str], now: float) -> str:
    running = any(each.state == State.RUNNING for each in seen.containers)
    if not running and (ended := outcome(pod, seen, now)):
        return ended
    never_started = any("waiting" in each["state"] and not each["lastState"] for each in main)
    return "Pending" if incomplete or never_started else "Running"


def _container(
    spec: Mapping[str, Any],
    pod: Mapping[str, Any],
    seen: Seen,
    notes: Notes,
    now: float,
    *,
    is_init: bool = False,
) -> Json:
    name = spec["name"]
    everything = seen.of(name)
    latest = seen.latest().get(name)
    previous = next((each for each in everything if each is not latest and each.state == State.EXITED), None)
    known = _known(pod, name)
    state, last = _state(spec, pod, latest, previous, notes, now)
    running = latest is not None and latest.state == State.RUNNING
    condition = health(spec, latest, notes) if running and latest is not None else None
    started = condition is not None and condition.started and name not in notes.busy
    ready = started and condition is not None and condition.ready
    if is_init and not is_sidecar(spec):
        ready = latest is not None and latest.state == State.EXITED and latest.exit_code == 0
        started = running
    newest = latest or (everything[0] if everything else None)
    container_id = f"containerd://{newest.id}" if newest is not None else known.get("containerID", "")
    result: Json = {
        "name": name,
        "image": image_names.shown(spec["image"]) if newest is not None else spec["image"],
        "imageID": newest.image_id if newest is not None else known.get("imageID", ""),
        "restartCount": newest.attempt if newest is not None else known.get("restartCount", 0),
        "ready": ready,
        "started": started,
        "state": state,
        "lastState": last,
    }
    if container_id:
        result["containerID"] = container_id
    if mounts := spec.get("volumeMounts"):
        result["volumeMounts"] = [_mount(each) for each in mounts]
    if newest is not None:
        result |= _resources(spec, running=running)
    return result


def _mount(mount: Mapping[str, Any]) -> Json:
    shown: Json = {"name": mount["name"], "mountPath": mount["mountPath"]}
    if mount.get("readOnly"):
        shown |= {"readOnly": True, "recursiveReadOnly": "Disabled"}
    return shown


def _resources(spec: Mapping[str, Any], *, running: bool) -> Json:
    """What a container has been given, and set aside for a running one."""
    asked = spec.get("resources") or {}
    given = {key: dict(asked[key]) for key in ("limits", "requests") if asked.get(key)}
    allocated = {"allocatedResources": given["requests"]} if running and "requests" in given else {}
    return {"resources": given, **allocated}


def _known(pod: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    before = pod.get("status") or {}
    for kind in _KINDS:
        for each in before.get(kind) or ():
            if each["name"] == name:
                found: Mapping[str, Any] = each
                return found
    return {}


def _state(
    spec: Mapping[str, Any],
    pod: Mapping[str, Any],
    latest: Container | None,
    previous: Container | None,
    notes: Notes,
    now: float,
) -> tuple[Json, Json]:
    """The container's state and last state."""
    name = spec["name"]
    last = {"terminated": _terminated(previous)} if previous is not None else _lost(_known(pod, name), latest)
    trouble = notes.troubles.get(name)
    if latest is not None and latest.state == State.RUNNING:
        return {"running": {"startedAt": timestamp(latest.started)}}, last
    if latest is not None and latest.state == State.EXITED:
        ended = {"terminated": _terminated(latest)}
        if notes.terminating or not _restarts(spec, pod, latest, now):
            return ended, last
        if trouble is not None and trouble.retry_at > now:
            return _waiting(trouble.reason, trouble.message), ended
        backoff = notes.backoffs.get(name)
        if backoff is not None and held_until(backoff, latest.finished) > now:
            metadata = pod["metadata"]
            key = f"{metadata['name']}_{metadata['namespace']}({metadata['uid']})"
            message = f"back-off {_duration(backoff.delay)} restarting failed container={name} pod={key}"
            return _waiting("CrashLoopBackOff", message), ended
        if trouble is not None:
            return _waiting(trouble.reason, trouble.message), ended
        return ended, last
    if trouble is not None:
        return _waiting(trouble.reason, trouble.message), last
    if notes.terminating and (known := _known(pod, name).get("state", {}).get("terminated")):
        return {"terminated": known}, last
    return _waiting(initial_reason(pod), ""), last


def _lost(known: Mapping[str, Any], latest: Container | None) -> Json:
    """The last state of a container that the runtime knows nothing of any more, but whose status is known."""
    before: Json = known.get("lastState") or {}
    if (before.get("terminated") or {}).get("reason") == _UNKNOWN:
        return before
    if "running" not in (known.get("state") or {}) or latest is not None:
        return {}
    ended = {
        "exitCode": 137,
        "reason": _UNKNOWN,
        "message": (
            "The container could not be located when the pod was deleted.  The container used to be Running"
        ),
        "startedAt": None,
        "finishedAt": None,
    }
    return {"terminated": ended}


def begun(pod: Mapping[str, Any]) -> dict[str, int]:
    """How often each container of the pod has begun, by its status."""
    before = pod.get("status") or {}
    found = (each for kind in _KINDS for each in before.get(kind) or () if each.get("containerID"))
    return {each["name"]: int(each.get("restartCount") or 0) + 1 for each in found}


def initial_reason(pod: Mapping[str, Any]) -> str:
    """Why a container waits that nothing has been done to yet: kubectl counts init containers by this word."""
    return "PodInitializing" if inits(pod) else "ContainerCreating"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


def _restarts(spec: Mapping[str, Any], pod: Mapping[str, Any], ended: Container, now: float) -> bool:
    policy = pod["spec"].get("restartPolicy") or "Always"
    init = any(each is spec for each in inits(pod))
    # a pod that is over keeps what its containers ended with
    if any(each is spec for each in ephemerals(pod)) or outcome(pod, Seen(), now):
        return False
    if is_sidecar(spec):
        return True
    if init and ended.exit_code == 0:
        return False
    return wanted_again(spec, policy, ended.exit_code)


def _waiting(reason: str, message: str) -> Json:
    return {"waiting": {"reason": reason, "message": message} if message else {"reason": reason}}


def _terminated(container: Container) -> Json:
    result: Json = {
        "exitCode": container.exit_code,
        "reason": container.reason or ("Error" if container.exit_code else "Completed"),
        "startedAt": timestamp(container.started),
        "finishedAt": timestamp(container.finished),
        "containerID": f"containerd://{container.id}",
    }
    if container.message:
        result["message"] = container.message
    return result


def disruption(why: str, now: float) -> Json:
    """The condition of a pod that the kubelet itself ends."""
    return {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "TerminationByKubelet",
        "message": why,
        "lastProbeTime": None,
        "lastTransitionTime": timestamp(now),
    }


def _conditions(
    pod: Mapping[str, Any], seen: Seen, phase: str, incomplete: list[str], containers: list[Json], now: float
) -> list[Json]:
    before = {each["type"]: each for each in (pod.get("status") or {}).get("conditions") or ()}
    sandbox = seen.sandbox
    network = sandbox is not None and sandbox.ready and bool(sandbox.ip)
    unready = [each["name"] for each in containers if not each["ready"]]
    gates = [gate["conditionType"] for gate in pod["spec"].get("readinessGates") or ()]
    shut = [gate for gate in gates if before.get(gate, {}).get("status") != "True"]
    done = phase in {"Succeeded", "Failed"}
    initialized = _condition(
        "Initialized",
        "ContainersNotInitialized" if incomplete else "",
        f"containers with incomplete status: [{' '.join(incomplete)}]",
    )
    if phase == "Succeeded":
        initialized = _condition("Initialized", "", "")
        initialized["reason"] = "PodCompleted"
    reason, message = "", ""
    if done:
        reason = "PodCompleted" if phase == "Succeeded" else "PodFailed"
    elif unready:
        reason, message = "ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]"
    ready = _condition("Ready", reason, message)
    if not reason and shut:
        ready = _condition("Ready", "ReadinessGatesNotReady", f"conditions not met: {', '.join(shut)}")
    ours = [
        {"type": "PodReadyToStartContainers", "status": "True" if network else "False"},
        initialized,
        ready,
        _condition("ContainersReady", reason, message),
        {"type": "PodScheduled", "status": "True"},
    ]
    timed = [_since(each | _generation(pod), before.get(each["type"]), now) for each in ours]
    return timed + [each for kind, each in before.items() if kind not in OURS]


def _condition(kind: str, reason: str, message: str) -> Json:
    """A condition that holds unless there is a reason why not."""
    condition: Json = {"type": kind, "status": "False" if reason else "True"}
    if reason:
        condition["reason"] = reason
        if message:
            condition["message"] = message
    return condition


def _since(condition: Json, before: Mapping[str, Any] | None, now: float) -> Json:
    same = before is not None and before.get("status") == condition["status"]
    changed = before.get("lastTransitionTime") if same and before is not None else None
    return condition | {"lastProbeTime": None, "lastTransitionTime": changed or timestamp(now)}


def difference(status_: Json, before: Mapping[str, Any]) -> Json | None:
    """A merge patch from one status to the next; None where they are equal."""
    patch = {key: value for key, value in status_.items() if before.get(key) != value}
    gone: Json = dict.fromkeys((key for key in before if key not in status_ and key in _PATCHED), None)
    return (patch | gone) or None
