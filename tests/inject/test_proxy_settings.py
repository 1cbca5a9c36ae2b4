"""The settings of a new pod's proxy, from the mesh's down to its own, and what becomes of them in the pod."""

import base64
import json
from typing import Any

import jsonpatch
import pytest
from tests.inject.pods import SETTINGS, Json, ask, container, environment, injected, pod

from weft.inject.webhook import review


def under(layers: list[dict[str, Any]], **metadata: Any) -> Json:
    """The pod after injection in a mesh that says this of proxies, weakest first."""
    before = pod(**metadata)
    request = {"uid": "abc", "namespace": "shop", "operation": "CREATE", "object": before}
    asked = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
    response = review(asked, SETTINGS, lambda namespace, labels: layers)["response"]
    assert response["allowed"], response
    after: Json = jsonpatch.apply_patch(before, json.loads(base64.b64decode(response["patch"])))
    return {**after, "warnings": response.get("warnings", [])}


def told(after: Json) -> Json:
    """PROXY_CONFIG."""
    found: Json = json.loads(environment(after)["PROXY_CONFIG"])
    return found


def config(text: str) -> dict[str, str]:
    return {"proxy.istio.io/config": text}


def test_the_pods_word_goes_over_the_meshs_field_by_field() -> None:
    mesh = {"concurrency": 4, "drainDuration": "30s", "image": {"imageType": "debug"}}
    after = under([mesh, {"concurrency": 3}], annotations=config("concurrency: 1"))
    assert told(after) == {"concurrency": 1, "drainDuration": "30s", "image": {"imageType": "debug"}}


def test_variables_and_headers_are_joined_and_other_fields_replaced_whole() -> None:
    mesh = {
        "proxyMetadata": {"A": "mesh", "B": "mesh"},
        "proxyHeaders": {"requestId": {"disabled": True}, "server": {"value": "mesh"}},
        "proxyStatsMatcher": {"inclusionPrefixes": ["mesh"]},
    }
    own = """
    proxyMetadata: {B: pod}
    proxyHeaders: {server: {value: pod}}
    proxyStatsMatcher: {inclusionSuffixes: [x]}
    """
    assert told(under([mesh], annotations=config(own))) == {
        "proxyMetadata": {"A": "mesh", "B": "pod"},
        "proxyHeaders": {"requestId": {"disabled": True}, "server": {"value": "pod"}},
        "proxyStatsMatcher": {"inclusionSuffixes": ["x"]},
    }


def test_variables_reach_the_proxy_and_what_captures_traffic() -> None:
    after = under([{"proxyMetadata": {"ISTIO_META_DNS_CAPTURE": "true"}}])
    assert environment(after)["ISTIO_META_DNS_CAPTURE"] == "true"
    assert container(after, "istio-init")["env"] == [{"name": "ISTIO_META_DNS_CAPTURE", "value": "true"}]


def test_settings_of_the_mesh_that_cannot_be_are_told_of_and_stop_no_pod() -> None:
    after = under([{"concurrency": -1}, {"drainDuration": "9s"}])
    assert told(after) == {"drainDuration": "9s"}
    [warning] = after["warnings"]
    assert warning.startswith("settings of the mesh's proxies are left out: concurrency: ")


@pytest.mark.parametrize(
    ("image", "kind", "expected"),
    [
        ("hub/proxyv2:1.0", "distroless", "hub/proxyv2:1.0-distroless"),
        ("hub/proxyv2:1.0-distroless", "debug", "hub/proxyv2:1.0-debug"),
        ("hub/proxyv2:1.0-debug", "default", "hub/proxyv2:1.0"),
    ],
)
def test_the_type_of_the_image_is_the_end_of_its_tag(image: str, kind: str, expected: str) -> None:
    annotations = {"sidecar.istio.io/proxyImage": image, **config(f"image: {{imageType: {kind}}}")}
    assert container(injected(pod(annotations=annotations)))["image"] == expected
    annotations = {"sidecar.istio.io/proxyImage": image, "sidecar.istio.io/proxyImageType": kind}
    after = injected(pod(annotations=annotations))
    assert {container(after, name)["image"] for name in ("istio-proxy", "istio-init")} == {expected}


