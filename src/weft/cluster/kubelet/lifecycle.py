"""What to do next for a pod: a pure decision from what is wanted, what runs and what is remembered.

The worker carries out the actions, looks again, and asks again; so every decision starts from what is there, and a
kubelet that was restarted decides the same as one that was not.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from weft.adapters.cri.types import Container, Sandbox, State
from weft.cluster.kubelet.podspec import digest
from weft.cluster.kubelet.refusals import ended_by_node, refusal

SANDBOX = ""  # the key of the sandbox among the names of what is busy
_FIRST_BACKOFF, _LAST_BACKOFF = 10.0, 300.0  # seconds
_FORGIVEN = 600.0  # seconds of running after which a crash starts the back-off anew


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long a container that ends again must wait. `since` is when it ended before, in epoch seconds."""

    delay: float
    since: float


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why something could not be made, as a waiting container's status says it; tried again at `retry_at`."""

    reason: str
    message: str
    retry_at: float


@dataclass(frozen=True, slots=True)
class Health:
    """What the probes of one running container have found. `failed` says why it must be killed, if it must."""

    started: bool
    ready: bool
    failed: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the runtime has of a pod."""

    sandboxes: tuple[Sandbox, ...] = ()
    containers: tuple[Container, ...] = ()

    @property
    def sandbox(self) -> Sandbox | None:
        """The newest sandbox, ready or not."""
        return max(self.sandboxes, key=lambda each: (each.attempt, each.created), default=None)

    def latest(self) -> dict[str, Container]:
        """The newest container of each name in the newest sandbox."""
        sandbox = self.sandbox
        found: dict[str, Container] = {}
        for each in sorted(self.containers, key=lambda each: (each.attempt, each.created)):
            if sandbox is not None and each.sandbox == sandbox.id:
                found[each.name] = each
        return found

    def of(self, name: str) -> list[Container]:
        """All containers of a name, newest first."""
        return sorted((each for each in self.containers if each.name == name), key=lambda each: -each.attempt)


LEAVE = 1.0
"""Seconds between the wish to end a pod and its first signal: the time in which its address leaves service rules
and proxies, so that no request is sent to a server that has stopped listening. Pods without grace get none."""


@dataclass(frozen=True, slots=True)
class Notes:
    """What the kubelet remembers of a pod. Keys are container names, in `health` container ids.

    `busy` are the containers (or SANDBOX) that something is being done to; `stopped` the ids of dead sandboxes
    whose network has been taken down; `failures` counts sandboxes that did not come up.
    """

    busy: frozenset[str] = frozenset()
    troubles: Mapping[str, Trouble] = field(default_factory=dict)
    backoffs: Mapping[str, Backoff] = field(default_factory=dict)
    health: Mapping[str, Health] = field(default_factory=dict)
    stopped: frozenset[str] = frozenset()
    failures: int = 0
    terminating: float = 0.0
    """When termination began, in epoch seconds; 0 while the pod is wanted."""
    grace: int = 30
    begun: Mapping[str, int] = field(default_factory=dict)
    """How often containers had begun before this process did: the runtime may have lost them since."""


@dataclass(frozen=True, slots=True)
class RunSandbox:
    """Run a new sandbox."""

    attempt: int


@dataclass(frozen=True, slots=True)
class StopSandbox:
    """Take a sandbox's network and processes down, and keep its containers for their logs."""

    id: str


@dataclass(frozen=True, slots=True)
class RemoveSandbox:
    """Stop a sandbox and remove it with its containers."""

    id: str


@dataclass(frozen=True, slots=True)
class Start:
    """Create and start a container, its image and hooks included. `ended` is when its last run did, or 0."""

    name: str
    attempt: int
    ended: float = 0.0


@dataclass(frozen=True, slots=True)
class Kill:
    """End a running container, its preStop hook first. `message` is for the event."""

    id: str
    name: str
    grace: int
    message: str


@dataclass(frozen=True, slots=True)
class Remove:
    """Forget a container that ended long ago, or never started."""

    id: str


