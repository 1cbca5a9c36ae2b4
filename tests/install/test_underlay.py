"""What an operator chooses of the underlay networks, and the objects that come of it."""

import json
from typing import Any

import kubernetes_validate as _kubernetes_validate
import pytest

from weft.install.underlay import HostPaths, Settings, first_objects, manifests
from weft.install.underlay_values import BadValueError, defaults, names, read
from weft.processes.cni import flags
from weft.processes.underlay import settings as agent
from weft.processes.underlay_controller import settings as controller

Json = dict[str, Any]
kubernetes_validate: Any = _kubernetes_validate  # it has no types
OBJECTS = manifests(Settings())


def one(kind: str, name: str, objects: list[Json] = OBJECTS) -> Json:
    (found,) = [obj for obj in objects if obj["kind"] == kind and obj["metadata"]["name"] == name]
    return found


@pytest.mark.parametrize("obj", OBJECTS, ids=lambda obj: f"{obj['kind']}-{obj['metadata']['name']}")
def test_every_object_is_one_that_kubernetes_takes(obj: Json) -> None:
    kubernetes_validate.validate(obj, "1.34", strict=True)


@pytest.mark.parametrize(
    ("written", "spec"),
    [
        ([], {"mode": "auto", "podCIDRType": "auto", "tunePodRoutes": True, "hijackCIDR": ["169.254.0.0/16"]}),
        (["coordinator.mode=overlay"], {"mode": "overlay"}),
        (["coordinator.vethLinkAddress=169.254.100.1"], {"vethLinkAddress": "169.254.100.1"}),
        (["coordinator.hijackCIDR={10.1.0.0/16, 10.2.0.0/16},coordinator.tunePodRoutes=false"],
         {"hijackCIDR": ["10.1.0.0/16", "10.2.0.0/16"], "tunePodRoutes": False}),
        (["coordinator.mode=overlay", "coordinator.mode=underlay"], {"mode": "underlay"}),
        (["coordinator.hostRuleTable=0500"], None),
    ],
)  # fmt: skip
def test_helms_values_become_the_coordinator(written: list[str], spec: Json | None) -> None:
    if spec is None:
        with pytest.raises(BadValueError, match=r"coordinator.hostRuleTable: Expected"):
            read(written)
        return
    [coordinator] = first_objects(read(written))
    assert coordinator["metadata"]["name"] == "default"
    assert coordinator["spec"] | spec == coordinator["spec"]


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("coordinator.vethLinkAdress=1", "there is no such value. There are: coordinator.vethLinkAddress"),
        ("x", "has no value"),
        ("coordinator.mode=both", "coordinator.mode: Invalid enum value 'both'"),
        ("ipam.enableIPv6=maybe", "ipam.enableIPv6: Expected `bool`"),
        ("coordinator=1", "there is no such value"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_what_there_is(written: str, said: str) -> None:
    with pytest.raises(BadValueError) as caught:
        read([written])
    assert said in str(caught.value)


def test_every_value_has_a_name_and_a_default() -> None:
    assert defaults()["ipam.gc.gcAll.intervalInSecond"] == 600
    assert defaults()["multus.multusCNI.defaultCniCRName"] == ""
    assert set(defaults()) == set(names())


def test_a_default_pool_is_made_where_it_was_asked_for() -> None:
    values = read(
        [
            "clusterDefaultPool.installIPv4IPPool=true,clusterDefaultPool.ipv4Subnet=10.6.0.0/16",
            "clusterDefaultPool.ipv4IPRanges={10.6.1.2-10.6.1.9,10.6.2.1}",
        ]
    )
    _, pool = first_objects(values)
    assert pool["metadata"]["name"] == "default-v4-ippool"
    assert pool["spec"] == {
        "ipVersion": 4, "subnet": "10.6.0.0/16", "ips": ["10.6.1.2-10.6.1.9", "10.6.2.1"], "default": True
    }  # fmt: skip


def test_the_first_objects_are_told_by_a_config_map_of_their_own() -> None:
    chosen = manifests(Settings(values=read(["coordinator.mode=overlay"])))
    told = json.loads(one("ConfigMap", "spiderpool-init", chosen)["data"]["SPIDERPOOL_INIT_OBJECTS"])
    assert told[0]["spec"]["mode"] == "overlay"
    # the processes need no restart for it, and a pod cannot be changed
    for kind, name in (("Pod", "spiderpool-init"), ("DaemonSet", "spiderpool-agent")):
        assert one(kind, name) == one(kind, name, chosen)


def test_nodes_of_one_machine_have_folders_of_their_own() -> None:
    paths = HostPaths(
        "/home/nodes/$(NODE_NAME)/cni/net.d", "/home/nodes/$(NODE_NAME)/cni/bin", "/run/$(NODE_NAME)"
    )
    pod = one("DaemonSet", "spiderpool-agent", manifests(Settings(paths=paths)))["spec"]["template"]["spec"]
    names = [each["name"] for each in pod["containers"][0]["env"]]
    told = {each["name"]: each.get("value") for each in pod["containers"][0]["env"]}
    assert (told["CNI_NET_DIR"], told["CNI_BIN_DIR"], told["SPIDERPOOL_RUN_DIR"]) == (
        paths.net_dir, paths.bin_dir, paths.run_dir
    )  # fmt: skip
    assert names.index("NODE_NAME") < names.index("CNI_NET_DIR")


def test_the_processes_read_all_that_they_are_told() -> None:
    """A variable under another name would change nothing, and nobody would see it."""
    values = read(["multus.multusCNI.defaultCniCRName=calico", "ipam.enableIPv6=false", "ipam.gc.enabled=false"])
    objects = manifests(Settings(values=values, namespace="spiderpool"))
    config = one("ConfigMap", "spiderpool-conf", objects)["data"]
    known = {flags.variable(name) for each in (agent, controller) for name in each.NAMES}
    assert set(config) - known == set()

    def told(kind: str, name: str) -> dict[str, str]:
        (container,) = one(kind, name, objects)["spec"]["template"]["spec"]["containers"]
        fields = {"spec.nodeName": "node-7", "metadata.name": f"{name}-x", "metadata.namespace": "spiderpool"}
        own = {
            each["name"]: each.get("value") or fields[each["valueFrom"]["fieldRef"]["fieldPath"]]
            for each in container["env"]
        }
        assert set(own) - known == set()
        return {"KUBERNETES_SERVICE_HOST": "10.96.0.1", **config, **own}

    node = agent.parse((), told("DaemonSet", "spiderpool-agent"), host="machine")
    assert (node.node, node.pod, node.namespace) == ("node-7", "spiderpool-agent-x", "spiderpool")
    assert (node.multus.default, node.addresses.ipv6, str(node.places.root)) == ("calico", False, "/hostroot")
    central = controller.parse((), told("Deployment", "spiderpool-controller"), host="machine")
    assert (central.pod, central.namespace) == ("spiderpool-controller-x", "spiderpool")
    assert (central.collecting.enabled, central.families.ipv6) == (False, False)


def test_the_controller_has_no_might_on_its_node() -> None:
    (container,) = one("Deployment", "spiderpool-controller")["spec"]["template"]["spec"]["containers"]
    context = container["securityContext"]
    assert (context["runAsNonRoot"], context["readOnlyRootFilesystem"]) == (True, True)
    assert context["capabilities"] == {"drop": ["ALL"]}


def test_services_and_webhooks_lead_to_ports_that_are_open() -> None:
    (container,) = one("Deployment", "spiderpool-controller")["spec"]["template"]["spec"]["containers"]
    service = one("Service", "spiderpool-controller")["spec"]
    assert {each["targetPort"] for each in service["ports"]} == {each["name"] for each in container["ports"]}
    for kind in ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"):
        for webhook in one(kind, "spiderpool-controller")["webhooks"]:
            assert webhook["clientConfig"]["service"]["port"] in {each["port"] for each in service["ports"]}
