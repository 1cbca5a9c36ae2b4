"""A StatefulSet behind a headless Service, and routes of connections, as a user applies them."""

import json
from functools import partial
from typing import Any

import pytest
from tests.e2e.manifests import TOOLBOX
from tests.support.cluster import Cluster, eventually

SERVER = """
import socketserver, threading, os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
name = os.environ["HOSTNAME"]
class Greeter(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(f"hello from {name}\\n".encode())
        self.rfile.readline()
class Web(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"{name} {self.headers.get('x-forwarded-client-cert', 'nobody')}\\n".encode())
socketserver.ThreadingTCPServer.daemon_threads = True
greeter = socketserver.ThreadingTCPServer(("0.0.0.0", 9000), Greeter)
threading.Thread(target=greeter.serve_forever, daemon=True).start()
ThreadingHTTPServer(("0.0.0.0", 8080), Web).serve_forever()
"""
HEARD = """
import socket, sys, time
started = time.monotonic()
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 10) as connection:
    print(connection.makefile().readline().strip(), time.monotonic() - started < 2)
"""


def stateful_set(name: str, replicas: int) -> str:
    container = {"name": "db", "image": "centos:7.9.2009", "command": ["python3", "-u", "-c", SERVER]}
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    spec = {
        "serviceName": name,
        "replicas": replicas,
        "podManagementPolicy": "Parallel",
        "selector": {"matchLabels": labels},
        "template": template,
    }
    return json.dumps({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": name}, "spec": spec})


def a_service(name: str, **more: Any) -> str:
    ports = [{"name": "tcp", "port": 9000}, {"name": "http", "port": 8080}]
    spec = {"selector": {"app": "db"}, "ports": ports, **more}
    return json.dumps({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec})


def istio(kind: str, name: str, **spec: Any) -> str:
    meta = {"apiVersion": "networking.istio.io/v1", "kind": kind, "metadata": {"name": name}}
    return json.dumps({**meta, "spec": spec})


@pytest.fixture(scope="module")
def flows(cluster: Cluster) -> Cluster:
    cluster.injected("flows")
    manifests = (stateful_set("db", 2), a_service("db", clusterIP="None"), a_service("front"), TOOLBOX)
    cluster.apply("flows", *manifests)
    cluster.kubectl("rollout", "status", "-n", "flows", "statefulset/db", "--timeout=90s", seconds=100)
    cluster.roll_out("flows", "toolbox")
    return cluster


def heard(cluster: Cluster, host: str, port: int = 9000) -> list[str]:
    """What a server says first, and whether it did at once."""
    script = f"python3 -c '{HEARD}' {host} {port}"
    return cluster.shell("flows", "toolbox", script).rsplit(maxsplit=1)


def test_each_pod_of_a_stateful_set_is_reached_by_its_own_name_over_mutual_tls(flows: Cluster) -> None:
    for number in (0, 1):
        for host in (f"db-{number}.db", f"db-{number}.db.flows.svc.cluster.local"):
            assert eventually(partial(heard, flows, host)) == [f"hello from db-{number}", "True"]
        name, _, identity = flows.shell("flows", "toolbox", f"curl -s db-{number}.db:8080").partition(" ")
        assert name == f"db-{number}"
        assert "URI=spiffe://cluster.local/ns/flows/sa/default" in identity
    stats = ("curl", "-s", "localhost:15000/stats?usedonly&filter=outbound.9000..db.*ssl.handshake")
    found = flows.kubectl("exec", "-n", "flows", "deploy/toolbox", "-c", "istio-proxy", "--", *stats)
    assert int(found.rpartition(":")[2]) >= 4


def test_a_rule_sends_connections_where_it_says_and_kubectl_hears_what_is_wrong_with_it(flows: Cluster) -> None:
    subsets = [{"name": "second", "labels": {"statefulset.kubernetes.io/pod-name": "db-1"}}]
    to_second = [{"match": [{"port": 9000}], "route": [{"destination": {"host": "front", "subset": "second"}}]}]
    flows.apply(
        "flows",
        istio("DestinationRule", "front", host="front", subsets=subsets),
        istio("VirtualService", "front", hosts=["front"], tcp=to_second),
    )
    eventually(lambda: {heard(flows, "front")[0] for _ in range(6)} == {"hello from db-1"})
    wrong = istio("VirtualService", "front", hosts=["front"], tls=[{"route": to_second[0]["route"]}])
    refused = flows.try_kubectl("apply", "-n", "flows", "-f", "-", text=wrong)
    assert refused.returncode != 0
    assert "spec.tls[0].match: there is no match. Add match: [{sniHosts: [...]}]." in refused.stderr
    assert heard(flows, "front")[0] == "hello from db-1"
