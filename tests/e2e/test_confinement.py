"""How agent, Envoy and istiod run: seen from inside their containers, and from other pods."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.manifests import deployment
from tests.support.cluster import Cluster, eventually

LOOK = (Path(__file__).parent / "confined.py").read_text()
NOBODY = "0000000000000000"
ADMIN, LOOPBACK = ":3A98", "0100007F"

# a Service and a VirtualService that would lead to Envoy's own interface
LURE = json.dumps(
    {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "lure"},
        "spec": {
            "selector": {"app": "app"},
            "ports": [
                {"name": "http", "port": 80, "targetPort": 15000},
                {"name": "tcp-admin", "port": 81, "targetPort": 15000},
                {"name": "http-app", "port": 82, "targetPort": 8080},
            ],
        },
    }
)


def reader() -> str:
    """An application of another user that uses the certificate of its sidecar, as Prometheus does."""
    made = json.loads(deployment("reader", "reader", "centos:7.9.2009", command=["sleep", "infinity"]))
    template = made["spec"]["template"]
    template["metadata"]["annotations"] = {
        "proxy.istio.io/config": "proxyMetadata: {OUTPUT_CERTS: /etc/istio-output-certs}",
        "sidecar.istio.io/userVolumeMount": '[{"name": "certs", "mountPath": "/etc/istio-output-certs"}]',
    }
    spec = template["spec"]
    spec["securityContext"] = {"fsGroup": 65534, "runAsUser": 65534}
    spec["volumes"] = [{"name": "certs", "emptyDir": {"medium": "Memory"}}]
    spec["containers"][0]["volumeMounts"] = [{"name": "certs", "mountPath": "/etc/prom-certs"}]
    return json.dumps(made)


READER = reader()


@pytest.fixture(scope="module")
def confined(cluster: Cluster) -> Iterator[Cluster]:
    """A meshed server, a meshed client, and a stranger outside the mesh."""
    cluster.injected("confined")
    cluster.kubectl("create", "ns", "unconfined")
    shell = deployment("shell", "shell", "centos:7.9.2009", command=["sleep", "infinity"])
    app = deployment("app", "app", "python:3.11", command=["python3", "-m", "http.server", "8080"])
    cluster.apply("confined", app, shell, LURE, READER)
    cluster.apply("unconfined", shell)
    cluster.roll_out("confined", "app", "shell", "reader")
    cluster.roll_out("unconfined", "shell")
    yield cluster
    cluster.kubectl("delete", "ns", "confined", "unconfined", "--wait=false")


def look(cluster: Cluster, namespace: str, deployment: str, container: str) -> dict[str, Any]:
    command = ("exec", "-n", namespace, f"deploy/{deployment}", "-c", container, "--", "python3", "-c", LOOK)
    found: dict[str, Any] = json.loads(cluster.kubectl(*command))
    return found


CONTAINERS = [
    ("confined", "app", "istio-proxy", {"python", "envoy"}, ["/etc/istio/proxy"]),
    ("istio-system", "istio-ingressgateway", "istio-proxy", {"python", "envoy"}, ["/etc/istio/proxy"]),
    ("istio-system", "istio-egressgateway", "istio-proxy", {"python", "envoy"}, ["/etc/istio/proxy"]),
    ("istio-system", "istiod", "discovery", {"python"}, []),
]
# nothing of ours is in these: they are where Istio has them, for somebody's own socket or certificates
EMPTY = {
    "/run/secrets/workload-spiffe-uds",
    "/run/secrets/workload-spiffe-credentials",
    "/run/secrets/credential-uds",
    "/var/lib/istio/data",
}


@pytest.mark.parametrize(("namespace", "name", "container", "programs", "memory"), CONTAINERS)
def test_a_part_of_the_mesh_may_do_nothing_that_it_need_not(
    confined: Cluster, namespace: str, name: str, container: str, programs: set[str], memory: list[str]
) -> None:
    seen = look(confined, namespace, name, container)
    assert {each["Name"][0] for each in seen["processes"]} == programs
    for each in seen["processes"]:
        assert set(each["Uid"]) == set(each["Gid"]) == {"1337"}
        assert {each[kind][0] for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {NOBODY}
        assert each["NoNewPrivs"] == ["1"]
        assert set(each["core"]) <= {"0", "1"}
    mounts = seen["mounts"]
    assert mounts["/"]["readonly"]
    assert set(seen["writable"]) - EMPTY == set(memory)
    assert all(mounts[each]["type"] == "tmpfs" for each in memory)
    assert seen["kernel"] == []
    # what is kept of the certificate, for a restart, is in memory and for the proxy's user alone
    assert {(each["mode"], each["owner"]) for each in seen["keys"]} <= {("0o600", 1337)}
    assert all(each["path"].startswith(tuple(memory)) for each in seen["keys"])
    assert seen["low ports"] or "gateway" not in name
    assert all(each == LOOPBACK + ADMIN for each in seen["listening"] if each.endswith(ADMIN))


def reached(cluster: Cluster, namespace: str, url: str) -> str:
    """What a pod is answered, its first bytes at least."""
    return cluster.shell(namespace, "shell", f"curl -s -m 5 --path-as-is '{url}' | head -c 300 || true")


def test_envoys_own_interface_is_reached_from_its_own_pod_only(confined: Cluster) -> None:
    own = confined.kubectl(
        *("exec", "-n", "confined", "deploy/app", "-c", "istio-proxy", "--"),
        *("curl", "-s", "-m", "5", "http://127.0.0.1:15000/server_info"),
    )
    assert '"state": "LIVE"' in own
    (pod,) = confined.objects("pods", "confined", "app=app")
    address = pod["status"]["podIP"]
    eventually(lambda: "Directory listing" in reached(confined, "confined", "http://lure:82/"))
    for namespace in ("confined", "unconfined"):
        for url in (
            f"http://{address}:15000/server_info",
            "http://lure.confined/server_info",
            "http://lure.confined:81/server_info",
            f"http://{address}:15090/stats/prometheus/../../server_info",
            f"http://{address}:15090/stats/prometheus%2f..%2f..%2fserver_info",
            f"http://{address}:15090/stats/prometheus\\..\\..\\server_info",
            f"http://{address}:15090/stats/prometheus/%2e%2e/%2e%2e/server_info",
            f"http://{address}:15021/healthz/ready/../../server_info",
            f"http://{address}:15020/../server_info",
        ):
            assert "LIVE" not in reached(confined, namespace, url), url


def test_an_application_may_have_its_sidecars_certificate_and_nobody_else(confined: Cluster) -> None:
    modes, names = "stat -c '%n %a %u %g' *.pem", "openssl x509 -noout -ext subjectAltName -in cert-chain.pem"
    shown = confined.shell("confined", "reader", f"cd /etc/prom-certs && {modes} && {names}")
    assert shown.splitlines()[:3] == [
        "cert-chain.pem 640 1337 65534",
        "key.pem 640 1337 65534",
        "root-cert.pem 640 1337 65534",
    ]
    assert "URI:spiffe://cluster.local/ns/confined/sa/default" in shown
    assert "BEGIN PRIVATE KEY" in confined.shell("confined", "reader", "head -1 /etc/prom-certs/key.pem")
