"""What one pod can reach of another's sidecar and of the control plane, and what it cannot claim."""

from collections.abc import Iterator

import pytest
from tests.e2e.manifests import deployment, service
from tests.support.cluster import Cluster

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


def address(cluster: Cluster, namespace: str, app: str) -> str:
    (pod,) = cluster.objects("pods", namespace, f"app={app}")
    return str(pod["status"]["podIP"])


def status(cluster: Cluster, url: str, *options: str) -> str:
    """What a pod outside the mesh is answered."""
    curl = f"curl -s -m 5 -o /dev/null -w %{{http_code}} {' '.join(options)} {url} || true"
    return cluster.shell("strange", "stranger", curl)


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
