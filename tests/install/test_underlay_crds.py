from typing import Any

import msgspec
import pytest
import yaml
from kubernetes_validate.utils import validate

from weft.adapters.kube.kinds import kind_of
from weft.api.network_attachment import NetworkAttachmentDefinition
from weft.api.spider_coordinator import SpiderCoordinator
from weft.api.spider_endpoint import SpiderEndpoint
from weft.api.spider_ippool import SpiderIPPool
from weft.api.spider_multus_config import SpiderMultusConfig
from weft.api.spider_reserved_ip import SpiderReservedIP
from weft.api.spider_subnet import SpiderSubnet
from weft.api.underlay_shape import Object
from weft.cluster.apiserver.structural import check, fill, prune
from weft.install.underlay_crds import underlay_crds

Json = dict[str, Any]
SHAPES: dict[str, type[Object]] = {
    each.__name__: each
    for each in (
        NetworkAttachmentDefinition,
        SpiderCoordinator,
        SpiderEndpoint,
        SpiderIPPool,
        SpiderMultusConfig,
        SpiderReservedIP,
        SpiderSubnet,
    )
}
# as users of Spiderpool write them, fields of older releases among them
WRITTEN = """
apiVersion: spiderpool.spidernet.io/v2beta1
kind: SpiderIPPool
metadata: {name: 10-6-v4}
spec: {disable: false, gateway: 10.6.0.1, ips: [10.6.212.200-10.6.212.240], subnet: 10.6.0.0/16, vlan: 0}
---
apiVersion: spiderpool.spidernet.io/v2beta1
kind: SpiderMultusConfig
metadata: {name: macvlan-ens192}
spec: {cniType: macvlan, macvlan: {master: [ens192], ippools: {ipv4: [10-6-v4]}, vlanID: 0}}
---
apiVersion: spiderpool.spidernet.io/v2beta1
kind: SpiderMultusConfig
metadata: {annotations: {}, name: of-an-older-release, namespace: default}
spec:
  cniType: macvlan
  coordinator: {podCIDRType: cluster, tuneMode: overlay}
  enableCoordinator: true
  macvlan: {master: [ens192], spiderpoolConfigPools: {IPv4IPPool: [10-6-v4]}, vlanID: 0}
---
apiVersion: spiderpool.spidernet.io/v2beta1
kind: SpiderMultusConfig
metadata: {name: macvlan-conf, namespace: kube-system}
spec: {cniType: macvlan, macvlan: {master: [eth0]}, coordinator: {vethLinkAddress: 169.254.100.1}}
---
apiVersion: spiderpool.spidernet.io/v2beta1
kind: SpiderCoordinator
metadata: {finalizers: [spiderpool.spidernet.io], name: default}
spec:
  detectGateway: false
  detectIPConflict: false
  hijackCIDR: [169.254.0.0/16]
  podRPFilter: 0
  hostRPFilter: 0
  hostRuleTable: 500
  mode: auto
  podCIDRType: calico
  podDefaultRouteNIC: ""
  vethLinkAddress: 169.254.100.1
  podMACPrefix: ""
  tunePodRoutes: true
status: {overlayPodCIDR: [10.222.64.0/18, 10.223.64.0/18], phase: Synced, serviceCIDR: [10.233.0.0/18]}
---
apiVersion: spiderpool.spidernet.io/v2beta1
kind: SpiderEndpoint
metadata: {name: nginx-1, namespace: default}
status:
  current:
    uid: e8c9
    node: worker01
    ips:
      - {interface: net1, ipv4: 10.6.212.202/16, ipv4Pool: 10-6-v4, routes: [{dst: 10.7.0.0/16, gw: 10.6.0.1}]}
  ownerControllerType: Deployment
  ownerControllerName: nginx
---
apiVersion: spiderpool.spidernet.io/v2beta1
kind: SpiderSubnet
metadata: {name: subnet-6}
spec: {ipVersion: 4, subnet: 10.6.0.0/16, ips: [10.6.1.0/24], excludeIPs: [10.6.1.1], gateway: 10.6.0.1}
---
apiVersion: spiderpool.spidernet.io/v2beta1
kind: SpiderReservedIP
metadata: {name: printers}
spec: {ips: [10.6.212.210]}
---
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: istio-cni}
"""


def schema(kind: str) -> Json:
    spec = next(each["spec"] for each in underlay_crds() if each["spec"]["names"]["kind"] == kind)
    found: Json = spec["versions"][0]["schema"]["openAPIV3Schema"]
    return found


@pytest.mark.parametrize("made", underlay_crds(), ids=lambda each: each["spec"]["names"]["kind"])
def test_kubernetes_takes_each_definition(made: Json) -> None:
    validate(made, "1.36", strict=True)
    spec = made["spec"]
    known = kind_of(
        {"apiVersion": f"{spec['group']}/{spec['versions'][0]['name']}", "kind": spec["names"]["kind"]}
    )
    assert (known.plural, known.namespaced) == (spec["names"]["plural"], spec["scope"] == "Namespaced")


@pytest.mark.parametrize("obj", [*yaml.safe_load_all(WRITTEN)], ids=lambda each: str(each["metadata"]["name"]))
def test_what_users_write_has_no_unknown_field_and_is_read_as_written(obj: Json) -> None:
    kind = obj["kind"]
    kept, unknown = prune(obj, schema(kind))
    assert (unknown, check(kept, schema(kind))) == ([], [])
    read = msgspec.to_builtins(msgspec.convert(obj, SHAPES[kind]))
    for part in ("spec", "status"):
        again = {key: value for key, value in read.get(part, {}).items() if value is not None}
        assert obj.get(part, {}).keys() <= again.keys(), part


def test_defaults_are_those_of_the_cluster_and_never_those_of_one_network() -> None:
    coordinator: Json = {"spec": {"podCIDRType": "auto"}}
    fill(coordinator, schema("SpiderCoordinator"))
    assert coordinator["spec"] == {
        "podCIDRType": "auto",
        "mode": "auto",
        "tunePodRoutes": True,
        "hostRuleTable": 500,
        "podRPFilter": 0,
        "txQueueLen": 0,
        "vethMTU": 1500,
    }
    network: Json = {"spec": {"cniType": "macvlan", "macvlan": {"master": ["ens192"]}, "coordinator": {}}}
    fill(network, schema("SpiderMultusConfig"))
    assert network["spec"]["coordinator"] == {}
    assert (network["spec"]["enableCoordinator"], network["spec"]["disableIPAM"]) == (True, False)


def test_names_are_those_people_type() -> None:
    names = {each["spec"]["names"]["kind"]: each["spec"]["names"] for each in underlay_crds()}
    assert {kind: each["shortNames"] for kind, each in names.items()} == {
        "NetworkAttachmentDefinition": ["net-attach-def"],
        "SpiderCoordinator": ["scc"],
        "SpiderEndpoint": ["se"],
        "SpiderIPPool": ["sp"],
        "SpiderMultusConfig": ["smc"],
        "SpiderReservedIP": ["sr"],
        "SpiderSubnet": ["ss"],
    }
    assert names["NetworkAttachmentDefinition"]["plural"] == "network-attachment-definitions"
