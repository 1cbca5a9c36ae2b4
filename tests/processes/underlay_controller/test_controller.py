"""The controller beside a real API server: networks, ranges, checks and finalizers, by kubectl."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from tests.processes.underlay.ipam_node import running
from tests.processes.underlay_controller.installed import Installed, get, installed, until

from weft.adapters import clock
from weft.adapters.kube.client import ApiError
from weft.adapters.kube.kinds import (
    CONFIGMAPS,
    EVENTS,
    NETWORKATTACHMENTS,
    NODES,
    PODS,
    SECRETS,
    SPIDERCOORDINATORS,
    SPIDERIPPOOLS,
    SPIDERMULTUSCONFIGS,
    SPIDERSUBNETS,
    VALIDATINGWEBHOOKS,
)
from weft.processes.cni.health import Health
from weft.processes.underlay_controller.certificates import Certificates

Json = dict[str, Any]
pytestmark = pytest.mark.asyncio(loop_scope="module")

POOL = """
apiVersion: spiderpool.spidernet.io/v2beta1
kind: SpiderIPPool
metadata:
  name: 10-6-v4
spec:
  disable: false
  gateway: 10.6.0.1
  ips:
  - 10.6.212.200-10.6.212.240
  subnet: 10.6.0.0/16
"""
NETWORK = """
apiVersion: spiderpool.spidernet.io/v2beta1
kind: SpiderMultusConfig
metadata:
  name: macvlan-ens192
spec:
  cniType: macvlan
  macvlan:
    master:
    - ens192
    ippools:
      ipv4:
      - 10-6-v4
    vlanID: 0
"""
CONFIG = (
    '{"cniVersion":"0.3.1","name":"macvlan-ens192","plugins":[{"type":"macvlan","master":"ens192","mode":"bridge",'
    '"mtu":0,"ipam":{"type":"spiderpool","default_ipv4_ippool":["10-6-v4"]}},{"type":"coordinator"}]}'
)
COORDINATOR = """
apiVersion: spiderpool.spidernet.io/v2beta1
kind: SpiderCoordinator
metadata:
  finalizers:
  - spiderpool.spidernet.io
  name: default
spec:
  detectGateway: false
  detectIPConflict: false
  hijackCIDR:
  - 169.254.0.0/16
  hostRPFilter: 0
  hostRuleTable: 500
  mode: auto
  podCIDRType: cilium
  podDefaultRouteNIC: ""
  podMACPrefix: ""
  tunePodRoutes: true
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Installed]:
    async with installed(
        tmp_path_factory.mktemp("cluster"), "--spiderpool-enable-validating-resources-deleted-webhook", "true"
    ) as made:
        yield made


