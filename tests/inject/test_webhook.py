import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.inject.pods import SETTINGS, Json, ask, container, environment, injected, iptables, pod

from weft.inject.webhook import ReviewError, review


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_a_review_is_answered_in_its_own_version(version: str) -> None:
    assert "patch" in ask(pod(), version=version)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"apiVersion": "admission.k8s.io/v1"},
        {"apiVersion": "v1", "request": {}},
        {"apiVersion": "admission.k8s.io/v1", "request": {"object": {}}},
    ],
)
def test_what_is_no_review_is_an_error(body: Json) -> None:
    with pytest.raises(ReviewError):
        review(body, SETTINGS)


@pytest.mark.parametrize(
    ("before", "namespace"),
    [
        (pod(hostNetwork=True), "sidecar"),
        (pod(labels={"sidecar.istio.io/inject": "false"}), "sidecar"),
        (pod(annotations={"sidecar.istio.io/inject": "false"}), "sidecar"),
        (
            pod(labels={"sidecar.istio.io/inject": "false"}, annotations={"sidecar.istio.io/inject": "true"}),
            "sidecar",
        ),
        (pod(), "kube-system"),
    ],
)
def test_some_pods_are_left_alone(before: Json, namespace: str) -> None:
    response = ask(before, namespace=namespace)
    assert response == {"uid": "abc", "allowed": True}


def test_the_label_wins_over_the_annotation() -> None:
    wishes = {"sidecar.istio.io/inject": "true"}, {"sidecar.istio.io/inject": "false"}
    assert container(injected(pod(labels=wishes[0], annotations=wishes[1])))


def test_injecting_twice_is_injecting_once() -> None:
    once = injected(pod())
    assert injected(once) == once


def test_a_container_of_the_users_own_with_the_sidecars_name_is_refused() -> None:
    response = ask(pod(containers=[{"name": "istio-proxy", "image": "envoy"}]))
    assert not response["allowed"]
    assert '"istio-proxy"' in response["status"]["message"]


def test_the_review_itself_is_not_changed() -> None:
    before = pod(containers=[{"name": "app", "readinessProbe": {"httpGet": {"port": 80}}}])
    kept = copy.deepcopy(before)
    injected(before)
    assert before == kept


def test_init_containers_of_the_application_run_before_capture_begins() -> None:
    after = injected(pod(initContainers=[{"name": "prepare"}]))
    assert [one["name"] for one in after["spec"]["initContainers"]] == ["prepare", "istio-init"]


