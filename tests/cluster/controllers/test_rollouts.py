"""Deployments and ReplicaSets, played against a small model of the API: what is created, scaled and told."""

from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest

from weft.adapters.kube.client import Json
from weft.adapters.kube.kinds import DEPLOYMENTS, PODS, REPLICASETS, Kind
from weft.cluster.controllers.cache import Cache
from weft.cluster.controllers.changes import Create, Delete, Patch, Plan, Put, Tell
from weft.cluster.controllers.deployments import Deployments
from weft.cluster.controllers.loop import World
from weft.cluster.controllers.objects import condition, is_ready, timestamp
from weft.cluster.controllers.replicasets import ReplicaSets

START = datetime(2026, 1, 1, tzinfo=UTC)


def merged(old: Any, patch: Any) -> Any:
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
    """Performs plans the way the API server would, without one."""

    def __init__(self) -> None:
        self.caches = {kind: Cache(kind, lambda _kind, _obj: None) for kind in (DEPLOYMENTS, REPLICASETS, PODS)}
        self.now = START
        self.revisions = count(1)
        self.events: list[str] = []

    @property
    def world(self) -> World:
        return World(self.caches, self.now)

    def put(self, kind: Kind, obj: Json) -> Json:
        number = str(next(self.revisions))
        meta = {"namespace": "default", "uid": number, "creationTimestamp": timestamp(self.now), "generation": 1}
        meta |= obj["metadata"] | {"resourceVersion": number}
        meta.setdefault("name", f"{meta.get('generateName')}{number}")
        obj = obj | {"metadata": meta}
        self.caches[kind].put(obj)
        return obj

    def perform(self, plan: Plan) -> None:
        for change in plan.changes:
            match change:
                case Create(kind, obj):
                    self.put(kind, obj)
                case Patch(kind, of, patch):
                    held = self.caches[kind].get(("default", of["metadata"]["name"]))
                    assert held
                    self.put(kind, merged(held, patch))
                case Put(kind, obj):
                    self.put(kind, obj)
                case Delete(kind, of):
                    self.caches[kind]._remove(of)
                case Tell():
                    self.events.append(change.message)

    def settle(self) -> None:
        """Let both controllers look at everything, as long as they change something."""
        for _ in range(200):
            before = str(list(map(list, self.caches.values())))
            for key in [("default", dep["metadata"]["name"]) for dep in self.caches[DEPLOYMENTS]]:
                self.perform(Deployments().plan(key, self.world))
            for key in [("default", rs["metadata"]["name"]) for rs in list(self.caches[REPLICASETS])]:
                self.perform(ReplicaSets().plan(key, self.world))
            if before == str(list(map(list, self.caches.values()))):
                return
        raise AssertionError("the controllers never come to rest")

    def make_ready(self, pod: Json) -> None:
        ready = {"type": "Ready", "status": "True", "lastTransitionTime": timestamp(self.now)}
        status = {"phase": "Running", "conditions": [ready]}
        self.put(PODS, pod | {"spec": pod["spec"] | {"nodeName": "n"}, "status": status})

    def pods(self) -> list[Json]:
        return list(self.caches[PODS])


