import json
from collections.abc import AsyncIterator
from typing import Any, cast

from tests.processes.agent.conftest import Pod
from tests.processes.agent.istiod import Istiod, eventually

from weft.adapters.istiod import Istiod as Link
from weft.inject.node import Node
from weft.processes.agent import bootstrap_changes

ADDED = {
    "name": "added",
    "type": "STATIC",
    "connect_timeout": "1s",
    "load_assignment": {"cluster_name": "added"},
}


async def test_envoy_starts_with_its_bootstrap_as_envoy_filters_change_it(pod: Pod, istiod: Istiod) -> None:
    istiod.bootstrap_changes = [
        {"static_resources": {"clusters": [ADDED]}},
        {"stats_flush_interval": "7s"},
        {"stats_flush_interval": "11s"},
    ]
    pod.start(istiod.address)
    await eventually(pod.ready)
    written = json.loads((pod.home / "proxy" / "envoy-rev.json").read_text())
    # the last one wins, and lists are appended to
    assert written["stats_flush_interval"] == "11s"
    names = [each["name"] for each in written["static_resources"]["clusters"]]
    assert names == ["prometheus_stats", "agent", "sds-grpc", "xds-grpc", "added"]
    assert "added::" in (await pod.get("admin", "/clusters")).body.decode()


async def test_envoy_starts_without_changes_that_it_refuses(pod: Pod, istiod: Istiod) -> None:
    istiod.bootstrap_changes = [{"static_resources": {"clusters": [{**ADDED, "name": ""}]}}]
    pod.start(istiod.address)
    await eventually(pod.ready)
    assert "Envoy refuses its bootstrap as EnvoyFilters change it" in pod.log
    written = json.loads((pod.home / "proxy" / "envoy-rev.json").read_text())
    assert len(written["static_resources"]["clusters"]) == 4


class Silent:
    """A control plane that takes the question and says nothing."""

    async def stream(self, _method: str, requests: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for each in requests:
            assert each
        yield b""


async def test_envoy_does_not_wait_for_ever_for_changes_of_its_bootstrap(caplog: Any) -> None:
    node = Node("sidecar~10.0.0.1~a.b~b.svc.cluster.local", "a.b", {})
    assert await bootstrap_changes.ask(cast("Link", Silent()), node, patience=0.05) == ()
    assert "Envoy starts without" in caplog.text