@pytest.mark.parametrize(
    ("owner", "labels", "name", "spelled"),
    [
        (
            {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-7fc7"},
            {"pod-template-hash": "7fc7"},
            "web",
            "apis/apps/v1/namespaces/sidecar/deployments/web",
        ),
        (
            {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "alone"},
            {},
            "alone",
            "apis/apps/v1/namespaces/sidecar/replicasets/alone",
        ),
        (
            {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db"},
            {},
            "db",
            "apis/apps/v1/namespaces/sidecar/statefulsets/db",
        ),
        (
            {"apiVersion": "batch/v1", "kind": "Job", "name": "report-28123456"},
            {},
            "report",
            "apis/batch/v1/namespaces/sidecar/cronjobs/report",
        ),
        (None, {}, "web", "apis/v1/namespaces/sidecar/pods/web"),
    ],
)
def test_the_workload_is_what_the_user_wrote(owner: Json | None, labels: Json, name: str, spelled: str) -> None:
    found = environment(injected(pod(owner=owner, labels=labels)))
    assert found["ISTIO_META_WORKLOAD_NAME"] == name
    assert found["ISTIO_META_OWNER"] == f"kubernetes://{spelled}"


@pytest.mark.parametrize(
    ("labels", "name", "revision"),
    [
        ({}, "web", "latest"),
        ({"app": "shop", "version": "v2"}, "shop", "v2"),
        ({"app": "shop", "app.kubernetes.io/name": "store"}, "store", "latest"),
        ({"service.istio.io/canonical-name": "chosen", "app": "shop"}, "chosen", "latest"),
    ],
)
def test_canonical_names_come_from_labels(labels: Json, name: str, revision: str) -> None:
    found = injected(pod(labels=labels))["metadata"]["labels"]
    assert found["service.istio.io/canonical-name"] == name
    assert found["service.istio.io/canonical-revision"] == revision


def test_ports_are_listed_as_json_one_a_line() -> None:
    ports = [{"containerPort": 80, "name": "http", "protocol": "TCP"}, {"containerPort": 9000}]
    found = environment(injected(pod(containers=[{"name": "app", "ports": ports}, {"name": "helper"}])))
    assert found["ISTIO_META_POD_PORTS"].splitlines() == [
        "[",
        '    {"name":"http","containerPort":80,"protocol":"TCP"}',
        '    ,{"containerPort":9000}',
        "]",
    ]
    assert json.loads(found["ISTIO_META_POD_PORTS"]) == ports
    assert found["ISTIO_META_APP_CONTAINERS"] == "app,helper"


def test_traffic_annotations_become_flags_of_istio_iptables() -> None:
    prefix = "traffic.sidecar.istio.io/"
    after = injected(
        pod(
            annotations={
                f"{prefix}includeInboundPorts": "80, 443",
                f"{prefix}excludeInboundPorts": "8080",
                f"{prefix}includeOutboundIPRanges": "10.0.0.0/8",
                f"{prefix}excludeOutboundIPRanges": "10.1.0.0/16",
                f"{prefix}includeOutboundPorts": "3306",
                f"{prefix}excludeOutboundPorts": "9090",
                f"{prefix}excludeInterfaces": "net1",
            }
        )
    )
    flags = iptables(after)
    assert {key: flags[key] for key in flags if key not in {"-p", "-z", "-u", "-m"}} == {
        "-b": "80,443",
        "-d": "15090,15021,8080,15020",
        "-i": "10.0.0.0/8",
        "-x": "10.1.0.0/16",
        "-q": "3306",
        "-o": "9090",
        "-c": "net1",
    }


def test_annotations_change_the_sidecar() -> None:
    after = injected(
        pod(
            annotations={
                "sidecar.istio.io/proxyCPU": "50m",
                "sidecar.istio.io/proxyMemoryLimit": "256Mi",
                "sidecar.istio.io/proxyImage": "example.org/proxy:1",
                "sidecar.istio.io/logLevel": "debug",
                "status.sidecar.istio.io/port": "15520",
                "readiness.status.sidecar.istio.io/periodSeconds": "7",
            }
        )
    )
    proxy = container(after)
    assert proxy["image"] == container(after, "istio-init")["image"] == "example.org/proxy:1"
    assert proxy["resources"]["requests"] == {"cpu": "50m", "memory": "40Mi"}
    assert proxy["resources"]["limits"] == {"cpu": "2", "memory": "256Mi"}
    assert "--proxyLogLevel=debug" in proxy["args"]
    assert proxy["readinessProbe"]["periodSeconds"] == 7
    assert after["metadata"]["annotations"]["prometheus.io/port"] == "15520"
    assert iptables(after)["-d"] == "15090,15021,15520,15020"
    assert json.loads(environment(after)["PROXY_CONFIG"]) == {"statusPort": 15520}


def test_proxy_config_is_passed_on_and_holds_the_application() -> None:
    config = "concurrency: 1\nholdApplicationUntilProxyStarts: true\nproxyMetadata:\n  EXIT_ON_ZERO: 'true'\n"
    after = injected(pod(annotations={"proxy.istio.io/config": config}))
    assert [one["name"] for one in after["spec"]["containers"]] == ["istio-proxy", "app"]
    assert container(after)["lifecycle"] == {"postStart": {"exec": {"command": ["weft", "agent", "wait"]}}}
    assert environment(after)["EXIT_ON_ZERO"] == "true"
    assert json.loads(environment(after)["PROXY_CONFIG"])["concurrency"] == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("traffic.sidecar.istio.io/includeInboundPorts", "http"),
        ("traffic.sidecar.istio.io/excludeInboundPorts", "0"),
        ("traffic.sidecar.istio.io/includeOutboundIPRanges", "10.0.0.0/40"),
        ("traffic.sidecar.istio.io/excludeOutboundIPRanges", "*"),
        ("traffic.sidecar.istio.io/excludeOutboundPorts", "80-90"),
        ("sidecar.istio.io/proxyCPU", "a lot"),
        ("sidecar.istio.io/proxyMemoryLimit", "1 GB"),
        ("sidecar.istio.io/logLevel", "loud"),
        ("sidecar.istio.io/interceptionMode", "PROXY"),
        ("sidecar.istio.io/rewriteAppHTTPProbers", "maybe"),
        ("status.sidecar.istio.io/port", "99999"),
        ("sidecar.istio.io/inject", "perhaps"),
        ("proxy.istio.io/config", "concurrency: many"),
        ("proxy.istio.io/config", "concurency: 2"),
        ("proxy.istio.io/config", "- a list"),
        ("proxy.istio.io/config", "{"),
        ("proxy.istio.io/config", "terminationDrainDuration: soon"),
    ],
)
def test_a_value_that_cannot_be_honoured_refuses_the_pod_and_names_the_annotation(name: str, value: str) -> None:
    response = ask(pod(annotations={name: value}))
    assert not response["allowed"]
    assert "patch" not in response
    assert name in response["status"]["message"]
    assert response["status"]["code"] == 422