def test_annotations_of_older_days_are_fields_of_the_settings() -> None:
    after = injected(
        pod(
            annotations={
                "sidecar.istio.io/discoveryAddress": "istiod.other.svc:15012",
                "sidecar.istio.io/extraStatTags": "a, b",
                "sidecar.istio.io/statsCompression": "false",
                "sidecar.istio.io/statsInclusionPrefixes": "cluster.outbound,listener",
                "sidecar.istio.io/statsInclusionSuffixes": "rq_total",
                "sidecar.istio.io/statsInclusionRegexps": ".*circuit_breakers.*",
                "sidecar.istio.io/interceptionMode": "REDIRECT",
            }
        )
    )
    assert told(after) == {
        "discoveryAddress": "istiod.other.svc:15012",
        "extraStatTags": ["a", "b"],
        "statsCompression": False,
        "proxyStatsMatcher": {
            "inclusionPrefixes": ["cluster.outbound", "listener"],
            "inclusionSuffixes": ["rq_total"],
            "inclusionRegexps": [".*circuit_breakers.*"],
        },
        "interceptionMode": "REDIRECT",
    }


def test_the_mesh_id_is_told_as_metadata() -> None:
    assert environment(injected(pod(annotations=config("meshId: other"))))["ISTIO_META_MESH_ID"] == "other"


def test_volumes_of_the_users_own_are_added_to_pod_and_proxy() -> None:
    annotations = {
        "sidecar.istio.io/userVolume": '{"cache": {"emptyDir": {}}}',
        "sidecar.istio.io/userVolumeMount": '{"cache": {"mountPath": "/cache", "readOnly": true}}',
        "sidecar.istio.io/bootstrapOverride": "my-bootstrap",
    }
    after = injected(pod(annotations=annotations))
    assert {"name": "cache", "emptyDir": {}} in after["spec"]["volumes"]
    mounts = container(after)["volumeMounts"]
    assert {"name": "cache", "mountPath": "/cache", "readOnly": True} in mounts
    assert {"mountPath": "/etc/istio/custom-bootstrap", "name": "custom-bootstrap-volume"} in mounts
    assert environment(after)["ISTIO_BOOTSTRAP_OVERRIDE"] == "/etc/istio/custom-bootstrap/custom_bootstrap.json"


@pytest.mark.parametrize("by", ["annotation", "pod"])
def test_a_volume_of_the_users_takes_the_place_of_ours_of_that_name(by: str) -> None:
    spire = {"name": "workload-socket", "csi": {"driver": "csi.spiffe.io", "readOnly": True}}
    before = pod(annotations={"sidecar.istio.io/userVolume": json.dumps([spire])} if by == "annotation" else {})
    if by == "pod":
        before["spec"]["volumes"] = [spire, *before["spec"].get("volumes", ())]
    volumes = injected(before)["spec"]["volumes"]
    assert [each for each in volumes if each["name"] == "workload-socket"] == [spire]


