"""Pods with settings of their own: names through the proxy, and an Envoy as they asked for."""

import json
from functools import partial
from typing import Any

import pytest
from tests.e2e.manifests import deployment, service
from tests.support.cluster import Cluster, eventually

NAMESPACE = "proxies"
SETTINGS = """
drainDuration: 7s
terminationDrainDuration: 2s
statusPort: 15520
proxyAdminPort: 15600
holdApplicationUntilProxyStarts: true
runtimeValues: {weft.test: "42"}
proxyMetadata: {ISTIO_META_DNS_CAPTURE: "true", ISTIO_META_DNS_AUTO_ALLOCATE: "true"}
"""
FOR_CLIENTS = """
apiVersion: networking.istio.io/v1beta1
kind: ProxyConfig
metadata: {name: clients}
spec:
  selector: {matchLabels: {app: client}}
  concurrency: 1
  environmentVariables: {ISTIO_META_NOTE: from-a-proxyconfig}
"""
BOOKS = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: books}
spec:
  hosts: [books.example.test]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  workloadSelector: {labels: {app: web}}
"""


@pytest.fixture(scope="module")
def proxies(cluster: Cluster) -> Cluster:
    """A client with settings, a web server, and a host that only the mesh knows."""
    cluster.injected(NAMESPACE)
    cluster.apply(NAMESPACE, FOR_CLIENTS, BOOKS, deployment("web", "web", "nginx:1.25.3"), service("web", "web"))

    def known() -> bool:
        # istiod reads a ProxyConfig on its own time, and pods get what it knows when they start
        problems = cluster.kubectl("get", "proxyconfig", "-n", NAMESPACE, "clients", "-o", "name")
        return bool(problems)

    eventually(known)
    client = json.loads(deployment("client", "client", "centos:7.9.2009", command=["tail", "-f", "/dev/null"]))
    # a container beside the application, since it is told to hold that
    client["spec"]["template"]["metadata"]["annotations"] = {
        "proxy.istio.io/config": SETTINGS,
        "sidecar.istio.io/nativeSidecar": "false",
    }
    cluster.apply(NAMESPACE, json.dumps(client))
    cluster.roll_out(NAMESPACE, "web", "client")
    return cluster


def asked(cluster: Cluster, name: str) -> list[str]:
    """The addresses that the client's own resolver finds; nothing where it finds none."""
    script = f"getent ahostsv4 {name} | awk '{{print $1}}' | sort -u"
    return cluster.shell(NAMESPACE, "client", script).split()


def test_a_host_that_only_the_mesh_knows_is_found_and_reached(proxies: Cluster) -> None:
    [address] = eventually(lambda: asked(proxies, "books.example.test"))
    assert address.startswith("240.240.")
    page = proxies.shell(NAMESPACE, "client", "curl -s -m 10 http://books.example.test/")
    assert "nginx answers" in page
    headers = proxies.shell(NAMESPACE, "client", "curl -sI -m 10 http://books.example.test/")
    assert "server: envoy" in headers.lower()


def test_names_of_the_cluster_are_found_as_before(proxies: Cluster) -> None:
    [web] = proxies.objects("services", NAMESPACE, "")
    for name in ("web", f"web.{NAMESPACE}", f"web.{NAMESPACE}.svc.cluster.local"):
        assert asked(proxies, name) == [web["spec"]["clusterIP"]]
    # the mesh's table has no names of pods: cluster DNS is asked
    [pod] = proxies.objects("pods", NAMESPACE, "app=web")
    address = pod["status"]["podIP"]
    assert asked(proxies, f"{address.replace('.', '-')}.{NAMESPACE}.pod.cluster.local") == [address]
    assert asked(proxies, "nobody.example.test") == []


def admin(cluster: Cluster, path: str) -> Any:
    command = ["exec", "-n", NAMESPACE, "deploy/client", "-c", "istio-proxy", "--"]
    return json.loads(cluster.kubectl(*command, "curl", "-s", f"127.0.0.1:15600{path}"))


def test_envoy_is_as_the_annotation_and_the_proxyconfig_say(proxies: Cluster) -> None:
    info = admin(proxies, "/server_info")
    options = info["command_line_options"]
    assert (options["concurrency"], options["drain_time"]) == (1, "7s")
    assert info["node"]["metadata"]["NOTE"] == "from-a-proxyconfig"
    assert admin(proxies, "/runtime")["entries"]["weft.test"]["final_value"] == "42"
    assert proxies.shell(
        NAMESPACE, "client", "curl -s -o /dev/null -w '%{http_code}' 127.0.0.1:15520/healthz/ready"
    ) == ("200")


def test_the_application_started_once_its_proxy_served(proxies: Cluster) -> None:
    [pod] = proxies.objects("pods", NAMESPACE, "app=client")
    assert [one["name"] for one in pod["spec"]["containers"]] == ["istio-proxy", "client"]
    started = {one["name"]: one["state"]["running"]["startedAt"] for one in pod["status"]["containerStatuses"]}
    assert started["istio-proxy"] <= started["client"]


