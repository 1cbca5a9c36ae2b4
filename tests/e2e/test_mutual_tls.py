"""PeerAuthentications as a user applies them: who gets in, by what, and that probes go on."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.manifests import deployment
from tests.support.cluster import Cluster, eventually

APPLICATION = (Path(__file__).parent / "many_protocols.py").read_text()
HTTP, TCP, GRPC = {"httpGet": {"path": "/", "port": 8080}}, {"tcpSocket": {"port": 9000}}, {"grpc": {"port": 9090}}
OFTEN = {"periodSeconds": 1, "timeoutSeconds": 2, "failureThreshold": 2}
CURL = "curl -s -m 5 -o /dev/null -w '%{http_code}'"
IDENTITY = "URI=spiffe://cluster.local/ns/strict/sa/default"


def server(name: str, readiness: dict[str, Any], **annotations: str) -> str:
    """The application; the probes of all kinds are about it."""
    made = json.loads(
        deployment(
            name,
            name,
            "centos:7.9.2009",
            command=["python3", "-u", "-c", APPLICATION],
            readinessProbe=readiness | OFTEN,
            livenessProbe=GRPC | OFTEN,
            startupProbe=TCP | OFTEN | {"failureThreshold": 30},
        )
    )
    made["spec"]["template"]["metadata"]["annotations"] = annotations
    return json.dumps(made)


def istio(kind: str, name: str, **spec: Any) -> str:
    group = "security" if kind in {"PeerAuthentication", "AuthorizationPolicy"} else "networking"
    meta = {"apiVersion": f"{group}.istio.io/v1", "kind": kind, "metadata": {"name": name}}
    return json.dumps({**meta, "spec": spec})


def policy(name: str, mode: str, **spec: Any) -> str:
    return istio("PeerAuthentication", name, mtls={"mode": mode}, **spec)


SERVICE = json.dumps(
    {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "server"},
        "spec": {
            "selector": {"app": "server"},
            "ports": [{"name": "http", "port": 80, "targetPort": 8080}, {"name": "http-more", "port": 8081}],
        },
    }
)


def shell(name: str) -> str:
    return deployment(name, name, "centos:7.9.2009", command=["sleep", "infinity"])


@pytest.fixture(scope="module")
def strict(cluster: Cluster) -> Iterator[Cluster]:
    """A namespace that asks for mTLS before anything starts there, and a stranger elsewhere."""
    cluster.injected("strict")
    cluster.kubectl("create", "ns", "plain")
    cluster.apply("strict", policy("default", "STRICT"))
    cluster.apply("strict", server("server", HTTP), SERVICE, shell("client"))
    cluster.apply("strict", server("asked", HTTP, **{"sidecar.istio.io/rewriteAppHTTPProbers": "false"}))
    cluster.apply("plain", shell("stranger"))
    cluster.roll_out("strict", "server", "client")
    cluster.roll_out("plain", "stranger")
    yield cluster
    cluster.kubectl("delete", "pa", "-n", "istio-system", "--all")
    cluster.kubectl("delete", "ns", "strict", "plain", "--wait=false")


def pod(cluster: Cluster, app: str) -> dict[str, Any]:
    return cluster.objects("pods", "strict", f"app={app}")[0]


def stranger(cluster: Cluster, *ports: int) -> list[str]:
    """What a pod outside the mesh is answered at the server's ports; 000 where it is refused."""
    address = pod(cluster, "server")["status"]["podIP"]
    return [cluster.shell("plain", "stranger", f"{CURL} http://{address}:{port}/ || true") for port in ports]


def seen(cluster: Cluster, port: int = 80) -> str:
    """Whom the server sees behind the meshed client."""
    return cluster.shell("strict", "client", f"curl -sf -m 5 http://server:{port}/ || true")


def events(cluster: Cluster, name: str) -> str:
    return cluster.kubectl("get", "events", "-n", "strict", "--field-selector", f"involvedObject.name={name}")


def restarts(found: dict[str, Any]) -> int:
    return sum(each["restartCount"] for each in found["status"]["containerStatuses"])


def is_ready(found: dict[str, Any]) -> bool:
    return any(each["type"] == "Ready" and each["status"] == "True" for each in found["status"]["conditions"])


