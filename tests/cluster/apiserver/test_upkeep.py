"""What the server does by itself."""

from datetime import UTC, datetime, timedelta
from typing import Any

from tests.cluster.apiserver.servers import Kubectl

from weft.adapters.kube.client import Kube
from weft.adapters.kube.kinds import EVENTS
from weft.cluster.apiserver import upkeep
from weft.cluster.apiserver.rest.server import Server
from weft.cluster.apiserver.world import stamp


def event(name: str, **fields: Any) -> dict[str, Any]:
    about = {"kind": "Pod", "name": "p", "namespace": "default"}
    return {"metadata": {"name": name, "namespace": "default"}, "involvedObject": about, **fields}


async def test_events_are_forgotten_an_hour_after_they_were_last_seen(server: Server, kube: Kube) -> None:
    now = datetime.now(UTC)
    await kube.create(EVENTS, event("old", lastTimestamp=stamp(now - timedelta(minutes=61))))
    await kube.create(EVENTS, event("new", lastTimestamp=stamp(now - timedelta(minutes=59))))
    await kube.create(EVENTS, event("odd", lastTimestamp="yesterday"))
    await upkeep.forget_events(server.cluster, server.resources.deleting)
    assert [item["metadata"]["name"] for item in await kube.list(EVENTS, "default")] == ["new", "odd"]


async def test_an_event_is_one_object_under_both_its_groups(kube: Kube, kubectl: Kubectl) -> None:
    await kube.create(EVENTS, event("e", message="hello", type="Normal"))
    note = await kubectl("get", "events.v1.events.k8s.io", "e", "-o", "jsonpath={.note} {.regarding.name}")
    assert note.out == "hello p"
