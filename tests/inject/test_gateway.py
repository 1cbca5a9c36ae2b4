import pytest
from tests.inject.pods import Json, ask, container, environment, injected, pod

ANNOTATION = {"inject.istio.io/templates": "gateway"}


def gateway(
    annotations: Json | None = None, labels: Json | None = None, spec: Json | None = None, **own: object
) -> Json:
    containers = [{"name": "istio-proxy", "image": "auto", **own}]
    wished = {"sidecar.istio.io/inject": "true", **(labels or {})}
    return pod(
        annotations={**ANNOTATION, **(annotations or {})}, labels=wished, containers=containers, **(spec or {})
    )


def test_a_container_with_image_auto_becomes_a_router() -> None:
    after = injected(gateway())
    (made,) = after["spec"]["containers"]
    assert made["image"] == "weft.local/proxyv2:0.1.0"
    assert made["args"][:2] == ["proxy", "router"]
    assert made["readinessProbe"]["httpGet"]["port"] == 15021
    assert "initContainers" not in after["spec"]


def test_a_gateway_may_listen_below_1024_without_being_root() -> None:
    after = injected(gateway())
    assert after["spec"]["securityContext"]["sysctls"] == [
        {"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}
    ]
    assert container(after)["securityContext"]["runAsUser"] == 1337
    assert container(after)["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_clients_are_not_told_to_speak_the_meshs_tls_to_a_gateway() -> None:
    labels = injected(gateway(labels={"app": "edge"}))["metadata"]["labels"]
    assert labels["service.istio.io/canonical-name"] == "edge"
    assert "security.istio.io/tlsMode" not in labels


def test_injecting_a_gateway_twice_is_injecting_it_once() -> None:
    once = injected(gateway())
    assert injected(once) == once


def test_what_the_pod_says_of_the_container_is_kept() -> None:
    env = [{"name": "ISTIO_META_ROUTER_MODE", "value": "sni-dnat"}, {"name": "TRUST_DOMAIN", "value": "other"}]
    after = injected(
        gateway(
            ports=[{"containerPort": 443, "name": "https"}],
            env=env,
            resources={"limits": {"memory": "512Mi"}},
            volumeMounts=[{"mountPath": "/certs", "name": "certs"}],
            securityContext={"runAsUser": 1000},
            spec={
                "volumes": [{"name": "certs", "secret": {"secretName": "certs"}}],
                "securityContext": {"fsGroup": 7},
            },
        )
    )
    made = container(after)
    assert [port["containerPort"] for port in made["ports"]] == [15090, 443]
    assert environment(after)["ISTIO_META_ROUTER_MODE"] == "sni-dnat"
    assert environment(after)["TRUST_DOMAIN"] == "other"
    assert environment(after)["JWT_POLICY"] == "third-party-jwt"
    assert made["resources"]["limits"] == {"cpu": "2", "memory": "512Mi"}
    assert made["securityContext"]["runAsUser"] == 1000
    assert made["securityContext"]["allowPrivilegeEscalation"] is False
    assert {"mountPath": "/certs", "name": "certs"} in made["volumeMounts"]
    assert "istio-envoy" in {mount["name"] for mount in made["volumeMounts"]}
    assert {"name": "certs", "secret": {"secretName": "certs"}} in after["spec"]["volumes"]
    assert after["spec"]["securityContext"]["fsGroup"] == 7
    assert after["spec"]["securityContext"]["sysctls"]


def test_a_variable_has_one_source_even_where_the_user_takes_another() -> None:
    own = {"name": "POD_NAMESPACE", "value": "elsewhere"}
    made = container(injected(gateway(env=[own])))
    assert [entry for entry in made["env"] if entry["name"] == "POD_NAMESPACE"] == [own]


def test_an_image_of_ones_own_stays() -> None:
    before = gateway()
    before["spec"]["containers"][0]["image"] = "registry.example/proxy:7"
    assert container(injected(before))["image"] == "registry.example/proxy:7"


def test_a_pod_without_the_container_gets_it() -> None:
    after = injected(pod(annotations=ANNOTATION))
    assert [one["name"] for one in after["spec"]["containers"]] == ["istio-proxy", "app"]


def test_the_sidecars_container_can_be_changed_the_same_way() -> None:
    wishes = {"resources": {"requests": {"cpu": "500m"}}, "lifecycle": {"preStop": {"exec": {}}}}
    own = {"name": "istio-proxy", "image": "auto", **wishes}
    after = injected(pod(containers=[{"name": "app", "image": "nginx"}, own]))
    assert [one["name"] for one in after["spec"]["containers"]] == ["app", "istio-proxy"]
    made = container(after)
    assert made["args"][:2] == ["proxy", "sidecar"]
    assert made["image"] == "weft.local/proxyv2:0.1.0"
    assert made["resources"]["requests"] == {"cpu": "500m", "memory": "40Mi"}
    assert made["lifecycle"] == {"preStop": {"exec": {}}}
    assert environment(after)["ISTIO_META_APP_CONTAINERS"] == "app"


@pytest.mark.parametrize(
    ("templates", "said"),
    [
        ("gatway", 'no template "gatway". There are sidecar and gateway.'),
        ("sidecar,gateway", "a pod is a gateway or has a sidecar"),
    ],
)
def test_templates_that_cannot_be_are_refused_with_those_that_can(templates: str, said: str) -> None:
    response = ask(pod(annotations={"inject.istio.io/templates": templates}))
    assert not response["allowed"]
    assert said in response["status"]["message"]


def test_a_container_named_as_the_init_container_is_refused_in_a_gateway_too() -> None:
    before = gateway()
    before["spec"]["initContainers"] = [{"name": "istio-init", "image": "x"}]
    response = ask(before)
    assert not response["allowed"]
    assert '"istio-init"' in response["status"]["message"]
