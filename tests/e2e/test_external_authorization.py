"""CUSTOM policies as a user applies them: a provider in a pod decides, reached by mTLS, and changed live."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.e2e.manifests import deployment, service
from tests.support.cluster import Cluster, eventually

NAMESPACE = "asks"
DECIDER = """
import http.server

class Decider(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200 if self.headers.get("x-ext-authz") == "allow" else 401)
        self.send_header("x-asked-by", self.headers.get("x-forwarded-client-cert", "nobody"))
        self.send_header("x-asked-at", self.path)
        self.send_header("content-length", "0")
        self.end_headers()

http.server.ThreadingHTTPServer(("", 8000), Decider).serve_forever()
"""
TO_DECIDER = {"name": "http", "port": 8000}
STRICT = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default}
spec: {mtls: {mode: STRICT}}
"""


def policy(name: str, **spec: Any) -> str:
    whom = {"selector": {"matchLabels": {"app": "web"}}}
    kind = {"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": {"name": name}}
    return json.dumps({**kind, "spec": whom | spec})


def asking(provider: str) -> str:
    rules = [{"to": [{"operation": {"paths": ["/account*"], "ports": ["80"]}}]}]
    return policy("account", action="CUSTOM", provider={"name": provider}, rules=rules)


def settings(cluster: Cluster, mesh: str) -> None:
    patch = json.dumps({"data": {"mesh": mesh}})
    cluster.kubectl("patch", "configmap", "istio", "-n", "istio-system", "--type", "merge", "-p", patch)


def providers(**more: Any) -> str:
    """MeshConfig with the provider, on top of what is there."""
    asked = {
        "service": f"decider.{NAMESPACE}.svc.cluster.local",
        "port": 8000,
        "timeout": "5s",
        "includeRequestHeadersInCheck": ["x-ext-authz"],
        "headersToDownstreamOnDeny": ["x-asked-*"],
    }
    return json.dumps([{"name": "decider", "envoyExtAuthzHttp": asked | more}])


@pytest.fixture(scope="module")
def asks(cluster: Cluster) -> Iterator[Cluster]:
    cluster.injected(NAMESPACE)
    decider = {"kind": "Service", "apiVersion": "v1", "metadata": {"name": "decider"}}
    cluster.apply(
        NAMESPACE,
        STRICT,
        deployment("web", "web", "nginx:1.25.3"),
        service("web", "web"),
        deployment("decider", "decider", "centos:7.9.2009", command=["python3", "-u", "-c", DECIDER]),
        json.dumps({**decider, "spec": {"selector": {"app": "decider"}, "ports": [TO_DECIDER]}}),
        deployment("client", "client", "centos:7.9.2009", command=["sleep", "infinity"]),
    )
    before = json.loads(cluster.kubectl("get", "configmap", "istio", "-n", "istio-system", "-o", "json"))
    cluster.roll_out(NAMESPACE, "web", "decider", "client")
    yield cluster
    settings(cluster, before["data"]["mesh"])
    cluster.kubectl("delete", "ns", NAMESPACE, "--wait=false")


@pytest.fixture
def mesh(asks: Cluster) -> str:
    """The mesh's settings as they are, without providers."""
    found = json.loads(asks.kubectl("get", "configmap", "istio", "-n", "istio-system", "-o", "json"))
    return "".join(
        line
        for line in found["data"]["mesh"].splitlines(keepends=True)
        if not line.startswith("extensionProviders")
    )


def asked(cluster: Cluster, path: str, header: str = "") -> str:
    """The answer's head."""
    given = f"-H '{header}'" if header else ""
    return cluster.shell(NAMESPACE, "client", f"curl -s -m 10 -o /dev/null -D - {given} http://web{path} || true")


def status(cluster: Cluster, path: str, header: str = "") -> str:
    return (asked(cluster, path, header).split() or ["", "none"])[1]


