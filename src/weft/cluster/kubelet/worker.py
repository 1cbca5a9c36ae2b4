"""One pod's worker: looks, decides, acts, tells; again whenever something happens."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from dataclasses import replace
from functools import partial
from typing import Any

from weft.adapters.cri.client import CriError
from weft.adapters.cri.types import Container, Resources, State
from weft.cluster.kubelet import lifecycle, podspec, quantity
from weft.cluster.kubelet import status as statuses
from weft.cluster.kubelet.lifecycle import (
    SANDBOX,
    Action,
    Backoff,
    Finish,
    Health,
    Kill,
    Notes,
    Remove,
    RemoveSandbox,
    RunSandbox,
    Seen,
    Start,
    StopSandbox,
    Trouble,
)
from weft.cluster.kubelet.making import Maker
from weft.cluster.kubelet.objects import Reference, references
from weft.cluster.kubelet.operations import Operations
from weft.cluster.kubelet.prober import Prober, Subject
from weft.cluster.kubelet.recorder import Event
from weft.cluster.kubelet.refusals import Refusal, ended_by_node, refusal
from weft.cluster.kubelet.station import ClusterError, Json, Pod, Station

_log = logging.getLogger(__name__)
_SHORT_RUN = 0.3  # seconds
_EVICTED_GRACE = 1  # seconds
_RETRY = 2.0  # seconds until something that failed for an unknown reason is tried again


class Worker:
    """Brings one pod to what its object wants, from its first sandbox to its removal.

    `update` and `end` say what is wanted now; `run` returns when nothing is left of the pod on this node.
    """

    def __init__(self, station: Station, pod: Pod) -> None:
        self._station = station
        self.pod = pod
        self.seen = Seen()
        self.notes = Notes(grace=_grace(pod), begun=statuses.begun(pod))
        self.maker = Maker(station, pod)
        self._operations = Operations(station, self)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._probers: dict[str, asyncio.Task[None]] = {}
        self._details: dict[str, Container] = {}
        self._ips: dict[str, str] = {}
        self._published: Json = dict(pod.get("status") or {})
        self._followed: frozenset[Reference] = frozenset()
        self._held: set[str] = set()
        self._limits: dict[str, Resources] = {}
        self._begun = station.clock()
        self._stale_volumes = False
        self._finished = False
        self._ended = ended_by_node(pod.get("status") or {})
        self._wake = asyncio.Event()

    # -- what is wanted

    def update(self, pod: Pod) -> None:
        """The pod's object has changed."""
        changed = pod["metadata"].get("labels") != self.pod["metadata"].get("labels")
        changed = changed or pod["metadata"].get("annotations") != self.pod["metadata"].get("annotations")
        self._stale_volumes = self._stale_volumes or changed
        self.pod = self.maker.pod = pod
        # what was put into the pod while it runs may refer to more
        self._follow(references(pod))
        if pod["metadata"].get("deletionTimestamp"):
            self.end(_deletion_grace(pod))
        self.wake()

    def end(self, grace: int) -> None:
        """The pod shall go, with `grace` seconds for its containers. A later, shorter grace wins."""
        if not self.notes.terminating:
            self.note(terminating=self._station.clock(), grace=grace)
            self._operations.abandon()
        elif grace < self.notes.grace:
            self.note(grace=grace)
            for name in [name for name in self._tasks if name != SANDBOX]:
                self._tasks[name].cancel()
        self.wake()

    @property
    def active(self) -> bool:
        """Whether the pod takes part of the node: it was let in, is not over, and nobody has ended it yet."""
        over = self._ended or (self._published.get("phase") or "") in {"Succeeded", "Failed"}
        return not (over or self.notes.terminating)

    def evict(self, why: str) -> None:
        """End the pod's containers at once, and leave it failed: the node has no room for it."""
        if self.active:
            self._ended = Refusal("Evicted", why)
            self.note(grace=min(self.notes.grace, _EVICTED_GRACE))
            self.tell(Event("Evicted", why, warning=True))
            self.wake()

    def reject(self, why: Refusal) -> None:
        """Do not begin with the pod at all."""
        self._ended = why._replace(message=f"Pod was rejected: {why.message}")
        self.tell(Event(why.reason, why.message, warning=True))

    def wake(self) -> None:
        """Look again now."""
        self._wake.set()

    # -- what is remembered; used by the operations

    def note(self, **changes: Any) -> None:
        """Remember something (fields of Notes)."""
        self.notes = replace(self.notes, **changes)

    def trouble(self, name: str, trouble: Trouble | None) -> None:
        """Remember why a container (or SANDBOX) cannot be, or that it can."""
        others = {key: value for key, value in self.notes.troubles.items() if key != name}
        self.note(troubles=others | ({name: trouble} if trouble is not None else {}))

    def backoff(self, name: str, backoff: Backoff) -> None:
        """Remember how long a container must wait when it ends again."""
        self.note(backoffs={**self.notes.backoffs, name: backoff})

    def tell(self, event: Event) -> None:
        """Tell of something in the pod's events."""
        self._station.recorder.tell(self.pod, event)

    @property
    def ip(self) -> str:
        """The pod's address, once it has one."""
        sandbox = self.seen.sandbox
        return sandbox.ip if sandbox is not None else ""

    def shown(self) -> Json:
        """The pod with the status that was last told."""
        return {**self.pod, "status": self._published}

    # -- the loop

    async def run(self) -> None:
        """Work until the pod is gone."""
        if self.pod["metadata"].get("deletionTimestamp"):
            self.end(_deletion_grace(self.pod))
        self._follow(references(self.pod))
        if (refused := refusal(self.pod)) is not None:
            self.tell(Event(refused.reason, refused.message, warning=True))
        # while the sandbox is made, so are the images
        specs = (*lifecycle.inits(self.pod), *self.pod["spec"]["containers"])
        wanted = dict.fromkeys(spec["image"] for spec in specs)
        preparing = asyncio.create_task(self._station.images.prepare(wanted))
        try:
            while not self._finished:
                self._wake.clear()
                delay = await self._turn()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(delay):
                        await self._wake.wait()
        finally:
            self._follow(frozenset())
            running = [preparing, *self._tasks.values(), *self._probers.values()]
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _turn(self) -> float | None:
        """One look, one decision; how long to sleep at most, in seconds."""
        clock = self._station.clock
        try:
            await self._look()
            self._watch_health()
            self._watch_limits()
            if self._stale_volumes and self.ip:
                self._stale_volumes = False
                self._begin("volumes", self._operations.refresh_volumes)
            begun = {"startTime": self._published.get("startTime")} | (self.pod.get("status") or {}) | self._why()
            held = 0.0
            plan = lifecycle.decide({**self.pod, "status": begun}, self.seen, self.notes, clock())
            for action in plan.actions:
                self._act(action)
            if not self._finished:
                self._tell_held()
                held = self._held_back()
                if held <= 0:
                    await self._publish()
        except (CriError, ClusterError) as error:
            _log.warning("pod %s: %s", podspec.pod_key(self.pod), error)
            return _RETRY
        except Exception:  # noqa: BLE001, as below: tried again, for the pod may be mended
            _log.exception("pod %s", podspec.pod_key(self.pod))
            return _RETRY
        rotate = self.maker.rotate_at()
        times = [plan.wake_at, rotate, clock() + held if held > 0 else None]
        if rotate is not None and rotate <= clock():
            self._stale_volumes = True
        return min((max(time - clock(), 0.05) for time in times if time is not None), default=None)

    def _act(self, action: Action) -> None:
        operations = self._operations
        match action:
            case RunSandbox(attempt):
                self._begin(SANDBOX, partial(operations.run_sandbox, attempt))
            case StopSandbox(sandbox):
                self._begin(SANDBOX, partial(operations.stop_sandbox, sandbox))
            case RemoveSandbox(sandbox):
                self._begin(SANDBOX, partial(operations.remove_sandbox, sandbox))
            case Start():
                self._begin(action.name, partial(operations.start, action))
            case Kill():
                self._begin(action.name, partial(operations.kill, action))
            case Remove(container):
                self._begin(f"remove {container}", partial(operations.remove, container))
            case Finish():
                self._begin(SANDBOX, self._finish)

    def _begin(self, key: str, operation: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Carry out an operation, one at a time for each key."""
        if key in self._tasks:
            return
        self.note(busy=self.notes.busy | {key})
        task = asyncio.create_task(self._carry_out(key, operation))
        self._tasks[key] = task
        task.add_done_callback(lambda _: self._done(key))

    async def _carry_out(self, key: str, operation: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await operation()
        except (CriError, ClusterError, OSError) as error:
            _log.warning("pod %s: %s: %s", podspec.pod_key(self.pod), key or "sandbox", error)
            await asyncio.sleep(_RETRY)
        except Exception:  # noqa: BLE001, a fault of ours with one pod must not become one with its neighbours
            _log.exception("pod %s: %s", podspec.pod_key(self.pod), key or "sandbox")
            await asyncio.sleep(_RETRY)

    def _done(self, key: str) -> None:
        self._tasks.pop(key, None)
        self.note(busy=self.notes.busy - {key})
        self.wake()

    async def _finish(self) -> None:
        await self._publish()
        self._operations.clean()
        await self._station.cluster.remove(self.pod)
        self._finished = True

    # -- looking

    async def _look(self) -> None:
        """See what the runtime has; details only of what is new or has changed."""
        uid = self.pod["metadata"]["uid"]
        runtime = self._station.runtime
        sandboxes, containers = await asyncio.gather(runtime.sandboxes(uid), runtime.containers(uid))
        for sandbox in sandboxes:
            if sandbox.ready and sandbox.id not in self._ips:
                address = await runtime.sandbox_ip(sandbox.id)
                self._ips[sandbox.id] = address or self._station.node.ip
        details = [await self._detail(each) for each in containers]
        self._details = {each.id: each for each in details}
        self.seen = Seen(tuple(replace(each, ip=self._ips.get(each.id, "")) for each in sandboxes), tuple(details))

    async def _detail(self, listed: Container) -> Container:
        known = self._details.get(listed.id)
        if known is not None and known.state == listed.state:
            return known
        try:
            found = await self._station.runtime.container(listed)
        except CriError as error:
            if error.code == "NOT_FOUND":
                return replace(listed, state=State.UNKNOWN)
            raise
        if found.state == State.EXITED and not found.message:
            spec = lifecycle.spec_of(self.pod, found.name)
            message = self.maker.termination_message(spec, found) if spec else ""
            found = replace(found, message=message)
        return found

    # -- health

    def _watch_health(self) -> None:
        running = {each.id: each for each in self.seen.latest().values() if each.state == State.RUNNING}
        for container in [each for each in self._probers if each not in running]:
            self._probers.pop(container).cancel()
        for container, detail in running.items():
            spec = lifecycle.spec_of(self.pod, detail.name)
            if container in self._probers or spec is None or detail.name in self.notes.busy:
                continue
            if self.notes.terminating or not any(
                spec.get(f"{role}Probe") for role in ("startup", "liveness", "readiness")
            ):
                continue
            subject = Subject(container, spec, self.ip, detail.started, self._adopted(detail))
            prober = Prober(
                self._station.runtime,
                subject,
                self._station.clock,
                lambda health, container=container: self._learn(container, health),  # type: ignore[misc]  # bound now
                self.tell,
            )
            self._learn(container, prober.health)
            self._probers[container] = asyncio.create_task(prober.run())

    def _watch_limits(self) -> None:
        """Bring limits that were changed while a container runs (`kubectl patch --subresource resize`) to it."""
        running = {each.id: each for each in self.seen.latest().values() if each.state == State.RUNNING}
        self._limits = {container: known for container, known in self._limits.items() if container in running}
        for container, detail in running.items():
            spec = lifecycle.spec_of(self.pod, detail.name)
            if spec is None or detail.name in self.notes.busy or self.notes.terminating:
                continue
            wanted = self.maker.limits(spec)
            if container not in self._limits and not self._was_here(detail):
                self._limits[container] = wanted
            known = self._limits.get(container)
            if known == wanted:
                continue
            self._limits[container] = wanted
            if known is not None and quantity.needs_restart(spec, known, wanted):
                message = f"Container {detail.name} resize requires restart"
                kill = Kill(container, detail.name, self.notes.grace, message)
                self._begin(detail.name, partial(self._operations.resize_anew, kill))
            else:
                self._begin(f"limit {detail.name}", partial(self._operations.limit, container, wanted))

    def _was_here(self, container: Container) -> bool:
        """Whether a container ran before this process did: its limits may have changed in between."""
        return container.started < self._begun

    def _learn(self, container: str, health: Health) -> None:
        kept = {key: value for key, value in self.notes.health.items() if key in self._details}
        self.note(health={**kept, container: health})
        self.wake()

    def _adopted(self, container: Container) -> Health | None:
        """The health of a container that ran before this process did, as the pod's status has it."""
        for each in self._published.get("containerStatuses") or ():
            if each.get("containerID") == f"containerd://{container.id}" and each.get("started"):
                return Health(started=True, ready=bool(each.get("ready")))
        return None

    # -- telling

    def _tell_held(self) -> None:
        now = self._station.clock()
        for name, container in self.seen.latest().items():
            backoff = self.notes.backoffs.get(name)
            held = container.state == State.EXITED and backoff is not None and container.id not in self._held
            if held and not self.notes.terminating and lifecycle.held_until(backoff, container.finished) > now:
                self._held.add(container.id)
                key = podspec.pod_key(self.pod)
                message = f"Back-off restarting failed container {name} in pod {key}"
                self.tell(Event("BackOff", message, warning=True, container=name))

    def _held_back(self) -> float:
        """For how many seconds more it is not told that the pod runs.

        A command that somebody waits to attach to and that is over at once is told to be over, and never to run:
        there would be nothing left to attach to (`kubectl run -i`).
        """
        now, left = self._station.clock(), 0.0
        for name, container in self.seen.latest().items():
            spec = lifecycle.spec_of(self.pod, name)
            if spec is not None and spec.get("stdin") and container.state == State.RUNNING:
                left = max(left, container.started + _SHORT_RUN - now)
        return left

    async def _publish(self) -> None:
        """Patch the pod's status, if it is not what the API has already."""
        foreign = [
            each
            for each in (self.pod.get("status") or {}).get("conditions") or ()
            if each["type"] not in statuses.OURS
        ]
        ours = [each for each in self._published.get("conditions") or () if each["type"] in statuses.OURS]
        before = {**self._published, "conditions": [*ours, *foreign], **self._why()}
        evicted = self._ended is not None and self._ended.reason == "Evicted"
        if self._ended and evicted and not any(each["type"] == "DisruptionTarget" for each in foreign):
            before["conditions"].append(statuses.disruption(self._ended.message, self._station.clock()))
        shown = {**self.pod, "status": before}
        status = statuses.status(shown, self.seen, self.notes, self._station.node.ip, self._station.clock())
        patch = statuses.difference(status, self._published)
        if patch is not None:
            await self._station.cluster.patch_status(self.pod, patch)
            self._published = status

    def _why(self) -> Json:
        return self._ended._asdict() if self._ended is not None else {}

    # -- following what the pod refers to

    def _follow(self, wanted: frozenset[Reference]) -> None:
        cluster = self._station.cluster
        for reference in self._followed - wanted:
            cluster.unfollow(reference, self._object_changed)
        for reference in wanted - self._followed:
            cluster.follow(reference, self._object_changed)
        self._followed = wanted

    def _object_changed(self) -> None:
        waiting = {"CreateContainerConfigError", "ContainerCreating", "PodInitializing"}
        kept = {name: each for name, each in self.notes.troubles.items() if each.reason not in waiting}
        self.note(troubles=kept)
        self._stale_volumes = True
        self.wake()


def _grace(pod: Pod) -> int:
    value = pod["spec"].get("terminationGracePeriodSeconds")
    return 30 if value is None else int(value) if value >= 0 else 1


def _deletion_grace(pod: Pod) -> int:
    value = pod["metadata"].get("deletionGracePeriodSeconds")
    return _grace(pod) if value is None else int(value)