def test_a_strict_namespace_takes_the_mesh_and_no_strangers(strict: Cluster) -> None:
    assert IDENTITY in seen(strict)
    assert stranger(strict, 8080, 8081) == ["000", "000"]
    table = strict.weft("proxy-config", "listener", "deploy/server.strict", "--port", "15006").stdout
    assert "Trans: tls" in table
    assert "raw_buffer" not in table
    assert "STRICT" in strict.kubectl("get", "pa", "-n", "strict")


def test_probes_of_all_kinds_go_on_where_plaintext_is_refused(strict: Cluster) -> None:
    found = pod(strict, "server")
    assert (is_ready(found), restarts(found)) == (True, 0)
    # so they do because injection sends them to the agent: as they were written they are refused
    eventually(lambda: "Readiness probe failed" in events(strict, pod(strict, "asked")["metadata"]["name"]))
    assert not is_ready(pod(strict, "asked"))
    strict.kubectl("delete", "deploy", "asked", "-n", "strict")


def test_a_single_port_is_opened_and_callers_follow(strict: Cluster) -> None:
    whom = {"selector": {"matchLabels": {"app": "server"}}}
    strict.apply("strict", policy("server", "UNSET", **whom, portLevelMtls={"8081": {"mode": "DISABLE"}}))
    eventually(lambda: stranger(strict, 8080, 8081) == ["000", "200"])
    eventually(lambda: seen(strict, 8081) == "None")
    assert IDENTITY in seen(strict)
    strict.kubectl("delete", "pa", "server", "-n", "strict")
    eventually(lambda: stranger(strict, 8080, 8081) == ["000", "000"])
    eventually(lambda: IDENTITY in seen(strict, 8081))


def test_policies_say_who_may_ask_what(strict: Cluster) -> None:
    def asked(path: str) -> str:
        return strict.shell("strict", "client", f"{CURL} --path-as-is http://server{path}").strip()

    def items(account: str) -> str:
        rule = {"from": [{"source": {"serviceAccounts": [account]}}], "to": [{"operation": operation}]}
        return istio("AuthorizationPolicy", "items", selector={"matchLabels": {"app": "server"}}, rules=[rule])

    operation = {"methods": ["GET"], "paths": ["/items/{*}"]}

    def settled(path: str, status: str) -> bool:
        # connections that were open before a change end with their next answer, by the rules of before
        return all(asked(path) == status for _ in range(8))

    strict.apply("strict", istio("AuthorizationPolicy", "nothing"))
    eventually(lambda: settled("/", "403"))
    strict.apply("strict", items("default"))
    eventually(lambda: settled("/items/1", "200"))
    table = [
        line.split() for line in strict.weft("x", "authz", "check", "deploy/server.strict").stdout.splitlines()
    ]
    assert table[1:] == [["ALLOW", "items.strict", "1"], ["ALLOW", "nothing.strict", "1"]]
    assert asked("/items/1/../../") == asked("/") == "403"
    strict.apply("strict", items("robot"))
    eventually(lambda: settled("/items/1", "403"))
    wrong = istio("AuthorizationPolicy", "wrong", action="DENY")
    refused = strict.try_kubectl("apply", "-n", "strict", "-f", "-", text=wrong)
    assert "spec.rules: DENY without rules is for no request at all" in refused.stderr
    strict.kubectl("delete", "ap", "-n", "strict", "--all")
    eventually(lambda: settled("/", "200"))


def test_no_port_of_a_strict_pod_lets_a_stranger_past_its_proxy(strict: Cluster) -> None:
    address = pod(strict, "server")["status"]["podIP"]

    def answers(*urls: str) -> list[str]:
        asked = (f"curl -sk -m 5 -o /dev/null -w '%{{http_code}} ' {url} || true" for url in urls)
        return strict.shell("plain", "stranger", "; ".join(asked)).split()

    # the application's, the proxy's own (administration, outbound, debugging, inbound, DNS), and those of nobody
    closed = (8080, 8081, 9000, 9090, 15000, 15001, 15004, 15006, 15008, 15053, 22)
    urls = [f"{scheme}://{address}:{port}/" for port in closed for scheme in ("http", "https")]
    assert answers(*urls) == ["000"] * len(urls)
    # what the kubelet and Prometheus come for is all that there is at the others
    pages = ("config_dump", "quitquitquit", "debug/ndsz", "metrics", "")
    open_to_all = [f"http://{address}:{port}/{page}" for port in (15020, 15021, 15090) for page in pages]
    assert set(answers(*open_to_all)) <= {"404", "405"}
    posted = [f"-X POST {url}" for url in open_to_all]
    assert set(answers(*posted)) <= {"403", "404", "405"}
    assert (
        answers(f"http://{address}:15021/healthz/ready", f"http://{address}:15020/stats/prometheus") == ["200"] * 2
    )