def test_a_setting_that_cannot_be_is_refused_where_it_is_written(proxies: Cluster) -> None:
    wrong = FOR_CLIENTS.replace("concurrency: 1", "concurrency: -1").replace("name: clients", "name: wrong")
    done = proxies.try_kubectl("apply", "-n", NAMESPACE, "-f", "-", text=wrong)
    assert done.returncode != 0
    assert "spec.concurrency" in done.stderr
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "wrong", "annotations": {"proxy.istio.io/config": "drainDuration: soon"}},
        "spec": {"containers": [{"name": "app", "image": "centos:7.9.2009"}]},
    }
    done = proxies.try_kubectl("apply", "-n", NAMESPACE, "-f", "-", text=json.dumps(pod))
    assert done.returncode != 0
    assert "annotation proxy.istio.io/config: drainDuration: " in done.stderr


def test_an_init_container_calls_a_service_of_the_mesh_and_a_job_ends(proxies: Cluster) -> None:
    fetch = "curl -sI -m 10 http://books.example.test/ | tr -d '\\r' | grep -i '^server:'"
    pod = {
        "metadata": {
            "annotations": {"proxy.istio.io/config": 'proxyMetadata: {ISTIO_META_DNS_CAPTURE: "true"}'},
        },
        "spec": {
            "restartPolicy": "Never",
            "initContainers": [{"name": "first", "image": "centos:7.9.2009", "command": ["sh", "-c", fetch]}],
            "containers": [{"name": "app", "image": "centos:7.9.2009", "command": ["sh", "-c", fetch]}],
        },
    }
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "once"}, "spec": {"template": pod}}
    proxies.apply(NAMESPACE, json.dumps(job))

    def completed() -> bool:
        return proxies.kubectl("get", "job", "-n", NAMESPACE, "once", "-o", "jsonpath={.status.succeeded}") == "1"

    eventually(completed, seconds=60)
    for container in ("first", "app"):
        assert proxies.kubectl("logs", "-n", NAMESPACE, "job/once", "-c", container).lower() == "server: envoy\n"


def test_without_interception_the_application_dials_its_proxy(proxies: Cluster) -> None:
    dialler = json.loads(deployment("dialler", "dialler", "centos:7.9.2009", command=["tail", "-f", "/dev/null"]))
    template = dialler["spec"]["template"]
    template["metadata"]["annotations"] = {"proxy.istio.io/config": "interceptionMode: NONE"}
    proxies.apply(NAMESPACE, json.dumps(dialler))
    proxies.roll_out(NAMESPACE, "dialler")
    through = proxies.shell(NAMESPACE, "dialler", f"curl -sI -m 10 -H 'Host: web.{NAMESPACE}' http://127.0.0.1/")
    assert "server: envoy" in through.lower()
    past = proxies.shell(NAMESPACE, "dialler", f"curl -sI -m 10 http://web.{NAMESPACE}/")
    assert "server: envoy" not in past.lower(), "the client's own proxy has not seen it"


def test_an_application_behind_a_transparent_proxy_sees_its_callers_addresses(proxies: Cluster) -> None:
    name = "seen"
    seen = json.loads(deployment(name, name, "nginx:1.25.3"))
    seen["spec"]["template"]["metadata"]["annotations"] = {"sidecar.istio.io/interceptionMode": "TPROXY"}
    proxies.apply(NAMESPACE, json.dumps(seen), service(name, name))
    proxies.roll_out(NAMESPACE, name)
    address = {
        app: proxies.kubectl(
            "get", "pod", "-n", NAMESPACE, proxies.pod(NAMESPACE, app), "-o", "jsonpath={.status.podIP}"
        )
        for app in ("client", name)
    }

    def asks(app: str) -> bool:
        answer = proxies.shell(NAMESPACE, app, f"curl -sI -m 10 http://{name}.{NAMESPACE}/?by-{app}")
        return "200 OK" in answer and "server: envoy" in answer.lower()

    def callers(app: str) -> set[str]:
        log = proxies.kubectl("logs", "-n", NAMESPACE, proxies.pod(NAMESPACE, name), "-c", name)
        return {line.split()[0] for line in log.splitlines() if f'"HEAD /?by-{app} ' in line}

    # by its own service it comes in through its proxy as well, from loopback
    for app in ("client", name):
        eventually(partial(asks, app), seconds=60)
        assert eventually(partial(callers, app)) == {address[app]}


def test_names_outlive_istiod(proxies: Cluster) -> None:
    proxies.kubectl("scale", "-n", "istio-system", "deploy/istiod", "--replicas=0")
    try:
        proxies.kubectl(
            "wait", "-n", "istio-system", "pod", "-l", "app=istiod", "--for=delete", "--timeout=60s", seconds=70
        )
        assert asked(proxies, "books.example.test")[0].startswith("240.240.")
    finally:
        proxies.kubectl("scale", "-n", "istio-system", "deploy/istiod", "--replicas=1")
        proxies.roll_out("istio-system", "istiod")
