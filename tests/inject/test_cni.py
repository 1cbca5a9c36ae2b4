"""Pods whose traffic the CNI plugin captures."""

import json
from dataclasses import replace

import pytest
from tests.inject.pods import SETTINGS, Json, ask, container, injected, pod

CNI = replace(SETTINGS, cni=True)
MULTUS = replace(CNI, multus=True)
NETWORKS = "k8s.v1.cni.cncf.io/networks"
TRAFFIC = "traffic.sidecar.istio.io/"


def names(after: Json, key: str = "initContainers") -> list[str]:
    return [one["name"] for one in after["spec"].get(key, ())]


def test_the_pod_validates_what_the_plugin_did_and_needs_no_rights() -> None:
    after = injected(pod(initContainers=[{"name": "prepare"}]), settings=CNI)
    # first: nothing of a pod that was missed may run
    assert names(after) == ["istio-validation", "prepare"]
    assert names(after, "containers") == ["app", "istio-proxy"]
    validation, init = container(after, "istio-validation"), container(injected(pod()), "istio-init")
    assert validation["args"] == [*init["args"], "--run-validation", "--skip-rule-apply"]
    assert validation["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "runAsGroup": 1337,
        "runAsNonRoot": True,
        "runAsUser": 1337,
    }


def test_with_a_native_sidecar_the_pods_own_init_containers_come_last() -> None:
    before = pod(initContainers=[{"name": "prepare"}], annotations={"sidecar.istio.io/nativeSidecar": "true"})
    assert names(injected(before, settings=CNI)) == ["istio-validation", "istio-proxy", "prepare"]
    assert names(injected(before)) == ["istio-init", "istio-proxy", "prepare"]


@pytest.mark.parametrize("key", ["containers", "initContainers"])
@pytest.mark.parametrize("native", ["true", "false"])
def test_wishes_for_the_sidecar_count_wherever_they_are_written(key: str, native: str) -> None:
    wishes = {"name": "istio-proxy", "image": "auto", "env": [{"name": "MORE", "value": "1"}]}
    before = pod(annotations={"sidecar.istio.io/nativeSidecar": native})
    before["spec"].setdefault(key, []).append(wishes)
    after = injected(before)
    assert [*names(after), *names(after, "containers")].count("istio-proxy") == 1
    assert "istio-proxy" in names(after, "initContainers" if native == "true" else "containers")
    assert {"name": "MORE", "value": "1"} in container(after)["env"]


def test_the_status_names_what_was_added() -> None:
    def added(native: str) -> Json:
        annotations = {"sidecar.istio.io/nativeSidecar": native}
        after = injected(pod(annotations=annotations), settings=CNI)
        status: Json = json.loads(after["metadata"]["annotations"]["sidecar.istio.io/status"])
        return {key: status[key] for key in ("initContainers", "containers")}

    assert added("false") == {"initContainers": ["istio-validation"], "containers": ["istio-proxy"]}
    assert added("true") == {"initContainers": ["istio-validation", "istio-proxy"], "containers": None}


def test_the_pod_says_all_that_decides_about_its_capture() -> None:
    own = {
        f"{TRAFFIC}excludeInboundPorts": "9090, 9091",
        f"{TRAFFIC}kubevirtInterfaces": "k6t-eth0",
        "proxy.istio.io/config": "{interceptionMode: TPROXY, statusPort: 15520}",
    }
    after = injected(pod(annotations=own), settings=CNI)["metadata"]["annotations"]
    expected = {
        **own,
        "sidecar.istio.io/interceptionMode": "TPROXY",
        f"{TRAFFIC}includeInboundPorts": "*",
        f"{TRAFFIC}excludeInboundPorts": "9090,9091,15520",
        f"{TRAFFIC}includeOutboundIPRanges": "*",
        f"{TRAFFIC}excludeOutboundIPRanges": "",
        f"{TRAFFIC}excludeOutboundPorts": "",
        "istio.io/reroute-virtual-interfaces": "k6t-eth0",
    }
    assert {name: after.get(name) for name in expected} == expected


@pytest.mark.parametrize("native", ["true", "false"])
def test_a_pod_that_is_not_captured_has_neither_container(native: str) -> None:
    annotations = {"sidecar.istio.io/interceptionMode": "NONE", "sidecar.istio.io/nativeSidecar": native}
    for settings in (SETTINGS, MULTUS):
        after = injected(pod(annotations=annotations), settings=settings)
        assert not {"istio-init", "istio-validation"}.intersection(names(after))
        assert NETWORKS not in after["metadata"]["annotations"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "default/istio-cni"),
        ("macvlan", "macvlan, default/istio-cni"),
        ("kube-system/macvlan@net1,ovs", "kube-system/macvlan@net1,ovs, default/istio-cni"),
        ("macvlan,default/istio-cni@net9", "macvlan,default/istio-cni@net9"),
        ("istio-cni", "istio-cni"),
        ("[]", '[{"name": "istio-cni", "namespace": "default"}]'),
        (
            '[{"name": "macvlan", "ips": ["10.0.0.9"]}]',
            '[{"name": "macvlan", "ips": ["10.0.0.9"]}, {"name": "istio-cni", "namespace": "default"}]',
        ),
        ('[{"name":"istio-cni"}]', '[{"name":"istio-cni"}]'),
    ],
)
def test_under_multus_the_plugins_network_is_asked_for_in_the_form_there_is(before: str, after: str) -> None:
    annotations = {NETWORKS: before} if before else {}
    assert injected(pod(annotations=annotations), settings=MULTUS)["metadata"]["annotations"][NETWORKS] == after
    assert (
        injected(pod(annotations=annotations), settings=CNI)["metadata"]["annotations"].get(NETWORKS, "") == before
    )


@pytest.mark.parametrize("value", ['{"name": "macvlan"}', '[{"name": ', '["macvlan"]'])
def test_networks_that_multus_could_not_read_are_refused(value: str) -> None:
    response = ask(pod(annotations={NETWORKS: value}), settings=MULTUS)
    assert not response["allowed"]
    assert NETWORKS in response["status"]["message"]
    assert ask(pod(annotations={NETWORKS: value}), settings=CNI)["allowed"]


def test_the_name_of_the_validating_container_is_kept_for_the_mesh() -> None:
    response = ask(pod(initContainers=[{"name": "istio-validation", "image": "x"}]))
    assert not response["allowed"]
    assert '"istio-validation"' in response["status"]["message"]
