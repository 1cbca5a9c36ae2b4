"""What a proxy gets to see, and the mesh's settings, changed while everything runs."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from tests.e2e.manifests import NGINX, TOOLBOX, service
from tests.support.cluster import Cluster, eventually

CODE = "curl -s -m 5 -o /dev/null -w '%{http_code}'"


def settings(cluster: Cluster) -> dict[str, Any]:
    text = cluster.kubectl("get", "cm", "istio", "-n", "istio-system", "-o", "jsonpath={.data.mesh}")
    found: dict[str, Any] = yaml.safe_load(text)
    return found


def configure(cluster: Cluster, mesh: dict[str, Any]) -> None:
    patch = json.dumps({"data": {"mesh": yaml.safe_dump(mesh)}})
    cluster.kubectl("patch", "cm", "istio", "-n", "istio-system", "--type=merge", "-p", patch)


@pytest.fixture(scope="module")
def scoped(cluster: Cluster) -> Iterator[Cluster]:
    """A service and its caller in the mesh, and a pod outside of which no Service knows."""
    cluster.injected("scoped")
    cluster.kubectl("create", "ns", "unknown")
    cluster.apply("scoped", NGINX, service("web", "nginx"), TOOLBOX)
    cluster.apply("unknown", NGINX)
    cluster.roll_out("scoped", "nginx-deployment", "toolbox")
    cluster.roll_out("unknown", "nginx-deployment")
    before = settings(cluster)
    yield cluster
    configure(cluster, before)
    cluster.kubectl("delete", "ns", "scoped", "unknown", "--wait=false")


def outside(cluster: Cluster) -> str:
    [pod] = cluster.objects("pods", "unknown", "app=nginx")
    return str(pod["status"]["podIP"])


def clusters(cluster: Cluster) -> set[str]:
    done = cluster.weft("proxy-config", "cluster", "deploy/toolbox.scoped")
    assert done.returncode == 0, done.stderr
    return {line.split()[0] for line in done.stdout.splitlines()[1:]}


def test_addresses_that_the_registry_does_not_know_are_refused_and_let_through_live(scoped: Cluster) -> None:
    mesh, address = settings(scoped), outside(scoped)
    ask = f"{CODE} {address}; {CODE} web"
    assert scoped.shell("scoped", "toolbox", ask) == "200200"
    configure(scoped, mesh | {"outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"}})
    eventually(lambda: scoped.shell("scoped", "toolbox", ask) == "502200")
    # a version that is wrong changes nothing, and is told of where people look
    configure(scoped, mesh | {"outboundTrafficPolicy": {"mode": "ALLOW_ANY"}, "connectTimeout": "soon"})
    eventually(lambda: "connectTimeout" in scoped.kubectl("get", "events", "-n", "istio-system"), seconds=20)
    assert scoped.shell("scoped", "toolbox", ask) == "502200"
    configure(scoped, mesh)
    eventually(lambda: scoped.shell("scoped", "toolbox", ask) == "200200")


def test_requests_are_logged_once_the_settings_say_so(scoped: Cluster) -> None:
    mesh = settings(scoped)
    configure(scoped, mesh | {"accessLogFile": "/dev/stdout"})

    def logged(*wanted: str) -> bool:
        scoped.shell("scoped", "toolbox", f"{CODE} web/some-page")
        lines = scoped.kubectl("logs", "-n", "scoped", "deploy/toolbox", "-c", "istio-proxy", "--tail=20")
        return all(each in lines for each in wanted)

    eventually(lambda: logged('"GET /some-page HTTP/1.1" 404', "outbound|80||web.scoped.svc.cluster.local"))
    configure(scoped, mesh | {"accessLogFile": "/dev/stdout", "accessLogEncoding": "JSON"})
    eventually(lambda: logged('"path":"/some-page"', '"response_code":404'))
    configure(scoped, mesh)


def test_a_sidecar_leaves_a_proxy_what_it_lists(scoped: Cluster) -> None:
    everything = clusters(scoped)
    assert {"kube-dns.kube-system.svc.cluster.local", "web.scoped.svc.cluster.local"} <= everything
    spec = {"egress": [{"hosts": ["./*", "istio-system/istiod.istio-system.svc.cluster.local"]}]}
    sidecar = {"apiVersion": "networking.istio.io/v1", "kind": "Sidecar", "metadata": {"name": "default"}}
    scoped.apply("scoped", json.dumps(sidecar | {"spec": spec}))
    eventually(lambda: "kube-dns.kube-system.svc.cluster.local" not in clusters(scoped))
    listed = {name for name in clusters(scoped) if name.endswith(".svc.cluster.local")}
    assert listed == {"web.scoped.svc.cluster.local", "istiod.istio-system.svc.cluster.local"}
    assert scoped.shell("scoped", "toolbox", f"{CODE} web") == "200"
    scoped.kubectl("delete", "sidecar", "default", "-n", "scoped")
    eventually(lambda: clusters(scoped) == everything)


def test_a_workload_serves_the_ports_that_its_sidecar_names(scoped: Cluster) -> None:
    port = {"name": "http", "port": 8080, "targetPort": 8080}
    other = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "other"}}
    scoped.apply("scoped", json.dumps(other | {"spec": {"ports": [port], "selector": {"app": "nginx"}}}))
    # nothing listens at 8080 in the pod
    eventually(lambda: scoped.shell("scoped", "toolbox", f"{CODE} other:8080") == "503")
    ingress = {"port": {"number": 8080, "protocol": "HTTP", "name": "http"}, "defaultEndpoint": "127.0.0.1:80"}
    spec = {"workloadSelector": {"labels": {"app": "nginx"}}, "ingress": [ingress]}
    sidecar = {"apiVersion": "networking.istio.io/v1", "kind": "Sidecar", "metadata": {"name": "nginx"}}
    scoped.apply("scoped", json.dumps(sidecar | {"spec": spec}))
    eventually(lambda: scoped.shell("scoped", "toolbox", f"{CODE} other:8080") == "200")
    spec["ingress"] = [ingress | {"defaultEndpoint": "0.0.0.0:80"}]
    scoped.apply("scoped", json.dumps(sidecar | {"spec": spec}))
    assert scoped.shell("scoped", "toolbox", f"{CODE} other:8080") == "200"
    scoped.kubectl("delete", "sidecar", "nginx", "-n", "scoped")
    eventually(lambda: scoped.shell("scoped", "toolbox", f"{CODE} web") == "200")
