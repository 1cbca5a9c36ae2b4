import json
from dataclasses import replace
from typing import Any, Literal

import kubernetes_validate as _kubernetes_validate
import pytest

from weft.install.cni import HostPaths, Settings, manifests
from weft.processes.cni import settings as process

Json = dict[str, Any]
kubernetes_validate: Any = _kubernetes_validate  # it has no types
USUAL = Settings()


def one(kind: str, settings: Settings = USUAL) -> Json:
    (found,) = [obj for obj in manifests(settings) if obj["kind"] == kind]
    return found


def told(settings: Settings) -> process.Settings:
    """What the node process makes of the DaemonSet's environment on node-7."""
    (container,) = one("DaemonSet", settings)["spec"]["template"]["spec"]["containers"]
    fields = {"spec.nodeName": "node-7", "metadata.name": "istio-cni-node-x", "metadata.namespace": "istio-system"}
    environment = dict(one("ConfigMap", settings)["data"]) | {"KUBERNETES_SERVICE_HOST": "10.96.0.1"}
    for each in container["env"]:
        given = each.get("value") or fields[each["valueFrom"]["fieldRef"]["fieldPath"]]
        environment[each["name"]] = given.replace("$(NODE_NAME)", environment.get("NODE_NAME", "$(NODE_NAME)"))
    return process.parse((), environment, host="machine")


@pytest.mark.parametrize("obj", manifests(USUAL), ids=lambda obj: obj["kind"])
def test_every_object_is_one_that_kubernetes_takes(obj: Json) -> None:
    kubernetes_validate.validate(obj, "1.34", strict=True)


def test_the_node_process_understands_what_the_daemon_set_tells_it() -> None:
    found = told(USUAL)
    assert (found.node, found.pod, found.namespace) == ("node-7", "istio-cni-node-x", "istio-system")
    assert found.excluded == {"istio-system", "kube-system"}
    assert (found.plugin.chained, found.plugin.own) == (True, False)
    assert (found.repair.repair, found.repair.delete, found.repair.label) == (True, False, False)
    found = told(replace(USUAL, how="own", native=True, repair="label", conf_name="10-calico.conflist"))
    assert (found.plugin.own, found.native, found.plugin.conf_name) == (True, True, "10-calico.conflist")
    assert (found.repair.repair, found.repair.label) == (False, True)


def test_on_a_node_whose_ports_are_taken_it_has_others() -> None:
    elsewhere = replace(USUAL, health_port=18000, monitoring_port=18014)
    (container,) = one("DaemonSet", elsewhere)["spec"]["template"]["spec"]["containers"]
    found = told(elsewhere)
    assert {container[probe]["httpGet"]["port"] for probe in ("readinessProbe", "livenessProbe")} == {found.health}
    assert container["ports"][0]["containerPort"] == found.monitoring == 18014


def test_nodes_of_one_machine_have_folders_of_their_own() -> None:
    paths = HostPaths("/home/nodes/$(NODE_NAME)/cni/net.d", "/home/nodes/$(NODE_NAME)/cni/run")
    found = told(replace(USUAL, paths=paths)).places
    assert found.net_dir == "/home/nodes/node-7/cni/net.d"
    assert found.run_dir == "/home/nodes/node-7/cni/run"
    assert str(found.mounted_run_dir) == "/var/run/istio-cni"


def test_the_container_is_root_without_its_might() -> None:
    pod = one("DaemonSet")["spec"]["template"]["spec"]
    context = pod["containers"][0]["securityContext"]
    assert context["capabilities"] == {
        "drop": ["ALL"],
        "add": ["NET_ADMIN", "NET_RAW", "SYS_ADMIN", "SYS_PTRACE", "DAC_OVERRIDE"],
    }
    assert (context["privileged"], context["readOnlyRootFilesystem"]) == (False, True)
    assert "hostPID" not in pod


@pytest.mark.parametrize(
    ("repair", "more"),
    [
        ("repair", set()),
        ("delete", {"delete pods"}),
        ("label", {"patch pods/status"}),
        ("tell", set()),
        ("off", set()),
    ],
)
def test_the_rights_are_those_of_the_chosen_repair(
    repair: Literal["repair", "delete", "label", "tell", "off"], more: set[str]
) -> None:
    rules = one("ClusterRole", replace(USUAL, repair=repair))["rules"]
    assert {
        f"{verb} {resource}" for rule in rules for resource in rule["resources"] for verb in rule["verbs"]
    } == {
        *("get namespaces", "get pods", "list pods", "watch pods", "get events", "create events", "patch events"),
        *more,
    }


def test_other_settings_are_other_pods() -> None:
    def checksum(settings: Settings) -> str:
        template = one("DaemonSet", settings)["spec"]["template"]
        return str(template["metadata"]["annotations"]["checksum/config"])

    assert checksum(USUAL) == checksum(Settings())
    assert checksum(USUAL) != checksum(replace(USUAL, native=True))


def test_multus_gets_the_network_that_pods_name() -> None:
    network = one("NetworkAttachmentDefinition", replace(USUAL, how="multus"))
    assert (network["metadata"]["namespace"], network["metadata"]["name"]) == ("default", "istio-cni")
    assert not told(replace(USUAL, how="multus")).plugin.chained
    assert "NetworkAttachmentDefinition" not in json.dumps(manifests(USUAL))
