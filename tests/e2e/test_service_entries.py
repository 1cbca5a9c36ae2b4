"""Servers outside the cluster, reached through the mesh: a host of somebody else's, and a virtual machine."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from tests.e2e.manifests import TOOLBOX, deployment
from tests.support.cluster import Cluster, eventually

NAMESPACE = "entries"
OUTSIDE, MACHINE = 18080, 18081
ANSWER = """
import http.server, sys
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = (sys.argv[2] + " for " + self.headers["host"] + "\\n").encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.ThreadingHTTPServer(("0.0.0.0", int(sys.argv[1])), Answer).serve_forever()
"""


def entry(name: str, **spec: Any) -> str:
    meta = {"name": name}
    return json.dumps(
        {"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry", "metadata": meta, "spec": spec}
    )


def address_of(cluster: Cluster) -> str:
    """The address at which pods reach the machine that the cluster runs on."""
    subsets = json.loads(cluster.kubectl("get", "endpoints", "kubernetes", "-o", "json"))["subsets"]
    return str(subsets[0]["addresses"][0]["ip"])


@pytest.fixture(scope="module")
def entries(cluster: Cluster) -> Iterator[Cluster]:
    """A meshed pod whose proxy answers DNS queries, another whose does not, and two servers that are no pods."""
    with ExitStack() as stack:
        for port, name in ((OUTSIDE, "outside"), (MACHINE, "vm")):
            command = ["nsenter", f"--net=/run/netns/{cluster.namespace}", sys.executable, "-c", ANSWER]
            server = subprocess.Popen([*command, str(port), name], stderr=subprocess.DEVNULL)
            stack.callback(server.wait, 10)
            stack.callback(server.terminate)
        cluster.injected(NAMESPACE)
        asking = json.loads(deployment("asking", "asking", "centos:7.9.2009", command=["tail", "-f", "/dev/null"]))
        asking["spec"]["template"]["metadata"]["annotations"] = {
            "proxy.istio.io/config": 'proxyMetadata: {ISTIO_META_DNS_CAPTURE: "true"}'
        }
        cluster.apply(NAMESPACE, TOOLBOX, json.dumps(asking))
        outside = {"address": address_of(cluster), "ports": {"http": OUTSIDE}}
        cluster.apply(
            NAMESPACE,
            entry(
                "outside",
                hosts=["outside.example.com"],
                location="MESH_EXTERNAL",
                resolution="STATIC",
                ports=[{"number": 80, "name": "http", "protocol": "HTTP"}],
                endpoints=[outside],
            ),
        )
        cluster.roll_out(NAMESPACE, "toolbox", "asking")
        yield cluster


def allocated(cluster: Cluster, name: str) -> list[str]:
    found = json.loads(cluster.kubectl("get", "serviceentry", "-n", NAMESPACE, name, "-o", "json"))
    return [each["value"] for each in (found.get("status") or {}).get("addresses", [])]


def test_kubectl_lists_entries_with_istios_columns(entries: Cluster) -> None:
    table = entries.kubectl("get", "se", "-n", NAMESPACE).splitlines()
    assert table[0].split() == ["NAME", "HOSTS", "LOCATION", "RESOLUTION", "AGE"]
    assert table[1].split()[:4] == ["outside", '["outside.example.com"]', "MESH_EXTERNAL", "STATIC"]


def test_a_host_without_addresses_is_given_some_and_keeps_them(entries: Cluster) -> None:
    first = eventually(lambda: allocated(entries, "outside"))
    assert first[0].startswith("240.240.")
    assert first[1].startswith("2001:2:")
    entries.kubectl("annotate", "se", "-n", NAMESPACE, "outside", "touched=yes")
    assert allocated(entries, "outside") == first


def test_a_pod_reaches_the_host_by_its_name_alone(entries: Cluster) -> None:
    def answered() -> bool:
        answer = entries.shell(NAMESPACE, "asking", "curl -s -m 5 http://outside.example.com/ || true")
        return answer == "outside for outside.example.com\n"

    assert eventually(answered)


def test_a_pod_with_another_dns_reaches_it_by_the_name_that_it_asks_for(entries: Cluster) -> None:
    script = "curl -s -m 5 --resolve outside.example.com:80:10.1.2.3 http://outside.example.com/ || true"
    assert eventually(lambda: entries.shell(NAMESPACE, "toolbox", script) == "outside for outside.example.com\n")


def test_a_machine_joins_a_service_and_leaves_it(entries: Cluster) -> None:
    spec = {"address": address_of(entries), "labels": {"app": "vm"}, "ports": {"http": MACHINE}}
    machine = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "WorkloadEntry",
        "metadata": {"name": "vm-1"},
        "spec": spec,
    }
    kubernetes = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "machines"},
        "spec": {"selector": {"app": "vm"}, "ports": [{"name": "http", "port": 80}]},
    }
    entries.apply(
        NAMESPACE,
        json.dumps(machine),
        json.dumps(kubernetes),
        entry(
            "vms",
            hosts=["vm.example.com"],
            location="MESH_INTERNAL",
            resolution="STATIC",
            ports=[{"number": 80, "name": "http", "protocol": "HTTP"}],
            workloadSelector={"labels": {"app": "vm"}},
        ),
    )
    by_name = "curl -s -m 5 http://vm.example.com/ || true"
    assert eventually(lambda: entries.shell(NAMESPACE, "asking", by_name) == "vm for vm.example.com\n")
    by_service = "curl -s -m 5 http://machines/ || true"
    assert eventually(lambda: entries.shell(NAMESPACE, "toolbox", by_service) == "vm for machines\n")
    row = entries.kubectl("get", "we", "-n", NAMESPACE, "--no-headers").split()
    assert (row[0], row[2]) == ("vm-1", address_of(entries))
    ill = {"status": {"conditions": [{"type": "Healthy", "status": "False"}]}}
    entries.kubectl(
        "patch", "we", "-n", NAMESPACE, "vm-1", "--subresource=status", "--type=merge", "-p", json.dumps(ill)
    )
    code = "curl -s -m 5 -o /dev/null -w '%{http_code}' http://machines/ || true"
    assert eventually(lambda: entries.shell(NAMESPACE, "toolbox", code) == "503")


def test_a_mistake_is_refused_with_its_field_and_a_doubtful_entry_is_warned_of(entries: Cluster) -> None:
    port = {"number": 5432, "name": "tcp", "protocol": "TCP"}
    wrong = entry("wrong", hosts=["*.example.com"], resolution="DNS", ports=[port])
    done = entries.try_kubectl("apply", "-n", NAMESPACE, "-f", "-", text=wrong)
    assert done.returncode != 0
    assert "spec.hosts[0]" in done.stderr
    doubtful = entry("doubtful", hosts=["*.example.org"], resolution="NONE", ports=[port])
    done = entries.try_kubectl("apply", "-n", NAMESPACE, "-f", "-", text=doubtful)
    assert done.returncode == 0
    assert "IST0134" in done.stderr


class Machine:
    """A proxy on a virtual machine that asks to be registered with a group."""

    def __init__(self, cluster: Cluster, account: str, group: str) -> None:
        token = cluster.kubectl("create", "token", "-n", NAMESPACE, account, "--audience", "istio-ca").strip()
        root = json.loads(cluster.kubectl("get", "cm", "-n", NAMESPACE, "istio-ca-root-cert", "-o", "json"))
        istiod = cluster.kubectl("get", "svc", "-n", "istio-system", "istiod", "-o", "jsonpath={.spec.clusterIP}")
        metadata = {
            "AUTO_REGISTER_GROUP": group,
            "NAMESPACE": NAMESPACE,
            "SERVICE_ACCOUNT": account,
            "LABELS": {"rack": "7"},
            "root": root["data"]["root-cert.pem"],
            "token": token,
        }
        node = f"sidecar~192.0.2.44~vm.{NAMESPACE}~{NAMESPACE}.svc.cluster.local"
        command = [
            "nsenter",
            f"--net=/run/netns/{cluster.namespace}",
            sys.executable,
            "-m",
            "tests.support.workload",
        ]
        self.process = subprocess.Popen(
            [*command, f"{istiod}:15012", node, json.dumps(metadata)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def report(self, trouble: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{trouble}\n")
        self.process.stdin.flush()

    def first_line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def end(self) -> None:
        self.process.terminate()
        self.process.communicate(timeout=10)


GROUP = """
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: vms}
spec:
  metadata: {labels: {app: registered}, annotations: {note: kept}}
  template: {serviceAccount: vm, ports: {http: 8080}}
  probe: {httpGet: {path: /ready, port: 8080}}