async def test_a_pool_is_completed_counted_and_kept_while_pods_have_its_addresses(cluster: Installed) -> None:
    applied = await cluster.kubectl("apply", "-f", "-", stdin=POOL)
    assert (applied.out.strip(), applied.err) == ("spiderippool.spiderpool.spidernet.io/10-6-v4 created", "")
    again = await cluster.kubectl("apply", "-f", "-", stdin=POOL)
    assert again.out.strip().endswith("unchanged")

    async def counted() -> Json | None:
        found = await cluster.kube.get(SPIDERIPPOOLS, "10-6-v4")
        return found if (found.get("status") or {}).get("totalIPCount") == 41 else None

    pool = await until(counted)
    assert (pool["spec"]["ipVersion"], pool["metadata"]["finalizers"]) == (4, ["spiderpool.spidernet.io"])
    shown = [line.split() for line in (await cluster.kubectl("get", "sp")).out.splitlines()]
    assert [line[:6] for line in shown] == [
        ["NAME", "VERSION", "SUBNET", "ALLOCATED-IP-COUNT", "TOTAL-IP-COUNT", "DEFAULT"],
        ["10-6-v4", "4", "10.6.0.0/16", "0", "41", "false"],
    ]
    refused = await cluster.kubectl("apply", "-f", "-", stdin=POOL.replace("10-6-v4", "twin"), ok=False)
    assert "10.6.212.200-10.6.212.240 are addresses of SpiderIPPool 10-6-v4 too." in refused.err
    taken = {"allocatedIPs": '{"10.6.212.200":{"pod":"shop/web","podUid":"u"}}', "allocatedIPCount": 1}
    await cluster.kube.patch(SPIDERIPPOOLS, "10-6-v4", {"status": taken}, subresource="status")
    refused = await cluster.kubectl("delete", "sp", "10-6-v4", ok=False)
    assert "1 of its addresses are in use, by shop/web." in refused.err
    without = POOL.replace("212.200-", "212.201-")
    refused = await cluster.kubectl("apply", "-f", "-", stdin=without, ok=False)
    assert "spec.ips: 10.6.212.200 is taken out although pod shop/web has it." in refused.err
    free = {"allocatedIPs": None, "allocatedIPCount": 0}
    await cluster.kube.patch(SPIDERIPPOOLS, "10-6-v4", {"status": free}, subresource="status")
    await cluster.kubectl("delete", "sp", "10-6-v4", "--timeout=30s")
    # the addresses are free again
    await cluster.kubectl("apply", "-f", "-", stdin=POOL.replace("10-6-v4", "twin"))
    await cluster.kubectl("delete", "sp", "twin", "--timeout=30s")


async def test_a_network_is_made_made_again_mended_and_goes_with_its_owner(cluster: Installed) -> None:
    await cluster.kubectl("apply", "-f", "-", stdin=NETWORK)

    async def attachment() -> Json | None:
        found = await get(cluster.kube, NETWORKATTACHMENTS, "macvlan-ens192", "default")
        return found if found and found["spec"]["config"] == CONFIG else None

    made = await until(attachment)
    owner = await cluster.kube.get(SPIDERMULTUSCONFIGS, "macvlan-ens192", "default")
    (reference,) = made["metadata"]["ownerReferences"]
    assert reference == {
        "apiVersion": "spiderpool.spidernet.io/v2beta1",
        "blockOwnerDeletion": True,
        "controller": True,
        "kind": "SpiderMultusConfig",
        "name": "macvlan-ens192",
        "uid": owner["metadata"]["uid"],
    }
    await cluster.kubectl("delete", "net-attach-def", "macvlan-ens192")
    remade = await until(attachment)
    assert remade["metadata"]["uid"] != made["metadata"]["uid"]
    edited = {"metadata": {"labels": {"mine": "yes"}}, "spec": {"config": "{}"}}
    await cluster.kube.patch(NETWORKATTACHMENTS, "macvlan-ens192", edited, "default")
    assert (await until(attachment))["metadata"]["labels"] == {"mine": "yes"}
    await cluster.kubectl("delete", "smc", "macvlan-ens192")

    async def gone() -> bool:
        return await get(cluster.kube, NETWORKATTACHMENTS, "macvlan-ens192", "default") is None

    await until(gone)


async def test_an_attachment_of_somebody_else_stays_and_the_event_says_so(cluster: Installed) -> None:
    theirs = {"metadata": {"name": "theirs", "namespace": "default"}, "spec": {"config": '{"type":"bridge"}'}}
    await cluster.kube.create(NETWORKATTACHMENTS, theirs)
    applied = await cluster.kubectl("apply", "-f", "-", stdin=NETWORK.replace("macvlan-ens192", "theirs"))
    assert 'NetworkAttachmentDefinition "theirs" is there already and not made of this.' in applied.err

    async def told() -> list[Json]:
        events = await cluster.kube.list(EVENTS, "default", fields="involvedObject.name=theirs")
        return [each for each in events if each["reason"] == "NetworkTaken"]

    (event,) = await until(told)
    assert event["involvedObject"]["kind"] == "SpiderMultusConfig"
    found = await cluster.kube.get(NETWORKATTACHMENTS, "theirs", "default")
    assert (found["spec"], found["metadata"].get("ownerReferences")) == (theirs["spec"], None)
    await cluster.kube.delete(NETWORKATTACHMENTS, "theirs", "default")

    async def ours() -> Json | None:
        return await get(cluster.kube, NETWORKATTACHMENTS, "theirs", "default")

    assert (await until(ours))["metadata"]["ownerReferences"]


