"""What one pod can reach of another's sidecar and of the control plane, and what it cannot claim."""

import functools
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from tests.e2e.manifests import deployment, service
from tests.support.cluster import ROOT, Cluster, eventually
from tests.support.identities import Authority

from weft.xds.resource import CLUSTER, SECRET

ECHO = """\
import http.server
class Echo(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(str(self.headers.get("x-forwarded-client-cert")).encode())
http.server.ThreadingHTTPServer(("0.0.0.0", 80), Echo).serve_forever()
"""
STRANGER = deployment("stranger", "stranger", "centos:7.9.2009", command=["sleep", "infinity"])
CLIENT = deployment("client", "client", "centos:7.9.2009", command=["sleep", "infinity"])
SERVER = deployment("echo", "echo", "python:3.11", command=["python3", "-c", ECHO])
CLAIM = "-H 'x-forwarded-client-cert: URI=spiffe://cluster.local/ns/closed/sa/boss'"


@pytest.fixture(scope="module")
def closed(cluster: Cluster) -> Iterator[Cluster]:
    """A meshed server and client, and a stranger without a sidecar in a namespace of its own."""
    cluster.injected("closed")
    cluster.kubectl("create", "ns", "strange")
    cluster.apply("closed", SERVER, service("echo", "echo"), CLIENT)
    cluster.apply("strange", STRANGER)
    cluster.roll_out("closed", "echo", "client")
    cluster.roll_out("strange", "stranger")
    yield cluster
    cluster.kubectl("delete", "ns", "closed", "strange", "--wait=false")


@pytest.fixture(scope="module")
def vault(closed: Cluster) -> Iterator[Cluster]:
    """A namespace with a certificate of its own, and a service that it shows to itself alone."""
    pair = Authority().serve("vault.example")
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": {"name": "web"},
        "stringData": {"tls.crt": pair.chain, "tls.key": pair.key},
    }
    hidden = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "hidden", "annotations": {"networking.istio.io/exportTo": "."}},
        "spec": {"ports": [{"name": "http", "port": 80}], "selector": {"app": "hidden"}},
    }
    closed.kubectl("create", "ns", "vault")
    for namespace in ("vault", "closed"):
        closed.apply(namespace, json.dumps(secret))
    closed.apply("vault", json.dumps(hidden))
    yield closed
    closed.kubectl("delete", "ns", "vault", "--wait=false")


def address(cluster: Cluster, namespace: str, app: str) -> str:
    (pod,) = cluster.objects("pods", namespace, f"app={app}")
    return str(pod["status"]["podIP"])


def status(cluster: Cluster, url: str, *options: str) -> str:
    """What a pod outside the mesh is answered."""
    curl = f"curl -s -m 5 -o /dev/null -w %{{http_code}} {' '.join(options)} {url} || true"
    return cluster.shell("strange", "stranger", curl)


@functools.cache
def token(cluster: Cluster, namespace: str, account: str = "default") -> str:
    return cluster.kubectl("create", "token", account, "-n", namespace, "--audience", "istio-ca").strip()


@dataclass(frozen=True)
class Question:
    """An account of namespace `caller` asks for one name, as a node of namespace `node`, its own unless told."""

    caller: str
    name: str
    url: str = SECRET
    node: str = ""
    account: str = "default"


def asked(cluster: Cluster, *questions: Question) -> list[dict[str, Any]]:
    """What istiod answers to each over TLS."""
    root = json.loads(cluster.kubectl("get", "cm", "istio-ca-root-cert", "-n", "default", "-o", "json"))["data"]

    def told(question: Question) -> dict[str, Any]:
        namespace = question.node or question.caller
        return {
            "root": root["root-cert.pem"],
            "token": token(cluster, question.caller, question.account),
            "node": f"sidecar~192.0.2.66~machine.{namespace}~{namespace}.svc.cluster.local",
            "metadata": {"NAMESPACE": namespace},
            "type": question.url,
            "names": [question.name],
        }

    command = (sys.executable, "-m", "tests.e2e.xds_client", f"{address(cluster, 'istio-system', 'istiod')}:15012")
    done = cluster.inside("env", "-C", str(ROOT), *command, text=json.dumps([told(each) for each in questions]))
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def test_a_plaintext_client_cannot_claim_an_identity(closed: Cluster) -> None:
    seen = closed.shell("strange", "stranger", f"curl -s {CLAIM} http://echo.closed/")
    assert seen == "None"


def test_a_meshed_client_has_its_own_identity_whatever_it_claims(closed: Cluster) -> None:
    seen = closed.shell("closed", "client", f"curl -s {CLAIM} http://echo/")
    assert "URI=spiffe://cluster.local/ns/closed/sa/default" in seen
    assert "boss" not in seen