def test_what_has_no_effect_is_said() -> None:
    annotations = {"sidecar.istio.io/userVolum": "{}", "proxy.istio.io/config": "tracing: {sampling: 5}"}
    response = ask(pod(annotations=annotations))
    until_then = "Until then, the rest works as if it were not there."
    assert response["allowed"]
    assert response["warnings"] == [
        "annotation sidecar.istio.io/userVolum has no effect here",
        f"annotation proxy.istio.io/config: tracing: is not acted on yet. {until_then}",
    ]


def test_metrics_of_the_application_are_kept_for_the_agent_to_merge() -> None:
    own = {"prometheus.io/scrape": "true", "prometheus.io/port": "9113", "prometheus.io/path": "/m"}
    after = injected(pod(annotations=own))
    assert json.loads(environment(after)["ISTIO_PROMETHEUS_ANNOTATIONS"]) == {
        "scrape": "true",
        "path": "/m",
        "port": "9113",
    }
    assert after["metadata"]["annotations"]["prometheus.io/port"] == "15020"
    apart = injected(pod(annotations={**own, "prometheus.istio.io/merge-metrics": "false"}))
    assert apart["metadata"]["annotations"]["prometheus.io/port"] == "9113"


def test_probes_are_asked_through_the_agent() -> None:
    app = {
        "name": "app",
        "ports": [{"name": "web", "containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/ok", "port": "web", "scheme": "HTTPS"}, "periodSeconds": 3},
        "livenessProbe": {"tcpSocket": {"port": 8080}, "timeoutSeconds": 4},
        "startupProbe": {"grpc": {"port": 9000, "service": "s"}},
    }
    after = injected(pod(containers=[app, {"name": "sh", "livenessProbe": {"exec": {"command": ["true"]}}}]))
    rewritten = container(after, "app")
    assert rewritten["readinessProbe"] == {
        "periodSeconds": 3,
        "httpGet": {"path": "/app-health/app/readyz", "port": 15020, "scheme": "HTTP"},
    }
    assert rewritten["livenessProbe"]["httpGet"]["path"] == "/app-health/app/livez"
    assert "tcpSocket" not in rewritten["livenessProbe"]
    assert container(after, "sh")["livenessProbe"] == {"exec": {"command": ["true"]}}
    assert json.loads(environment(after)["ISTIO_KUBE_APP_PROBERS"]) == {
        "/app-health/app/readyz": {
            "httpGet": {"path": "/ok", "port": 8080, "scheme": "HTTPS"},
            "timeoutSeconds": 1,
        },
        "/app-health/app/livez": {"tcpSocket": {"port": 8080}, "timeoutSeconds": 4},
        "/app-health/app/startupz": {"grpc": {"port": 9000, "service": "s"}, "timeoutSeconds": 1},
    }


def test_probes_stay_where_the_pod_says_so() -> None:
    app = {"name": "app", "readinessProbe": {"httpGet": {"port": 80}}}
    after = injected(pod(containers=[app], annotations={"sidecar.istio.io/rewriteAppHTTPProbers": "false"}))
    assert container(after, "app") == app
    assert "ISTIO_KUBE_APP_PROBERS" not in environment(after)


texts = st.text(max_size=20)


@given(st.dictionaries(st.sampled_from(["sidecar.istio.io/proxyCPU", "a/b", "proxy.istio.io/config"]), texts))
def test_any_annotations_are_answered_one_way_or_the_other(annotations: dict[str, Any]) -> None:
    response = ask(pod(annotations=annotations))
    assert response["allowed"] == ("patch" in response)