def settled(cluster: Cluster, wanted: str, path: str, header: str = "") -> bool:
    """Whether all are answered so: connections of before end with their next answer, by the rules of before."""
    given = f"-H '{header}'" if header else ""
    curl = f"curl -s -m 10 -o /dev/null -w '%{{http_code}} ' {given} http://web{path} || true"
    return set(cluster.shell(NAMESPACE, "client", f"for _ in 1 2 3 4 5; do {curl}; done").split()) == {wanted}


def told(cluster: Cluster, name: str) -> str:
    return cluster.kubectl("get", "events", "-n", NAMESPACE, "--field-selector", f"involvedObject.name={name}")


def test_a_policy_whose_provider_is_not_there_denies_and_says_so(asks: Cluster) -> None:
    done = asks.try_kubectl("apply", "-n", NAMESPACE, "-f", "-", text=asking("decider"))
    assert done.returncode == 0
    assert 'spec.provider.name: provider "decider" is none of those that decide' in done.stderr
    assert "[IST0101]" in done.stderr
    eventually(lambda: settled(asks, "403", "/account", "x-ext-authz: allow"))
    assert status(asks, "/") == "200"


def test_a_provider_of_the_mesh_decides_once_the_settings_name_it(asks: Cluster, mesh: str) -> None:
    settings(asks, f"{mesh}extensionProviders: {providers()}\n")
    eventually(lambda: settled(asks, "401", "/account"))
    head = asked(asks, "/account/1?a=b")
    assert "x-asked-at: /account/1?a=b" in head
    # it refuses plaintext, and knows who asks: the sidecar of the web server
    assert f"URI=spiffe://cluster.local/ns/{NAMESPACE}/sa/default" in head
    assert status(asks, "/account", "x-ext-authz: allow") == "404"
    assert status(asks, "/", "x-ext-authz: deny") == "200"
    table = asks.weft("x", "authz", "check", f"deploy/web.{NAMESPACE}").stdout
    assert table.splitlines()[1].split() == ["CUSTOM", f"account.{NAMESPACE}", "1"]


def test_settings_of_a_provider_are_followed_live(asks: Cluster, mesh: str) -> None:
    settings(
        asks, f"{mesh}extensionProviders: {providers(pathPrefix='/check', includeRequestHeadersInCheck=[])}\n"
    )
    eventually(lambda: "x-asked-at: /check/account" in asked(asks, "/account", "x-ext-authz: allow"))
    asks.kubectl("scale", "-n", NAMESPACE, "deploy/decider", "--replicas=0")
    eventually(lambda: settled(asks, "403", "/account"))
    settings(asks, f"{mesh}extensionProviders: {providers(failOpen=True)}\n")
    eventually(lambda: settled(asks, "404", "/account"))
    settings(asks, mesh)
    eventually(lambda: settled(asks, "403", "/account"))


def test_an_invalid_policy_that_passed_admission_allows_nothing(asks: Cluster) -> None:
    kind = "validatingwebhookconfigurations"
    hooks = json.loads(asks.kubectl("get", kind, "-o", "json"))
    for each in hooks["items"]:
        for field in ("uid", "resourceVersion", "creationTimestamp", "managedFields", "generation"):
            each["metadata"].pop(field, None)
    asks.kubectl("delete", kind, "--all")
    try:
        rules = [{"to": [{"operation": {"ports": ["http"]}}]}]
        asks.apply(NAMESPACE, policy("unreadable", rules=rules))
        eventually(lambda: settled(asks, "403", "/"))
        assert asks.kubectl("get", "ap", "unreadable", "-n", NAMESPACE, "-o", "name")
        eventually(lambda: "allows nothing to the workloads that it selects" in told(asks, "unreadable"))
    finally:
        asks.kubectl("apply", "-f", "-", text=json.dumps(hooks))
    asks.kubectl("delete", "ap", "unreadable", "-n", NAMESPACE)
    eventually(lambda: settled(asks, "200", "/"))