def test_a_pod_without_interception_has_no_rules_and_a_proxy_that_may_listen_anywhere() -> None:
    for annotations in (config("interceptionMode: NONE"), {"sidecar.istio.io/interceptionMode": "NONE"}):
        after = injected(pod(annotations=annotations))
        assert after["spec"]["initContainers"] == []
        assert environment(after)["ISTIO_META_INTERCEPTION_MODE"] == "NONE"
        [sysctl] = after["spec"]["securityContext"]["sysctls"]
        assert sysctl == {"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}
        done = json.loads(after["metadata"]["annotations"]["sidecar.istio.io/status"])
        assert (done["initContainers"], done["containers"]) == (None, ["istio-proxy"])


def test_a_pod_with_transparent_interception_has_a_proxy_that_may_have_transparent_sockets() -> None:
    for annotations in (config("interceptionMode: TPROXY"), {"sidecar.istio.io/interceptionMode": "TPROXY"}):
        after = injected(pod(annotations=annotations))
        assert "-m TPROXY" in " ".join(after["spec"]["initContainers"][0]["args"])
        assert environment(after)["ISTIO_META_INTERCEPTION_MODE"] == "TPROXY"
        security = container(after)["securityContext"]
        assert security["capabilities"] == {"add": ["NET_ADMIN"], "drop": ["ALL"]}
        assert (security["runAsUser"], security["runAsGroup"], security["runAsNonRoot"]) == (0, 1337, False)


def test_a_native_sidecar_starts_before_all_else_of_the_pod_and_goes_on_running() -> None:
    own = [{"name": "migrate", "image": "nginx"}]
    annotations = {"sidecar.istio.io/nativeSidecar": "true", **config("holdApplicationUntilProxyStarts: true")}
    after = injected(pod(annotations=annotations, initContainers=own))
    assert [one["name"] for one in after["spec"]["initContainers"]] == ["istio-init", "istio-proxy", "migrate"]
    assert [one["name"] for one in after["spec"]["containers"]] == ["app"]
    proxy = after["spec"]["initContainers"][1]
    assert (proxy["restartPolicy"], proxy["startupProbe"]["httpGet"]["port"]) == ("Always", 15021)
    assert "lifecycle" not in proxy, "the kubelet holds the application by itself"
    done = json.loads(after["metadata"]["annotations"]["sidecar.istio.io/status"])
    assert (done["initContainers"], done["containers"]) == (["istio-init", "istio-proxy"], None)
    assert injected(after) == after


@pytest.mark.parametrize(
    ("written", "field"),
    [
        ("discoveryAddress: istiod", "discoveryAddress"),
        ("concurrency: -1", "concurrency"),
        ("drainDuration: 5", "drainDuration"),
        ("drainDuration: 0s", "drainDuration"),
        ("statusPort: 70000", "statusPort"),
        ("proxyAdminPort: zero", "proxyAdminPort"),
        ("interceptionMode: PROXY", "interceptionMode"),
        ("image: {imageType: tiny}", "image.imageType"),
        ("proxyMetadata: {POD_NAME: x}", "proxyMetadata.POD_NAME"),
        ("proxyMetadata: {'a b': x}", "proxyMetadata"),
        ("proxyMetadata: {A: 1}", "proxyMetadata.A"),
        ("runtimeValues: [a]", "runtimeValues"),
        ("proxyStatsMatcher: {inclusionRegexps: ['(']}", "proxyStatsMatcher.inclusionRegexps[0]"),
        ("extraStatTags: ['a b']", "extraStatTags[0]"),
        ("caCertificatesPem: ['hello']", "caCertificatesPem[0]"),
        ("gatewayTopology: {numTrustedProxies: -1}", "gatewayTopology.numTrustedProxies"),
        ("gatewayTopology: {forwardClientCertDetails: ALL}", "gatewayTopology.forwardClientCertDetails"),
        ("proxyHeaders: {server: {disabled: 'no'}}", "proxyHeaders.server.disabled"),
        ("connectionSettings: {httpIdleTimeout: soon}", "connectionSettings.httpIdleTimeout"),
        (
            "connectionSettings: {http2InitialStreamWindowSize: 1}",
            "connectionSettings.http2InitialStreamWindowSize",
        ),
        ("concurency: 2", "concurency"),
    ],
)
def test_a_setting_that_cannot_be_refuses_the_pod_and_names_the_field(written: str, field: str) -> None:
    response = ask(pod(annotations=config(written)))
    assert not response["allowed"]
    assert f"annotation proxy.istio.io/config: {field}: " in response["status"]["message"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sidecar.istio.io/userVolume", "[1]"),
        ("sidecar.istio.io/userVolumeMount", "cache"),
        ("sidecar.istio.io/bootstrapOverride", "No Name"),
        ("sidecar.istio.io/statsHistogramBuckets", '{"istio": [5, 1]}'),
        ("sidecar.istio.io/statsHistogramBins", '{"istio": "many"}'),
        ("sidecar.istio.io/statsFlushInterval", "0s"),
        ("sidecar.istio.io/statsEvictionInterval", "often"),
        ("sidecar.istio.io/proxyImageType", "tiny"),
    ],
)
def test_an_annotation_that_cannot_be_refuses_the_pod_and_is_named(name: str, value: str) -> None:
    response = ask(pod(annotations={name: value}))
    assert not response["allowed"]
    assert f"annotation {name}: " in response["status"]["message"]