def test_a_pod_is_described_with_all_that_is_for_it(strict: Cluster) -> None:
    rule = istio("DestinationRule", "server", host="server", trafficPolicy={"tls": {"mode": "DISABLE"}})
    strict.apply("strict", rule)
    name = pod(strict, "server")["metadata"]["name"]
    said = strict.weft("x", "describe", "pod", f"{name}.strict").stdout
    assert f"Pod: {name}.strict\n   Pod Revision: default\n" in said
    assert "Service: server\n   Port: http 80/HTTP targets pod port 8080\n" in said
    assert '   DestinationRule: server for "server"\n      Traffic Policy: TLS Mode: DISABLE\n' in said
    assert "Effective PeerAuthentication:\n   Workload mTLS mode: STRICT\n" in said
    assert "Applied PeerAuthentication:\n   default.strict\n" in said
    assert "Error [IST0113] (DestinationRule/strict/server)" in said
    strict.kubectl("delete", "dr", "server", "-n", "strict")
    said = strict.weft("x", "describe", "service", "server", "-n", "strict").stdout
    assert "Service: server\n   Port: http 80/HTTP" in said
    assert "mTLS mode STRICT\n   " in said
    assert "IST0113" not in said
    nobody = strict.weft("x", "describe", "pod", "nobody.strict")
    assert (nobody.returncode, 'no pod "nobody" in namespace "strict"' in nobody.stderr) == (1, True)


def test_a_strict_mesh_leaves_gateways_and_the_control_plane_open(strict: Cluster) -> None:
    served = {"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["strict.example"]}
    route = {"route": [{"destination": {"host": "server", "port": {"number": 80}}}]}
    strict.apply(
        "strict",
        istio("Gateway", "strict", selector={"istio": "ingressgateway"}, servers=[served]),
        istio("VirtualService", "strict", hosts=["strict.example"], gateways=["strict"], http=[route]),
    )
    strict.kubectl("delete", "pa", "default", "-n", "strict")
    eventually(lambda: stranger(strict, 8080) == ["200"])
    strict.apply("istio-system", policy("default", "STRICT"))
    eventually(lambda: stranger(strict, 8080) == ["000"])
    through = f"{CURL} -H 'Host: strict.example' http://istio-ingressgateway.istio-system/"
    eventually(lambda: strict.shell("plain", "stranger", through) == "200")
    # a new pod still gets its certificate and its configuration
    strict.kubectl("rollout", "restart", "deploy/client", "-n", "strict")
    strict.roll_out("strict", "client")
    eventually(lambda: IDENTITY in seen(strict))
    found = pod(strict, "server")
    assert (is_ready(found), restarts(found)) == (True, 0)


def test_mistakes_are_told_at_kubectl_apply(strict: Cluster) -> None:
    strict.apply("strict", policy("default", "STRICT"))
    ports = policy("wrong", "STRICT", portLevelMtls={"8080": {"mode": "DISABLE"}})
    refused = strict.try_kubectl("apply", "-n", "strict", "-f", "-", text=ports)
    assert refused.returncode != 0
    assert "spec.portLevelMtls: ports are the business of single workloads" in refused.stderr
    rule = istio("DestinationRule", "server", host="server", trafficPolicy={"tls": {"mode": "DISABLE"}})
    warned = strict.try_kubectl("apply", "-n", "strict", "-f", "-", text=rule)
    assert warned.returncode == 0
    assert "by PeerAuthentication default.strict it takes the mesh's mTLS only" in warned.stderr
    assert "[IST0113]" in warned.stderr