async def test_a_coordinator_is_not_ready_until_its_ranges_are_known_and_follows_them(cluster: Installed) -> None:
    applied = await cluster.kubectl("apply", "-f", "-", stdin=COORDINATOR)
    assert applied.err.count("is of an older release and has no effect.") == 3

    async def status(phase: str) -> Json | None:
        found: Json = (await cluster.kube.get(SPIDERCOORDINATORS, "default")).get("status") or {}
        return found if found.get("phase") == phase else None

    waiting = await until(lambda: status("NotReady"))
    assert waiting["reason"].startswith("podCIDRType cilium: there is no ConfigMap cilium-config.")
    data = {
        "ipam": "cluster-pool",
        "cluster-pool-ipv4-cidr": "10.244.64.0/18",
        "cluster-pool-ipv4-mask-size": "24",
    }
    cilium = {"metadata": {"name": "cilium-config", "namespace": "kube-system"}, "data": data}
    await cluster.kube.create(CONFIGMAPS, cilium)
    assert await until(lambda: status("Synced")) == {
        "phase": "Synced",
        "overlayPodCIDR": ["10.244.64.0/18"],
        "serviceCIDR": ["10.96.0.0/12"],
    }
    data["cluster-pool-ipv4-cidr"] = "10.245.0.0/16"
    await cluster.kube.patch(CONFIGMAPS, "cilium-config", {"data": data}, "kube-system")

    async def moved() -> bool:
        return (await status("Synced") or {}).get("overlayPodCIDR") == ["10.245.0.0/16"]

    await until(moved)
    patch = json.dumps({"spec": {"vethLinkAddress": "169.254.100.1"}})
    await cluster.kubectl("patch", "spidercoordinators", "default", "--type=merge", "-p", patch)
    refused = await cluster.kubectl(
        "patch", "scc", "default", "--type=merge", "-p", '{"spec":{"podMACPrefix":"0b:1b"}}', ok=False
    )
    assert "The first byte must be even: 0a:1b." in refused.err
    await cluster.kubectl("delete", "scc", "default", "--timeout=30s")


SUBNET = """
apiVersion: spiderpool.spidernet.io/v2beta1
kind: SpiderSubnet
metadata: {name: subnet-7}
spec: {subnet: 10.7.0.0/16, ips: [10.7.1.10-10.7.1.19], gateway: 10.7.0.1}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db, namespace: default}
spec:
  replicas: 2
  serviceName: db
  selector: {matchLabels: {app: db}}
  template:
    metadata:
      labels: {app: db}
      annotations: {ipam.spidernet.io/subnet: '{"ipv4":["subnet-7"]}', ipam.spidernet.io/ippool-ip-number: "+2"}
    spec: {containers: [{name: db, image: db}]}
"""