@dataclass(frozen=True, slots=True)
class Finish:
    """Nothing is left: remove what the pod had on disk, and the pod itself from the API."""


Action = RunSandbox | StopSandbox | RemoveSandbox | Start | Kill | Remove | Finish


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now, and when (epoch seconds) to ask again if nothing happens before."""

    actions: tuple[Action, ...] = ()
    wake_at: float | None = None


def next_backoff(known: Backoff | None, ended: float) -> Backoff:
    """The back-off to hold after a container that `ended` is started again: 10 s, doubling to 5 minutes."""
    if known is None or ended - known.since > max(known.delay, _FORGIVEN):
        return Backoff(_FIRST_BACKOFF, ended)
    return Backoff(min(known.delay * 2, _LAST_BACKOFF), ended)


def held_until(known: Backoff | None, ended: float) -> float:
    """When a container that `ended` may be started again, in epoch seconds."""
    if known is None or ended - known.since > max(known.delay, _FORGIVEN):
        return ended
    return ended + known.delay


def is_sidecar(spec: Mapping[str, Any]) -> bool:
    """Whether an init container is one that goes on running (`restartPolicy: Always`)."""
    return spec.get("restartPolicy") == "Always"


def inits(pod: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The pod's init containers, sidecars among them."""
    return pod["spec"].get("initContainers") or []


