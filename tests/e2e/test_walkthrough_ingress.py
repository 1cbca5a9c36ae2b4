"""The walkthrough's chapter about the ingress gateway: a page by its host name, and below a path of its own."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.manifests import deployment, service
from tests.support.cluster import Cluster, eventually

HOST = "simple.zhongmingmao.io"
GATEWAY = {
    "apiVersion": "networking.istio.io/v1beta1",
    "kind": "Gateway",
    "metadata": {"name": "simple"},
    "spec": {
        "selector": {"istio": "ingressgateway"},
        "servers": [{"hosts": [HOST], "port": {"name": "http-simple", "number": 80, "protocol": "HTTP"}}],
    },
}


def routed(**rule: Any) -> str:
    """The chapter's VirtualService, with what one of its two versions says of a request."""
    target = {"destination": {"host": "simple.simple.svc.cluster.local", "port": {"number": 80}}}
    return json.dumps(
        {
            "apiVersion": "networking.istio.io/v1beta1",
            "kind": "VirtualService",
            "metadata": {"name": "simple"},
            "spec": {"gateways": ["simple"], "hosts": [HOST], "http": [{**rule, "route": [target]}]},
        }
    )


@pytest.fixture(scope="module")
def simple(cluster: Cluster) -> Cluster:
    """The page, in a namespace without sidecars as in the chapter, and the gateway that leads to it."""
    cluster.kubectl("create", "ns", "simple")
    cluster.apply("simple", deployment("simple", "simple", "nginx:1.25.3"), service("simple", "simple"))
    cluster.roll_out("simple", "simple")
    cluster.roll_out("istio-system", "istio-ingressgateway", "istio-egressgateway")
    printed = cluster.apply("simple", routed(match=[{"port": 80}]), json.dumps(GATEWAY))
    assert printed.splitlines() == [
        "virtualservice.networking.istio.io/simple created",
        "gateway.networking.istio.io/simple created",
    ]
    return cluster


def address(cluster: Cluster, name: str = "istio-ingressgateway", namespace: str = "istio-system") -> str:
    return cluster.kubectl("get", "svc", "-n", namespace, name, "-o", "jsonpath={.spec.clusterIP}")


def ask(cluster: Cluster, path: str = "", *options: str) -> list[str]:
    """The lines of the answer's head, as `curl -sI` shows them."""
    done = cluster.inside("curl", "-sI", "-m", "5", *options, f"{address(cluster)}{path}")
    return [line.strip() for line in done.stdout.splitlines()]


def head(lines: list[str]) -> tuple[str, dict[str, str]]:
    return lines[0], dict(line.split(": ", 1) for line in lines[1:] if line)


def test_the_gateways_are_there_as_the_chapter_lists_them(simple: Cluster) -> None:
    rows = {row.split()[0]: row.split() for row in simple.kubectl("get", "svc", "-n", "istio-system").splitlines()}
    name, kind, cluster_ip, _, ports, _ = rows["istio-ingressgateway"]
    assert (name, kind) == ("istio-ingressgateway", "LoadBalancer")
    numbers = [port.partition("/")[0].partition(":") for port in ports.split(",")]
    assert [number for number, _, _ in numbers] == ["15021", "80", "443", "31400", "15443"]
    assert all(30000 <= int(node_port) < 32768 for _, _, node_port in numbers)
    assert rows["istio-egressgateway"][1] == "ClusterIP"
    assert rows["istio-egressgateway"][3:5] == ["<none>", "80/TCP,443/TCP"]
    assert rows["istiod"][4] == "15010/TCP,15012/TCP,443/TCP,15014/TCP"
    labels = simple.kubectl("get", "po", "-n", "istio-system", "--show-labels", "--no-headers")
    (row,) = (line for line in labels.splitlines() if line.startswith("istio-ingressgateway-"))
    shown = set(row.split()[-1].split(","))
    assert {"app=istio-ingressgateway", "chart=gateways", "istio=ingressgateway", "release=istio"} <= shown
    assert "sidecar.istio.io/inject=false" in shown
    described = simple.kubectl("describe", "svc", "-n", "istio-system", "istio-ingressgateway")
    pod_ip = simple.kubectl(
        "get", "po", "-n", "istio-system", "-l", "istio=ingressgateway", "-o", "jsonpath={.items[0].status.podIP}"
    )
    assert f"{pod_ip}:15443" in described
    assert cluster_ip == address(simple)


def test_without_the_host_there_is_nothing_and_with_it_the_page(simple: Cluster) -> None:
    assert eventually(lambda: ask(simple, "", "-H", f"host: {HOST}")[0] == "HTTP/1.1 200 OK")
    line, headers = head(ask(simple))
    assert line == "HTTP/1.1 404 Not Found"
    assert headers["server"] == "istio-envoy"
    line, headers = head(ask(simple, "", "-H", f"host: {HOST}"))
    assert line == "HTTP/1.1 200 OK"
    assert headers["server"] == "istio-envoy"
    assert headers["content-type"] == "text/html"
    assert int(headers["x-envoy-upstream-service-time"]) >= 0
    assert {"etag", "last-modified", "accept-ranges", "content-length"} <= set(headers)