async def test_an_application_gets_a_pool_of_the_subnet_it_names_and_gives_it_back(cluster: Installed) -> None:
    await cluster.kubectl("apply", "-f", "-", stdin=SUBNET)

    async def pool(ips: list[str]) -> Json | None:
        found = [
            each for each in await cluster.kube.list(SPIDERIPPOOLS) if each["spec"]["subnet"] == "10.7.0.0/16"
        ]
        return next((each for each in found if each["spec"]["ips"] == ips), None)

    made = await until(lambda: pool(["10.7.1.10-10.7.1.13"]))
    assert made["metadata"]["name"].startswith("auto4-db-eth0-")

    async def account() -> Json | None:
        found: Json = (await cluster.kube.get(SPIDERSUBNETS, "subnet-7")).get("status") or {}
        return found if found.get("controlledIPPools") else None

    told = await until(account)
    assert json.loads(told["controlledIPPools"]) == {
        made["metadata"]["name"]: {"ips": ["10.7.1.10-10.7.1.13"], "application": "apps/v1:StatefulSet:default:db"}
    }
    assert (told["totalIPCount"], told["allocatedIPCount"]) == (10, 4)
    refused = await cluster.kubectl("delete", "ss", "subnet-7", ok=False)
    assert f"SpiderIPPool {made['metadata']['name']} is made of it." in refused.err
    await cluster.kube.create(NODES, {"metadata": {"name": "n1"}})
    pod = await until(lambda: get(cluster.kube, PODS, "db-0", "default"))
    async with running(cluster.kube, cluster.kubectl.home.path / "kubeconfig", "n1") as node:
        result = await node.add(pod, "eth0")
    assert [each["address"] for each in result["ips"]] == ["10.7.1.10/16"]
    await cluster.kubectl("scale", "statefulset", "db", "--replicas=1")
    await until(lambda: pool(["10.7.1.10-10.7.1.12"]))
    await cluster.kubectl("delete", "statefulset", "db")

    async def gone() -> bool:
        return not [
            each for each in await cluster.kube.list(SPIDERIPPOOLS) if each["spec"]["subnet"] == "10.7.0.0/16"
        ]

    await until(gone)

    async def nothing_made_of_it() -> bool:
        return not await account()

    await until(nothing_made_of_it)
    await cluster.kubectl("delete", "ss", "subnet-7", "--timeout=30s")


async def test_a_pod_gets_the_networks_that_carry_its_word(cluster: Installed) -> None:
    word = {"cni.spidernet.io/network-resource-inject": "storage"}
    spec = {"cniType": "macvlan", "macvlan": {"master": ["ens256"]}}
    meta = {"name": "storage", "namespace": "default", "annotations": word}
    await cluster.kube.create(SPIDERMULTUSCONFIGS, {"metadata": meta, "spec": spec})

    def pod(name: str, annotations: Json) -> Json:
        metadata = {"name": name, "namespace": "default", "annotations": annotations}
        return {"metadata": metadata, "spec": {"containers": [{"name": "app", "image": "app"}]}}

    async def made() -> Json | None:
        try:
            return await cluster.kube.create(PODS, pod("asking", word))
        except ApiError as error:
            if "no SpiderMultusConfig has the annotation" not in error.message:
                raise
            return None  # the controller has not heard of the network yet

    asking = await until(made)
    assert asking["metadata"]["annotations"]["k8s.v1.cni.cncf.io/networks"] == "default/storage"
    plain = await cluster.kube.create(PODS, pod("plain", {}))
    assert not plain["metadata"].get("annotations")


async def test_replicas_share_a_certificate_and_a_damaged_one_is_made_anew(cluster: Installed) -> None:
    async def secret() -> Json:
        return await cluster.kube.get(SECRETS, "spiderpool-controller-server-certs", "kube-system")

    first = await secret()
    (webhook, *_) = (await cluster.kube.get(VALIDATINGWEBHOOKS, "spiderpool-controller"))["webhooks"]
    assert webhook["clientConfig"]["caBundle"] == first["data"]["ca.crt"]
    replica = Certificates(cluster.kube, "kube-system", clock.now, Health().expect("webhooks"))
    await replica.load()
    assert await secret() == first
    await cluster.kube.patch(SECRETS, first["metadata"]["name"], {"data": {"tls.crt": "eA=="}}, "kube-system")
    await replica.load()
    second = await secret()
    assert second["data"]["ca.crt"] != first["data"]["ca.crt"]
    await replica.load()
    assert await secret() == second