def ephemerals(pod: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The containers that were put into the running pod (`kubectl debug`)."""
    return pod["spec"].get("ephemeralContainers") or []


def spec_of(pod: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    """The spec of one of the pod's containers, of whatever sort; None where there is none of that name."""
    everything = (*pod["spec"]["containers"], *inits(pod), *ephemerals(pod))
    return next((spec for spec in everything if spec["name"] == name), None)


def health(spec: Mapping[str, Any], container: Container, notes: Notes) -> Health:
    """What is known of a running container's health; without probes, running is being well."""
    known = notes.health.get(container.id)
    if known is not None:
        return known
    started = not spec.get("startupProbe")
    return Health(started, started and not spec.get("readinessProbe"))


def deadline(pod: Mapping[str, Any]) -> float | None:
    """When the pod has been active for as long as it may (`activeDeadlineSeconds`), in epoch seconds."""
    seconds = pod["spec"].get("activeDeadlineSeconds")
    begun = (pod.get("status") or {}).get("startTime")
    if seconds is None or not begun:
        return None
    return datetime.fromisoformat(begun).timestamp() + float(seconds)


def outcome(pod: Mapping[str, Any], seen: Seen, now: float) -> str:
    """`Succeeded` or `Failed` once the pod has run its course by its restart policy and deadline, else empty."""
    status = pod.get("status") or {}
    phase = status.get("phase")
    if phase in {"Succeeded", "Failed"}:
        return str(phase)
    if ended_by_node(status) is not None:
        return "Failed"
    ends = deadline(pod)
    if refusal(pod) is not None or (ends is not None and ends <= now):
        return "Failed"
    return _course(pod, seen)


def _course(pod: Mapping[str, Any], seen: Seen) -> str:
    policy = pod["spec"].get("restartPolicy") or "Always"
    specs, latest = pod["spec"]["containers"], seen.latest()
    if all(wanted_again(spec, policy, 0) and wanted_again(spec, policy, 1) for spec in specs):
        return ""
    mains = [latest.get(spec["name"]) for spec in specs]
    if any(_outdated(spec, latest.get(spec["name"])) for spec in pod["spec"]["containers"]):
        return ""
    if policy == "Never" and not any(mains):
        for spec in inits(pod):
            ended = latest.get(spec["name"])
            if ended is not None and not is_sidecar(spec) and ended.state == State.EXITED and ended.exit_code:
                return "Failed"
    if not all(each is not None and each.state == State.EXITED for each in mains):
        return ""
    codes = [each.exit_code for each in mains if each is not None]
    if any(wanted_again(spec, policy, code) for spec, code in zip(specs, codes, strict=True)):
        return ""
    return "Failed" if any(codes) else "Succeeded"


def decide(pod: Mapping[str, Any], seen: Seen, notes: Notes, now: float) -> Plan:
    """The next actions for a pod. Call again after each of them, and when anything changes."""
    if notes.terminating:
        return _terminate(pod, seen, notes, now)
    if outcome(pod, seen, now):
        return _conclude(pod, seen, notes)
    sandbox, ends = seen.sandbox, deadline(pod)
    limit = () if ends is None else (ends,)
    if sandbox is None or not sandbox.ready:
        return _join(*_sandbox(sandbox, seen, notes, now), *limit)
    steps = (*_looking_in(pod, seen, notes, now), *_containers(pod, seen, notes, now))
    return _join(*steps, *_tidy(seen, notes), *limit)


def _join(*steps: Action | float) -> Plan:
    actions = tuple(step for step in steps if not isinstance(step, float))
    times = [step for step in steps if isinstance(step, float)]
    return Plan(actions, min(times, default=None))


def _sandbox(sandbox: Sandbox | None, seen: Seen, notes: Notes, now: float) -> Iterator[Action | float]:
    trouble = notes.troubles.get(SANDBOX)
    if SANDBOX in notes.busy:
        return
    if sandbox is not None and sandbox.id not in notes.stopped:
        # its address must be given back before the next one is asked for
        yield StopSandbox(sandbox.id)
    elif trouble is not None and trouble.retry_at > now:
        yield trouble.retry_at
    else:
        known = [each.attempt + 1 for each in seen.sandboxes]
        yield RunSandbox(max(known, default=0) + notes.failures)


def _looking_in(pod: Mapping[str, Any], seen: Seen, notes: Notes, now: float) -> Iterator[Action | float]:
    """Ephemeral containers start at once, whatever the others do, and once only."""
    latest = seen.latest()
    for spec in ephemerals(pod):
        yield from _keep(spec, latest.get(spec["name"]), "Never", seen, notes, now)


def _containers(pod: Mapping[str, Any], seen: Seen, notes: Notes, now: float) -> Iterator[Action | float]:
    latest = seen.latest()
    policy = pod["spec"].get("restartPolicy") or "Always"
    mains = pod["spec"]["containers"]
    begun = any(spec["name"] in latest for spec in mains)
    for spec in inits(pod):
        container = latest.get(spec["name"])
        if is_sidecar(spec):
            yield from _keep(spec, container, "Always", seen, notes, now)
            up = container is not None and container.state == State.RUNNING and spec["name"] not in notes.busy
            if not begun and not (up and container is not None and health(spec, container, notes).started):
                return
        elif not begun and not (container is not None and _completed(container)):
            yield from _keep(spec, container, "Never" if policy == "Never" else "OnFailure", seen, notes, now)
            return
    complete = all(spec["name"] in latest for spec in mains)
    for spec in mains:
        steps = list(_keep(spec, latest.get(spec["name"]), policy, seen, notes, now))
        yield from steps
        starting = spec["name"] in notes.busy or any(isinstance(step, Start) for step in steps)
        if starting and not complete:
            # one after the other: a postStart hook may hold those behind it back (container lifecycle hooks)
            return


def wanted_again(spec: Mapping[str, Any], policy: str, exit_code: int) -> bool:
    """Whether a container that ended with this code is started again; its own rules go before the pod's policy."""
    for rule in spec.get("restartPolicyRules") or ():
        codes = rule.get("exitCodes") or {}
        if (exit_code in (codes.get("values") or ())) == (codes.get("operator") == "In"):
            return bool(rule.get("action") == "Restart")
    policy = str(spec.get("restartPolicy") or policy)
    return policy == "Always" or (policy == "OnFailure" and exit_code != 0)


def _completed(container: Container) -> bool:
    return container.state == State.EXITED and container.exit_code == 0


def _keep(
    spec: Mapping[str, Any], container: Container | None, policy: str, seen: Seen, notes: Notes, now: float
) -> Iterator[Action | float]:
    """What one container needs in order to be as its restart policy wants it."""
    name = str(spec["name"])
    if name in notes.busy:
        return
    attempt = max((each.attempt + 1 for each in seen.of(name)), default=notes.begun.get(name, 0))
    trouble = notes.troubles.get(name)
    wait = trouble.retry_at if trouble is not None else 0.0
    match container:
        case None:
            yield wait if wait > now else Start(name, attempt)
        case Container(state=State.RUNNING):
            if _outdated(spec, container):
                message = f"Container {name} definition changed, will be restarted"
                yield Kill(container.id, name, notes.grace, message)
            elif (found := health(spec, container, notes)).failed:
                probe = "livenessProbe" if found.started else "startupProbe"
                yield Kill(container.id, name, _grace(spec, probe, notes), found.failed)
        case Container(state=State.EXITED) if _outdated(spec, container):
            yield wait if wait > now else Start(name, attempt)
        case Container(state=State.EXITED):
            if not wanted_again(spec, policy, container.exit_code):
                return
            held = held_until(notes.backoffs.get(name), container.finished)
            yield from (moment for moment in (wait, held) if moment > now)
            if max(wait, held) <= now:
                yield Start(name, attempt, container.finished)
        case _:
            # created and never started, or unknown to the runtime itself: of no use
            yield Remove(container.id)


def _outdated(spec: Mapping[str, Any], container: Container | None) -> bool:
    """Whether the container was made from another image than its spec has now."""
    return container is not None and bool(container.made_from) and container.made_from != digest(spec)


def _grace(spec: Mapping[str, Any], probe: str, notes: Notes) -> int:
    own = (spec.get(probe) or {}).get("terminationGracePeriodSeconds")
    return notes.grace if own is None else int(own)


def _tidy(seen: Seen, notes: Notes) -> Iterator[Action]:
    # the last ended container of a name is kept for its log and status, those before it are not
    for name in {each.name for each in seen.containers} - notes.busy:
        for old in seen.of(name)[2:]:
            yield Remove(old.id)


def _conclude(pod: Mapping[str, Any], seen: Seen, notes: Notes) -> Plan:
    running = [each for each in seen.containers if each.state == State.RUNNING]
    if running:
        victims = _leaving(pod, running)
        return Plan(
            tuple(
                Kill(each.id, each.name, notes.grace, f"Stopping container {each.name}")
                for each in victims
                if each.name not in notes.busy
            )
        )
    sandbox = seen.sandbox
    if sandbox is not None and sandbox.ready and sandbox.id not in notes.stopped and SANDBOX not in notes.busy:
        return Plan((StopSandbox(sandbox.id),))
    return Plan()


def _leaving(pod: Mapping[str, Any], running: list[Container]) -> list[Container]:
    """Who ends next: all that are no sidecars, then these one by one, in the reverse order of their start."""
    sidecars = [spec["name"] for spec in inits(pod) if is_sidecar(spec)]
    others = [each for each in running if each.name not in sidecars]
    return others or sorted(running, key=lambda each: sidecars.index(each.name))[-1:]


def _terminate(pod: Mapping[str, Any], seen: Seen, notes: Notes, now: float) -> Plan:
    sidecars = {spec["name"] for spec in inits(pod) if is_sidecar(spec)}
    running = [each for each in seen.containers if each.state == State.RUNNING]
    others = any(each.name not in sidecars for each in running)
    left = notes.grace - int(now - notes.terminating)
    if others and notes.grace > 1 and now < notes.terminating + LEAVE:
        return Plan((), notes.terminating + LEAVE)
    # SIGTERM at least has a moment to work, however late it comes
    grace = notes.grace if others else max(left, min(notes.grace, 2))
    if running:
        return Plan(
            tuple(
                Kill(each.id, each.name, grace, f"Stopping container {each.name}")
                for each in _leaving(pod, running)
                if each.name not in notes.busy
            )
        )
    if notes.busy:
        return Plan()
    if seen.sandboxes:
        return Plan(tuple(RemoveSandbox(each.id) for each in seen.sandboxes))
    return Plan((Finish(),))