"""
REGISTERED = "vms-192.0.2.44"


def status_of(cluster: Cluster) -> str:
    found = cluster.kubectl("get", "we", "-n", NAMESPACE, REGISTERED, "-o", "json")
    conditions = (json.loads(found).get("status") or {}).get("conditions", [])
    return ", ".join(f"{each['type']}={each['status']}" for each in conditions)


def test_a_machine_registers_itself_reports_its_health_and_is_forgotten_when_it_is_gone(entries: Cluster) -> None:
    entries.apply(NAMESPACE, GROUP)
    for account in ("vm", "thief"):
        entries.kubectl("create", "serviceaccount", "-n", NAMESPACE, account)
    thief = Machine(entries, "thief", "vms")
    try:
        assert "PERMISSION_DENIED" in thief.first_line()
    finally:
        thief.end()
    machine = Machine(entries, "vm", "vms")
    try:
        assert machine.first_line().startswith("got ")
        made = json.loads(entries.kubectl("get", "we", "-n", NAMESPACE, REGISTERED, "-o", "json"))
        assert made["metadata"]["annotations"]["istio.io/autoRegistrationGroup"] == "vms"
        assert made["metadata"]["annotations"]["note"] == "kept"
        assert made["metadata"]["labels"] == {"app": "registered", "rack": "7"}
        assert made["spec"]["address"] == "192.0.2.44"
        assert made["spec"]["serviceAccount"] == "vm"
        machine.report("")
        assert eventually(lambda: status_of(entries) == "Healthy=True")
        machine.report("connection refused")
        assert eventually(lambda: status_of(entries) == "Healthy=False")
    finally:
        machine.end()
    assert eventually(lambda: entries.try_kubectl("get", "we", "-n", NAMESPACE, REGISTERED).returncode != 0)
