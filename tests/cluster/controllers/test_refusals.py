"""What people read when the real API server refuses what a controller creates."""

import asyncio

from tests.cluster.apiserver.conftest import home, kube, server
from tests.cluster.controllers.stage import template
from tests.cluster.controllers.test_emptying import controlled

from weft.adapters.kube.client import Json, Kube
from weft.adapters.kube.kinds import DEPLOYMENTS, EVENTS, STATEFULSETS, Kind
from weft.cluster.controllers.objects import condition

__all__ = ["controlled", "home", "kube", "server"]  # fixtures
MISSING = 'is forbidden: error looking up service account default/nope: serviceaccount "nope" not found'


def workload(name: str, **spec: object) -> Json:
    pods = {"selector": {"matchLabels": {"app": "web"}}, "template": template(serviceAccountName="nope")}
    return {"metadata": {"name": name, "namespace": "default"}, "spec": pods | spec}


async def failed(kube: Kube, kind: Kind, count: int) -> list[Json]:
    """The FailedCreate events of that kind, once there are so many or one was counted so often."""
    async with asyncio.timeout(30):
        while True:
            events = await kube.list(
                EVENTS, "default", fields=f"involvedObject.kind={kind.kind},reason=FailedCreate"
            )
            if sum(event["count"] for event in events) >= count:
                return events
            await asyncio.sleep(0.05)


async def test_a_pod_that_is_refused_again_and_again_is_one_event_of_its_stateful_set(controlled: Kube) -> None:
    await controlled.create(STATEFULSETS, workload("db", replicas=2, serviceName="db"))
    (event,) = await failed(controlled, STATEFULSETS, 3)
    assert event["message"] == f'create Pod db-0 in StatefulSet db failed error: pods "db-0" {MISSING}'
    assert (event["type"], event["source"]["component"]) == ("Warning", "statefulset-controller")
    assert event["firstTimestamp"] <= event["lastTimestamp"]


async def test_the_reason_reaches_the_deployment(controlled: Kube) -> None:
    await controlled.create(DEPLOYMENTS, workload("web", replicas=3))
    async with asyncio.timeout(30):
        while not (held := condition(await controlled.get(DEPLOYMENTS, "web", "default"), "ReplicaFailure")):
            await asyncio.sleep(0.05)
    assert (held["status"], held["reason"]) == ("True", "FailedCreate")
    assert held["message"].endswith(MISSING)