def test_a_sidecar_shows_strangers_its_metrics_but_takes_no_orders(closed: Cluster) -> None:
    pod = address(closed, "closed", "echo")
    assert status(closed, f"http://{pod}:15020/stats/prometheus") == "200"
    assert status(closed, f"http://{pod}:15090/stats/prometheus") == "200"
    assert status(closed, f"http://{pod}:15020/quitquitquit", "-X POST") == "403"
    assert status(closed, f"http://{pod}:15000/config_dump") != "200"


def test_the_control_plane_shows_what_proxies_have_only_from_within(closed: Cluster) -> None:
    pod = address(closed, "istio-system", "istiod")
    assert status(closed, f"http://{pod}:15014/metrics") == "200"
    assert status(closed, f"http://{pod}:15014/debug/syncz") == "403"
    assert "echo" in closed.weft("proxy-status").stdout


def test_debugging_pages_are_not_for_workloads_but_for_the_system(closed: Cluster) -> None:
    pages = f"http://{address(closed, 'istio-system', 'istiod')}:15014/debug"
    (pod,) = closed.objects("pods", "closed", "app=echo")
    own = f"'{pages}/config_dump?proxyID={pod['metadata']['name']}.closed'"

    def bearing(namespace: str) -> str:
        return f"-H 'authorization: Bearer {token(closed, namespace)}'"

    assert status(closed, f"{pages}/syncz", bearing("closed")) == "403"
    assert status(closed, own, bearing("strange")) == "403"
    assert status(closed, own, bearing("closed")) == "200"
    assert status(closed, f"{pages}/syncz", bearing("istio-system")) == "200"
    assert status(closed, f"{pages}/syncz", "-H 'authorization: Bearer forged.token.x'") == "401"


def test_configuration_in_plaintext_is_given_to_nobody(closed: Cluster) -> None:
    assert status(closed, f"http://{address(closed, 'istio-system', 'istiod')}:15010/") == "000"


def test_a_workload_is_not_given_a_secret_of_another_namespace(vault: Cluster) -> None:
    names = ("kubernetes://vault/web", "kubernetes-gateway://vault/web", "web", "file:/var/run/secrets/x")
    *lacking, pretending = asked(
        vault,
        *(Question("closed", name) for name in names),
        Question("closed", "kubernetes://web", node="vault"),
    )
    assert [(found["given"], found["lacks"]) for found in lacking] == [([], [name]) for name in names]
    assert (pretending["given"], pretending["code"]) == ([], "PERMISSION_DENIED")


def test_a_workload_is_given_secrets_of_its_namespace_only_where_its_account_may_have_them(vault: Cluster) -> None:
    question = Question("closed", "kubernetes://web")
    assert asked(vault, question)[0]["lacks"] == ["kubernetes://web"]
    vault.kubectl("create", "role", "served", "-n", "closed", "--verb=get", "--resource=secrets/served")
    binding = ("create", "rolebinding", "served", "-n", "closed", "--role=served")
    vault.kubectl(*binding, "--serviceaccount=closed:default")
    eventually(lambda: asked(vault, question)[0]["given"] == ["kubernetes://web"])
    assert not may(vault, "get", "closed", "default")


def test_a_gateway_is_served_certificates_and_neither_gets_nor_reads_the_key_of_the_mesh(vault: Cluster) -> None:
    account, name = "istio-ingressgateway-service-account", "kubernetes://istio-ca-secret"
    (found,) = asked(vault, Question("istio-system", name, account=account))
    assert (found["given"], found["lacks"]) == ([], [name])
    assert not any(may(vault, verb, "istio-system", account) for verb in ("get", "list", "watch"))


def may(cluster: Cluster, verb: str, namespace: str, account: str) -> bool:
    """Whether a service account may do this to Secrets of its namespace, as the API server says."""
    who = f"--as=system:serviceaccount:{namespace}:{account}"
    said = cluster.try_kubectl("auth", "can-i", verb, "secrets", "-n", namespace, who).stdout.strip()
    assert said in {"yes", "no"}
    return said == "yes"


def test_names_beyond_what_a_proxy_sees_are_not_served(vault: Cluster) -> None:
    hidden, shown = "outbound|80||hidden.vault.svc.cluster.local", "outbound|80||echo.closed.svc.cluster.local"
    found = asked(
        vault,
        Question("closed", shown, CLUSTER),
        Question("vault", hidden, CLUSTER),
        Question("closed", hidden, CLUSTER),
    )
    assert [each["given"] for each in found] == [[shown], [hidden], []]