def deployment(replicas: int, image: str = "nginx:1", **spec: Any) -> Json:
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": image}]}}
    selector = {"matchLabels": {"app": "web"}}
    return {
        "metadata": {"name": "web", "uid": "web-uid"},
        "spec": {"replicas": replicas, "selector": selector, "template": template} | spec,
    }


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_a_deployment_gets_its_pods_through_a_replicaset_named_by_its_template(stage: Stage) -> None:
    stage.put(DEPLOYMENTS, deployment(3))
    stage.settle()
    (replicaset,) = stage.caches[REPLICASETS]
    suffix = replicaset["metadata"]["labels"]["pod-template-hash"]
    assert replicaset["metadata"]["name"] == f"web-{suffix}"
    assert replicaset["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "1"
    assert len(stage.pods()) == 3
    assert all(pod["metadata"]["labels"] == {"app": "web", "pod-template-hash": suffix} for pod in stage.pods())


def test_status_tells_availability_only_once_pods_are_ready(stage: Stage) -> None:
    stage.put(DEPLOYMENTS, deployment(2))
    stage.settle()
    (held,) = stage.caches[DEPLOYMENTS]
    assert condition(held, "Available")["status"] == "False"
    assert held["status"]["unavailableReplicas"] == 2
    for pod in stage.pods():
        stage.make_ready(pod)
    stage.settle()
    (held,) = stage.caches[DEPLOYMENTS]
    assert condition(held, "Available")["status"] == "True"
    assert condition(held, "Progressing")["reason"] == "NewReplicaSetAvailable"
    assert held["status"]["availableReplicas"] == held["status"]["updatedReplicas"] == 2
    assert "unavailableReplicas" not in held["status"]


def test_a_rollout_keeps_within_surge_and_unavailability_all_the_way(stage: Stage) -> None:
    stage.put(DEPLOYMENTS, deployment(4))
    stage.settle()
    for pod in stage.pods():
        stage.make_ready(pod)
    stage.settle()
    stage.put(DEPLOYMENTS, merged(next(iter(stage.caches[DEPLOYMENTS])), deployment(4, "nginx:2")))
    for _ in range(20):
        stage.settle()
        assert len(stage.pods()) <= 5
        assert sum(map(is_ready, stage.pods())) >= 3
        unready = [pod for pod in stage.pods() if not is_ready(pod)]
        if not unready:
            break
        stage.make_ready(unready[0])
    assert {pod["spec"]["containers"][0]["image"] for pod in stage.pods()} == {"nginx:2"}
    assert len(stage.pods()) == 4
    (held,) = stage.caches[DEPLOYMENTS]
    assert held["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "2"


def test_a_broken_new_version_never_takes_the_old_one_down(stage: Stage) -> None:
    stage.put(DEPLOYMENTS, deployment(4))
    stage.settle()
    for pod in stage.pods():
        stage.make_ready(pod)
    stage.settle()
    stage.put(DEPLOYMENTS, merged(next(iter(stage.caches[DEPLOYMENTS])), deployment(4, "broken:1")))
    stage.settle()
    assert sum(map(is_ready, stage.pods())) == 3
    stage.now += timedelta(seconds=700)
    stage.settle()
    (held,) = stage.caches[DEPLOYMENTS]
    assert condition(held, "Progressing")["reason"] == "ProgressDeadlineExceeded"


def test_going_back_to_an_old_template_reuses_its_replicaset_under_a_new_revision(stage: Stage) -> None:
    stage.put(DEPLOYMENTS, deployment(1))
    stage.settle()
    for image in ("nginx:2", "nginx:1"):
        stage.put(DEPLOYMENTS, merged(next(iter(stage.caches[DEPLOYMENTS])), deployment(1, image)))
        stage.settle()
        for pod in stage.pods():
            stage.make_ready(pod)
        stage.settle()
    revisions = {rs["spec"]["template"]["spec"]["containers"][0]["image"]: rs for rs in stage.caches[REPLICASETS]}
    assert len(revisions) == 2
    assert revisions["nginx:1"]["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "3"
    assert revisions["nginx:2"]["spec"]["replicas"] == 0


def test_recreate_takes_every_old_pod_down_before_the_first_new_one(stage: Stage) -> None:
    stage.put(DEPLOYMENTS, deployment(2, strategy={"type": "Recreate"}))
    stage.settle()
    held = next(iter(stage.caches[DEPLOYMENTS]))
    stage.put(DEPLOYMENTS, merged(held, deployment(2, "nginx:2")))
    stage.perform(Deployments().plan(("default", "web"), stage.world))
    assert [rs["spec"]["replicas"] for rs in stage.caches[REPLICASETS]] == [0]
    stage.settle()
    assert {pod["spec"]["containers"][0]["image"] for pod in stage.pods()} == {"nginx:2"}


def test_scaling_down_deletes_pods_that_serve_nobody_first(stage: Stage) -> None:
    stage.put(DEPLOYMENTS, deployment(3))
    stage.settle()
    kept, *_ = stage.pods()
    stage.make_ready(kept)
    stage.put(DEPLOYMENTS, merged(next(iter(stage.caches[DEPLOYMENTS])), {"spec": {"replicas": 1}}))
    stage.settle()
    assert [pod["metadata"]["name"] for pod in stage.pods()] == [kept["metadata"]["name"]]
    assert any(event.startswith("Scaled down replica set web-") for event in stage.events)


def test_a_pod_without_owner_is_adopted_instead_of_a_new_one_created(stage: Stage) -> None:
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": []}}
    replicaset = {"spec": {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": template}}
    stage.put(REPLICASETS, {"metadata": {"name": "web"}} | replicaset)
    stage.put(PODS, {"metadata": {"name": "stray", "labels": {"app": "web"}}, "spec": {"containers": []}})
    stage.settle()
    assert [pod["metadata"]["name"] for pod in stage.pods()] == ["stray"]
    assert stage.pods()[0]["metadata"]["ownerReferences"][0]["name"] == "web"
