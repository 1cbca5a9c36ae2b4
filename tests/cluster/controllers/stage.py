"""A small model of the API on which controllers play: it performs their plans without a server."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from weft.adapters.kube.client import Json
from weft.adapters.kube.kinds import (
    CONTROLLERREVISIONS,
    CRDS,
    CRONJOBS,
    DAEMONSETS,
    DEPLOYMENTS,
    ENDPOINTS,
    ENDPOINTSLICES,
    JOBS,
    LEASES,
    NAMESPACES,
    NODES,
    PERSISTENTVOLUMECLAIMS,
    PERSISTENTVOLUMES,
    PODDISRUPTIONBUDGETS,
    PODS,
    REPLICASETS,
    REPLICATIONCONTROLLERS,
    SERVICES,
    STATEFULSETS,
    STORAGECLASSES,
    Kind,
)
from weft.cluster.controllers.cache import Cache
from weft.cluster.controllers.changes import Bind, Change, Create, Delete, Erase, Patch, Plan, Put
from weft.cluster.controllers.events import Tell
from weft.cluster.controllers.loop import Controller, World
from weft.cluster.controllers.objects import Key, key_of, timestamp

START = datetime(2026, 1, 1, tzinfo=UTC)
KINDS = (
    CONTROLLERREVISIONS,
    CRDS,
    CRONJOBS,
    DAEMONSETS,
    DEPLOYMENTS,
    ENDPOINTS,
    ENDPOINTSLICES,
    JOBS,
    LEASES,
    NAMESPACES,
    NODES,
    PERSISTENTVOLUMECLAIMS,
    PERSISTENTVOLUMES,
    PODDISRUPTIONBUDGETS,
    PODS,
    REPLICASETS,
    REPLICATIONCONTROLLERS,
    SERVICES,
    STATEFULSETS,
    STORAGECLASSES,
)


def merged(old: Any, patch: Any) -> Any:
    """A merge patch applied (RFC 7386)."""
    if not isinstance(patch, dict):
        return patch
    result = dict(old) if isinstance(old, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


class Stage:
    """Performs plans the way the API server would. Each controller is told of changes, as by its runner."""

    def __init__(self, controllers: Sequence[Controller] = (), *, slow_deletion: bool = False) -> None:
        self.queues: dict[Controller, dict[Key, None]] = {controller: {} for controller in controllers}
        self.later: dict[tuple[Controller, Key], datetime] = {}
        self.caches = {kind: Cache(kind, self._changed) for kind in KINDS}
        self.now = START
        self.revisions = count(1)
        self.events: list[str] = []
        self.erased: list[str] = []
        self.slow_deletion = slow_deletion

    @property
    def world(self) -> World:
        return World(self.caches, self.now)

    def _changed(self, kind: Kind, obj: Json) -> None:
        for controller, queue in self.queues.items():
            if controller.concerns(kind):
                queue.update(dict.fromkeys(controller.keys(kind, obj, self.world)))

    def put(self, kind: Kind, obj: Json) -> Json:
        number = str(next(self.revisions))
        meta = {"uid": number, "creationTimestamp": timestamp(self.now), "generation": 1}
        if kind.namespaced:
            meta["namespace"] = "default"
        meta |= obj["metadata"] | {"resourceVersion": number}
        meta.setdefault("name", f"{meta.get('generateName')}{number}")
        going = meta.get("deletionTimestamp") and not meta.get("finalizers")
        obj = obj | {"metadata": meta}
        if going and (kind != PODS or not self.slow_deletion):
            self.caches[kind]._remove(obj)
            return obj
        self.caches[kind].put(obj)
        return obj

    def get(self, kind: Kind, name: str) -> Json:
        held = self.caches[kind].get(("default" if kind.namespaced else "", name))
        assert held, f"{kind.kind} {name} is not there"
        return held

    def change(self, kind: Kind, name: str, patch: Json) -> Json:
        return self.put(kind, merged(self.get(kind, name), patch))

    def perform(self, plan: Plan) -> None:
        for change in plan.changes:
            self._do(change)

    def _do(self, change: Change) -> None:
        match change:
            case Create(kind, obj, then, _):
                made = self.put(kind, obj)
                self.events += [then.message.format(name=made["metadata"]["name"])] if then else []
            case Patch(kind, of, patch):
                if self.caches[kind].get(key_of(of)):
                    self.change(kind, of["metadata"]["name"], patch)
            case Put(kind, obj):
                self.put(kind, obj)
            case Delete(kind, of, _, grace, _):
                self.delete(kind, of["metadata"]["name"], grace=grace)
            case Bind(pod, node):
                self.change(PODS, pod["metadata"]["name"], {"spec": {"nodeName": node}})
            case Erase(folder):
                self.erased.append(folder)
            case Tell():
                self.events.append(change.message)

    def delete(self, kind: Kind, name: str, *, grace: int | None = None) -> None:
        held = self.caches[kind].get(("default" if kind.namespaced else "", name))
        if held is None:
            return
        stays = held["metadata"].get("finalizers") or (kind == PODS and self.slow_deletion and grace != 0)
        if stays:
            self.change(kind, name, {"metadata": {"deletionTimestamp": timestamp(self.now)}})
        else:
            self.caches[kind]._remove(held)

    def settle(self) -> None:
        """Let all controllers look at what changed, as long as something does."""
        for _ in range(1000):
            for mark in [mark for mark, due in self.later.items() if due <= self.now]:
                del self.later[mark]
                self.queues[mark[0]][mark[1]] = None
            waiting = next(((one, queue) for one, queue in self.queues.items() if queue), None)
            if waiting is None:
                return
            controller, queue = waiting
            key = next(iter(queue))
            del queue[key]
            plan = controller.plan(key, self.world)
            self.perform(plan)
            if plan.again is not None:
                self.later[controller, key] = self.now + plan.again
        raise AssertionError("the controllers never come to rest")

    def wait(self, seconds: float) -> None:
        """Let time pass, with every timer that rings on the way."""
        end = self.now + timedelta(seconds=seconds)
        self.settle()
        while self.later and (due := min(self.later.values())) <= end:
            self.now = max(self.now, due)
            self.settle()
        self.now = end
        self.settle()

    def make_ready(self, pod: Json) -> None:
        ready = {"type": "Ready", "status": "True", "lastTransitionTime": timestamp(self.now)}
        status = {"phase": "Running", "conditions": [ready]}
        self.put(PODS, pod | {"spec": {"nodeName": "n"} | pod["spec"], "status": status})

    def make_all_ready(self) -> None:
        for pod in self.pods():
            if pod.get("status", {}).get("phase") is None and not pod["metadata"].get("deletionTimestamp"):
                self.make_ready(pod)

    def finish(self, pod: Json, phase: str = "Succeeded", code: int = 0) -> None:
        ended = {"terminated": {"exitCode": code, "finishedAt": timestamp(self.now)}}
        status = {"phase": phase, "containerStatuses": [{"name": "c", "state": ended}]}
        self.put(PODS, pod | {"status": status})

    def pods(self) -> list[Json]:
        return list(self.caches[PODS])

    def names(self) -> list[str]:
        return sorted(pod["metadata"]["name"] for pod in self.pods())


def template(image: str = "nginx:1", **spec: Any) -> Json:
    """A pod template with one container."""
    return {
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "image": image}], **spec},
    }


def image_of(pod: Json) -> str:
    """The image that a pod runs."""
    return str(pod["spec"]["containers"][0]["image"])


def node(name: str, *, ready: str = "True", labels: dict[str, str] | None = None, **spec: Any) -> Json:
    """A node that is ready, unless told otherwise."""
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name} | (labels or {})},
        "spec": spec,
        "status": {
            "conditions": [{"type": "Ready", "status": ready}],
            "allocatable": {"cpu": "2", "memory": "4Gi", "pods": "110"},
        },
    }
