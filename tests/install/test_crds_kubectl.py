"""The definitions on a real API server, asked by the newest kubectl and by an old one."""

import json
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.cluster.apiserver.servers import NEWEST, OLD, Kubectl, make_home

from weft.cluster.apiserver.serving import serve
from weft.cluster.apiserver.world import World
from weft.install.crds import crds

RULES = """
apiVersion: networking.istio.io/v1beta1
kind: VirtualService
metadata: {name: canary}
spec:
  hosts: [canary]
  http:
    - match: [{headers: {user: {exact: zhongmingmao}}}]
      route: [{destination: {host: canary, subset: v2}}]
      retries: {attempts: 3, perTryTimeout: 2s}
    - route: [{destination: {host: canary, subset: v1}}]
      fault: {abort: {httpStatus: 500, percentage: {value: 80}}}
---
apiVersion: networking.istio.io/v1alpha3
kind: DestinationRule
metadata: {name: canary}
spec: {host: canary, trafficPolicy: {loadBalancer: {simple: RANDOM}}, subsets: [{name: v1, labels: {version: v1}}]}
"""


@pytest.fixture(params=[NEWEST, OLD], ids=["newest", "1.20"])
async def kubectl(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Kubectl]:
    home = make_home(tmp_path)
    async with serve(home.settings, World(lambda: datetime.now(UTC), random.SystemRandom())):
        made = Kubectl(home, request.param)
        await made("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": crds()}))
        await made("wait", "--for=condition=Established", "crd", "--all", "--timeout=10s")
        # renews the list of resources that kubectl keeps
        await made("api-resources")
        yield made


async def test_the_walkthroughs_rules_are_applied_listed_and_read_in_every_version(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=RULES)
    lines = [line.split() for line in (await kubectl("get", "vs,dr", "--no-headers")).out.splitlines() if line]
    assert [line[:2] for line in lines] == [
        ["virtualservice.networking.istio.io/canary", '["canary"]'],
        ["destinationrule.networking.istio.io/canary", "canary"],
    ]
    gathered = (await kubectl("get", "istio-io", "-o", "name")).out.split()
    assert sorted(gathered) == sorted(line[0] for line in lines)
    for version in ("v1", "v1beta1", "v1alpha3"):
        # a short name would be read as the newest version's
        resource = f"virtualservices.{version}.networking.istio.io"
        read = json.loads((await kubectl("get", resource, "canary", "-o", "json")).out)
        assert read["apiVersion"] == f"networking.istio.io/{version}"
        assert read["spec"]["http"][0]["retries"] == {"attempts": 3, "perTryTimeout": "2s"}


async def test_kubectl_names_the_field_that_is_wrong(kubectl: Kubectl) -> None:
    unknown = await kubectl("apply", "-f", "-", stdin=RULES.replace("retries:", "retrys:"), ok=False)
    assert (unknown.code, "retrys" in unknown.err) == (1, True)
    mistyped = await kubectl("apply", "-f", "-", stdin=RULES.replace("Status: 500", "Status: many"), ok=False)
    assert (mistyped.code, "spec.http[1].fault.abort.httpStatus" in mistyped.err) == (1, True)
    chosen = await kubectl("apply", "-f", "-", stdin=RULES.replace("RANDOM", "RANDUM"), ok=False)
    assert (chosen.code, "spec.trafficPolicy.loadBalancer.simple" in chosen.err) == (1, True)


async def test_kubectl_explains_a_field(kubectl: Kubectl) -> None:
    said = (await kubectl("explain", "vs.spec.http.retries")).out
    assert "attempts" in said
    assert "Further tries after the first; 0 means none." in said