def test_the_gateways_configuration_shows_like_a_sidecars(simple: Cluster) -> None:
    pod = simple.pod("istio-system", "istio-ingressgateway")
    eventually(lambda: ask(simple, "", "-H", f"host: {HOST}")[0] == "HTTP/1.1 200 OK")
    listeners = simple.weft("proxy-config", "listener", f"{pod}.istio-system").stdout.splitlines()
    rows = [" ".join(line.split()) for line in listeners]
    assert rows[0] == "ADDRESSES PORT MATCH DESTINATION"
    assert "0.0.0.0 8080 ALL Route: http.8080" in rows
    assert "0.0.0.0 15021 ALL Inline Route: /healthz/ready*" in rows
    assert "0.0.0.0 15090 ALL Inline Route: /stats/prometheus*" in rows
    routes = simple.weft("proxy-config", "route", f"{pod}.istio-system", "--name", "http.8080").stdout
    assert any(line.split()[-1] == "simple.simple" for line in routes.splitlines()[1:]), routes
    clusters = simple.weft("proxy-config", "cluster", f"{pod}.istio-system", "--port", "80").stdout
    assert "simple.simple.svc.cluster.local" in clusters
    status = simple.weft("proxy-status").stdout
    for app in ("istio-ingressgateway", "istio-egressgateway"):
        name = simple.pod("istio-system", app)
        (row,) = (line.split() for line in status.splitlines() if line.startswith(f"{name}.istio-system"))
        assert row[1:5] == ["Kubernetes", "SYNCED", "SYNCED", "SYNCED"], status


def test_weft_status_counts_the_gateways(simple: Cluster) -> None:
    done = simple.weft("status", "--home", str(simple.home))
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["istio-ingressgateway", "1/1", "available"] in rows
    assert ["istio-egressgateway", "1/1", "available"] in rows


def test_a_path_of_its_own_is_rewritten_and_the_others_are_gone(simple: Cluster) -> None:
    printed = simple.apply(
        "simple", routed(match=[{"uri": {"prefix": "/nginx"}}], rewrite={"uri": "/"}), json.dumps(GATEWAY)
    )
    assert printed.splitlines() == [
        "virtualservice.networking.istio.io/simple configured",
        "gateway.networking.istio.io/simple unchanged",
    ]
    assert eventually(lambda: ask(simple, "", "-H", f"host: {HOST}")[0] == "HTTP/1.1 404 Not Found")
    line, headers = head(ask(simple, "/nginx", "-H", f"host: {HOST}"))
    assert line == "HTTP/1.1 200 OK"
    assert headers["content-type"] == "text/html"
    page = simple.inside("curl", "-s", "-m", "5", "-H", f"host: {HOST}", f"{address(simple)}/nginx").stdout
    assert "nginx answers" in page


INGRESS_CLASS = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "IngressClass",
    "metadata": {"name": "istio"},
    "spec": {"controller": "istio.io/ingress-controller"},
}


def ingress(host: str, *paths: dict[str, Any], **spec: Any) -> str:
    rules = [{"host": host, "http": {"paths": list(paths)}}]
    head = {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "simple"}}
    return json.dumps(head | {"spec": {"ingressClassName": "istio", "rules": rules, **spec}})


def test_an_ingress_leads_to_the_page_and_is_told_where_it_is_served(simple: Cluster) -> None:
    host = "ingress.zhongmingmao.io"
    backend = {"service": {"name": "simple", "port": {"name": "http"}}}
    paths = {"path": "/50x.html", "pathType": "Exact", "backend": backend}
    simple.kubectl("apply", "-f", "-", text=json.dumps(INGRESS_CLASS))
    simple.apply("simple", ingress(host, paths))
    try:
        assert eventually(lambda: ask(simple, "/50x.html", "-H", f"host: {host}")[0] == "HTTP/1.1 200 OK")
        assert ask(simple, "/", "-H", f"host: {host}")[0] == "HTTP/1.1 404 Not Found"
        balancer = "jsonpath={.status.loadBalancer.ingress[*].ip}"
        given = simple.kubectl("get", "svc", "-n", "istio-system", "istio-ingressgateway", "-o", balancer)
        assert given, "the cluster gives the gateway's Service an address"
        assert eventually(
            lambda: simple.kubectl("get", "ingress", "-n", "simple", "simple", "-o", balancer) == given
        )
        row = simple.kubectl("get", "ingress", "-n", "simple", "simple", "--no-headers").split()
        assert row[:4] == ["simple", "istio", host, given]
        nobody = {**paths, "backend": {"service": {"name": "nobody", "port": {"number": 80}}}}
        simple.apply("simple", ingress(host, nobody))
        assert eventually(lambda: ask(simple, "/50x.html", "-H", f"host: {host}")[0].startswith("HTTP/1.1 503"))

        def described() -> str:
            return simple.kubectl("describe", "ingress", "-n", "simple", "simple")

        assert eventually(lambda: 'host not found "nobody' in described())
    finally:
        simple.kubectl("delete", "ingress", "-n", "simple", "simple")
    assert eventually(lambda: ask(simple, "/50x.html", "-H", f"host: {host}")[0] == "HTTP/1.1 404 Not Found")


def test_a_gateway_that_is_replaced_under_load_loses_no_request(simple: Cluster) -> None:
    simple.apply("simple", routed(), json.dumps(GATEWAY))
    assert eventually(lambda: ask(simple, "", "-H", f"host: {HOST}")[0] == "HTTP/1.1 200 OK")
    inside = ("nsenter", f"--net=/run/netns/{simple.namespace}", sys.executable)
    words = [*inside, str(Path(__file__).parent / "load.py"), f"http://{address(simple)}/", "9", HOST]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as load:
        time.sleep(1)
        before = simple.pod("istio-system", "istio-ingressgateway")
        simple.kubectl("rollout", "restart", "-n", "istio-system", "deploy/istio-ingressgateway")
        simple.roll_out("istio-system", "istio-ingressgateway")
        out, _ = load.communicate(timeout=60)
    assert json.loads(out)["seen"] == {"200": 450}
    assert eventually(lambda: simple.pod("istio-system", "istio-ingressgateway") != before)
