"""The walkthrough's first chapters: CRDs, injection, captured traffic, and what the proxies know."""

import json
import re
from pathlib import Path

import pytest
import yaml
from tests.e2e.manifests import NGINX, TOOLBOX, service
from tests.support.cluster import Cluster, eventually

# ruff: noqa: E501  the rules are compared as iptables-save prints them
SAVED = """\
-A PREROUTING -p tcp -j ISTIO_INBOUND
-A OUTPUT -p tcp -j ISTIO_OUTPUT
-A ISTIO_INBOUND -p tcp -m tcp --dport 15008 -j RETURN
-A ISTIO_INBOUND -p tcp -m tcp --dport 15090 -j RETURN
-A ISTIO_INBOUND -p tcp -m tcp --dport 15021 -j RETURN
-A ISTIO_INBOUND -p tcp -m tcp --dport 15020 -j RETURN
-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT
-A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15006
-A ISTIO_OUTPUT -s 127.0.0.6/32 -o lo -j RETURN
-A ISTIO_OUTPUT ! -d 127.0.0.1/32 -o lo -p tcp -m tcp ! --dport 15008 -m owner --uid-owner 1337 -j ISTIO_IN_REDIRECT
-A ISTIO_OUTPUT -o lo -m owner ! --uid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -m owner --uid-owner 1337 -j RETURN
-A ISTIO_OUTPUT ! -d 127.0.0.1/32 -o lo -p tcp -m tcp ! --dport 15008 -m owner --gid-owner 1337 -j ISTIO_IN_REDIRECT
-A ISTIO_OUTPUT -o lo -m owner ! --gid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -m owner --gid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN
-A ISTIO_OUTPUT -j ISTIO_REDIRECT
-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001
"""


@pytest.fixture(scope="module")
def sidecar(cluster: Cluster) -> Cluster:
    """The chapter's namespace: nginx and a toolbox, both with sidecars."""
    cluster.injected("sidecar")
    cluster.apply("sidecar", NGINX, service("nginx", "nginx"), TOOLBOX)
    cluster.roll_out("sidecar", "nginx-deployment", "toolbox")
    return cluster


def test_the_mesh_has_its_custom_resources(cluster: Cluster) -> None:
    names = {line.split()[0] for line in cluster.kubectl("get", "crd", "--no-headers").splitlines()}
    networking = {"destinationrules", "envoyfilters", "gateways", "proxyconfigs", "serviceentries", "sidecars"}
    networking |= {"virtualservices", "workloadentries", "workloadgroups"}
    security = {"authorizationpolicies", "peerauthentications", "requestauthentications"}
    assert {f"{name}.networking.istio.io" for name in networking} <= names
    assert {f"{name}.security.istio.io" for name in security} <= names
    others = {
        "telemetries.telemetry.istio.io",
        "wasmplugins.extensions.istio.io",
        "istiooperators.install.istio.io",
    }
    assert others <= names


def test_the_injector_is_registered(cluster: Cluster) -> None:
    table = cluster.kubectl("get", "mutatingwebhookconfigurations").splitlines()
    assert table[0].split() == ["NAME", "WEBHOOKS", "AGE"]
    assert [line.split()[:2] for line in table[1:]] == [
        ["istio-revision-tag-default", "4"],
        ["istio-sidecar-injector", "4"],
    ]


def test_pods_of_a_labelled_namespace_get_a_sidecar(sidecar: Cluster) -> None:
    rows = [line.split() for line in sidecar.kubectl("get", "po", "-n", "sidecar", "--no-headers").splitlines()]
    assert [row[1:4] for row in rows] == [["2/2", "Running", "0"]] * 2
    pod = yaml.safe_load(sidecar.kubectl("get", "po", "-n", "sidecar", sidecar.pod("sidecar", "nginx"), "-oyaml"))
    status = json.loads(pod["metadata"]["annotations"]["sidecar.istio.io/status"])
    assert status["initContainers"] == ["istio-validation", "istio-proxy"]
    assert pod["metadata"]["labels"]["security.istio.io/tlsMode"] == "istio"
    assert pod["metadata"]["labels"]["service.istio.io/canonical-name"] == "nginx"
    assert [container["name"] for container in pod["spec"]["containers"]] == ["nginx"]
    assert [container["name"] for container in pod["spec"]["initContainers"]] == status["initContainers"]
    assert pod["spec"]["initContainers"][0]["args"][:5] == ["istio-iptables", "-p", "15001", "-z", "15006"]
    assert pod["status"]["qosClass"] == "Burstable"


def test_a_request_passes_both_sidecars(sidecar: Cluster) -> None:
    answer = sidecar.shell("sidecar", "toolbox", "curl -sI nginx")
    assert answer.startswith("HTTP/1.1 200 OK")
    headers = dict(line.split(": ", 1) for line in answer.splitlines()[1:] if ": " in line)
    assert headers["server"] == "envoy"
    assert headers["x-envoy-upstream-service-time"].isdigit()
    log = sidecar.kubectl("logs", "-n", "sidecar", "--tail=1", sidecar.pod("sidecar", "nginx"))
    assert re.match(r'^127\.0\.0\.6 - - \[.*\] "HEAD / HTTP/1\.1" 200 0 "-" "curl/\S+" "-"$', log.strip()), log


@pytest.mark.parametrize("host", ["nginx", "nginx.sidecar", "nginx.sidecar.svc.cluster.local"])
def test_every_form_of_the_name_answers(sidecar: Cluster, host: str) -> None:
    assert sidecar.shell("sidecar", "toolbox", f"curl -s -o /dev/null -w %{{http_code}} {host}") == "200"


def test_the_pods_rules_are_istios_rule_for_rule(sidecar: Cluster) -> None:
    (pod,) = sidecar.objects("pods", "sidecar", "app=nginx")
    identity = pod["status"]["containerStatuses"][0]["containerID"].removeprefix("containerd://")
    saved = sidecar.inside(
        "nsenter", f"--net=/proc/{_pid_of(identity)}/ns/net", "iptables-save", "-t", "nat"
    ).stdout
    assert "".join(f"{line}\n" for line in saved.splitlines() if line.startswith("-A")) == SAVED


def test_the_connection_between_the_pods_is_mutual_tls_with_spiffe_identities(sidecar: Cluster) -> None:
    sidecar.shell("sidecar", "toolbox", "curl -s -o /dev/null nginx")
    nginx = sidecar.pod("sidecar", "nginx")
    stats = sidecar.kubectl(
        "exec", "-n", "sidecar", nginx, "-c", "istio-proxy", "--", "curl", "-s", "127.0.0.1:15000/certs"
    )
    assert "spiffe://cluster.local/ns/sidecar/sa/default" in stats
    page = "127.0.0.1:15000/stats?filter=ssl.(handshake|no_certificate)"
    seen = sidecar.kubectl("exec", "-n", "sidecar", nginx, "--", "curl", "-s", page)
    counts = {name: int(value) for name, value in (line.rsplit(": ", 1) for line in seen.splitlines())}
    assert sum(value for name, value in counts.items() if name.endswith("ssl.handshake")) > 0, seen
    assert sum(value for name, value in counts.items() if name.endswith("ssl.no_certificate")) == 0, seen


def test_the_wire_between_the_pods_carries_no_plaintext(sidecar: Cluster, tmp_path: Path) -> None:
    (pod,) = sidecar.objects("pods", "sidecar", "app=nginx")
    identity = pod["status"]["containerStatuses"][0]["containerID"].removeprefix("containerd://")
    network = f"--net=/proc/{_pid_of(identity)}/ns/net"
    capture = tmp_path / "wire"
    script = f"timeout 8 tcpdump -i eth0 -c 30 -U -w {capture} 'tcp port 80' 2>/dev/null & sleep 1; wait"
    import threading

    watch = threading.Thread(target=lambda: sidecar.inside("nsenter", network, "sh", "-c", script))
    watch.start()
    eventually(capture.exists)
    sidecar.shell("sidecar", "toolbox", "for i in 1 2 3 4 5 6; do curl -s -H 'x-secret: open-sesame' nginx; done")
    watch.join()
    seen = capture.read_bytes()
    assert len(seen) > 500
    assert b"open-sesame" not in seen
    assert b"GET /" not in seen


def test_a_pod_outside_the_mesh_still_reaches_a_meshed_service(sidecar: Cluster) -> None:
    sidecar.kubectl("create", "ns", "outside")
    sidecar.apply("outside", TOOLBOX, NGINX, service("nginx", "nginx"))
    sidecar.roll_out("outside", "toolbox", "nginx-deployment")
    answer = sidecar.shell("outside", "toolbox", "curl -sI nginx.sidecar")
    assert answer.startswith("HTTP/1.1 200 OK")
    # its own neighbour, without any sidecar on the way, answers as nginx itself
    assert "Server: nginx/" in sidecar.shell("outside", "toolbox", "curl -sI nginx")
    # and a meshed client reaches a plain server in plaintext
    assert "server: envoy" in sidecar.shell("sidecar", "toolbox", "curl -sI nginx.outside")


def test_the_machine_reaches_a_service_address(sidecar: Cluster) -> None:
    (nginx,) = [item for item in sidecar.objects("services", "sidecar") if item["metadata"]["name"] == "nginx"]
    answer = sidecar.inside(
        "curl", "-s", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}", nginx["spec"]["clusterIP"]
    )
    assert answer.stdout == "200"


def test_proxy_status_shows_every_proxy_synced(sidecar: Cluster) -> None:
    def synced() -> bool:
        header, *rows = sidecar.weft("proxy-status").stdout.splitlines()
        assert header.split()[:6] == ["NAME", "CLUSTER", "CDS", "LDS", "EDS", "RDS"]
        mine = [row.split() for row in rows if ".sidecar " in row]
        assert len(mine) == 2
        return all(row[1:6] == ["Kubernetes", "SYNCED", "SYNCED", "SYNCED", "SYNCED"] for row in mine)

    assert eventually(synced)


LISTENERS = """\
10.96.0.10 53 ALL Cluster: outbound|53||kube-dns.kube-system.svc.cluster.local
0.0.0.0 80 Trans: raw_buffer; App: http/1.1,h2c Route: 80
0.0.0.0 80 ALL PassthroughCluster
10.96.0.1 443 ALL Cluster: outbound|443||kubernetes.default.svc.cluster.local
10.96.0.10 9153 Trans: raw_buffer; App: http/1.1,h2c Route: kube-dns.kube-system.svc.cluster.local:9153
10.96.0.10 9153 ALL Cluster: outbound|9153||kube-dns.kube-system.svc.cluster.local
0.0.0.0 15001 ALL PassthroughCluster
0.0.0.0 15001 Addr: *:15001 Non-HTTP/Non-TCP
0.0.0.0 15006 Addr: *:15006 Non-HTTP/Non-TCP
0.0.0.0 15006 Trans: tls; App: istio-http/1.0,istio-http/1.1,istio-h2; Addr: 0.0.0.0/0 InboundPassthroughClusterIpv4
0.0.0.0 15006 Trans: raw_buffer; App: http/1.1,h2c; Addr: 0.0.0.0/0 InboundPassthroughClusterIpv4
0.0.0.0 15006 Trans: tls; App: TCP TLS; Addr: 0.0.0.0/0 InboundPassthroughClusterIpv4
0.0.0.0 15006 Trans: raw_buffer; Addr: 0.0.0.0/0 InboundPassthroughClusterIpv4
0.0.0.0 15006 Trans: tls; Addr: 0.0.0.0/0 InboundPassthroughClusterIpv4
0.0.0.0 15010 Trans: raw_buffer; App: http/1.1,h2c Route: 15010
0.0.0.0 15010 ALL PassthroughCluster
0.0.0.0 15014 Trans: raw_buffer; App: http/1.1,h2c Route: 15014
0.0.0.0 15014 ALL PassthroughCluster
0.0.0.0 15021 ALL Inline Route: /healthz/ready*
0.0.0.0 15090 ALL Inline Route: /stats/prometheus*
"""


def test_the_listener_table_holds_the_walkthroughs_rows(sidecar: Cluster) -> None:
    table = sidecar.weft("proxy-config", "-n", "sidecar", "listener", sidecar.pod("sidecar", "toolbox")).stdout
    header, *rows = [" ".join(line.split()) for line in table.splitlines()]
    assert header == "ADDRESSES PORT MATCH DESTINATION"
    missing = [row for row in LISTENERS.splitlines() if row not in rows]
    assert not missing, table
    inbound = sidecar.weft(
        "proxy-config", "listener", f"{sidecar.pod('sidecar', 'nginx')}.sidecar", "--port", "15006"
    ).stdout
    joined = [" ".join(line.split()) for line in inbound.splitlines()]
    assert "0.0.0.0 15006 Trans: raw_buffer; Addr: *:80 Cluster: inbound|80||" in joined
    apps = "istio,istio-peer-exchange,istio-http/1.0,istio-http/1.1,istio-h2"
    assert f"0.0.0.0 15006 Trans: tls; App: {apps}; Addr: *:80 Cluster: inbound|80||" in joined


def test_the_route_table_holds_the_walkthroughs_rows(sidecar: Cluster) -> None:
    table = sidecar.weft("proxy-config", "-n", "sidecar", "route", sidecar.pod("sidecar", "toolbox")).stdout
    rows = [" ".join(line.split()) for line in table.splitlines()]
    assert rows[0] == "NAME VHOST NAME DOMAINS MATCH VIRTUAL SERVICE"
    assert "80 nginx.sidecar.svc.cluster.local:80 nginx, nginx.sidecar + 1 more... /*" in rows, table
    assert any(
        row.startswith("15014 istiod.istio-system.svc.cluster.local:15014 istiod.istio-system, ") for row in rows
    )
    dns = "kube-dns.kube-system.svc.cluster.local:9153"
    assert f"{dns} {dns} * /*" in rows
    assert "InboundPassthroughClusterIpv4 inbound|http|0 * /*" in rows
    assert "backend * /healthz/ready*" in rows
    assert "backend * /stats/prometheus*" in rows
    named = sidecar.weft(
        "proxy-config", "-n", "sidecar", "route", sidecar.pod("sidecar", "toolbox"), "--name=80", "-ojson"
    ).stdout
    (route,) = json.loads(named)
    (host,) = [entry for entry in route["virtualHosts"] if entry["name"] == "nginx.sidecar.svc.cluster.local:80"]
    assert host["domains"][:4] == [
        "nginx.sidecar.svc.cluster.local",
        "nginx",
        "nginx.sidecar.svc",
        "nginx.sidecar",
    ]
    assert host["routes"][0]["route"]["cluster"] == "outbound|80||nginx.sidecar.svc.cluster.local"
    assert host["routes"][0]["decorator"] == {"operation": "nginx.sidecar.svc.cluster.local:80/*"}
    assert host["includeRequestAttemptCount"] is True
    assert route["ignorePortInHostMatching"] is True
    assert route["maxDirectResponseBodySizeBytes"] == 1048576


def test_the_cluster_table_holds_the_walkthroughs_rows(sidecar: Cluster) -> None:
    table = sidecar.weft("proxy-config", "-n", "sidecar", "cluster", sidecar.pod("sidecar", "nginx")).stdout
    rows = [" ".join(line.split()) for line in table.splitlines()]
    assert rows[0] == "SERVICE FQDN PORT SUBSET DIRECTION TYPE DESTINATION RULE"
    expected = [
        "80 - inbound ORIGINAL_DST",
        "BlackHoleCluster - - - STATIC",
        "InboundPassthroughClusterIpv4 - - - ORIGINAL_DST",
        "PassthroughCluster - - - ORIGINAL_DST",
        "agent - - - STATIC",
        "istiod.istio-system.svc.cluster.local 15012 - outbound EDS",
        "kube-dns.kube-system.svc.cluster.local 53 - outbound EDS",
        "kubernetes.default.svc.cluster.local 443 - outbound EDS",
        "nginx.sidecar.svc.cluster.local 80 - outbound EDS",
        "prometheus_stats - - - STATIC",
        "sds-grpc - - - STATIC",
        "xds-grpc - - - STATIC",
    ]
    assert [row for row in expected if row not in rows] == [], table


def test_sidecars_see_the_gateways_as_the_walkthrough_lists_them(sidecar: Cluster) -> None:
    toolbox = f"{sidecar.pod('sidecar', 'toolbox')}.sidecar"
    names = {name: f"istio-{name}gateway.istio-system.svc.cluster.local" for name in ("ingress", "egress")}
    form = "jsonpath={.spec.clusterIP}"
    ips = {
        name: sidecar.kubectl("get", "svc", "-n", "istio-system", f"istio-{name}gateway", "-o", form)
        for name in names
    }

    def table(kind: str) -> list[str]:
        return [" ".join(line.split()) for line in sidecar.weft("proxy-config", kind, toolbox).stdout.splitlines()]

    ports = (("egress", 443), ("ingress", 443), ("ingress", 15021), ("ingress", 15443), ("ingress", 31400))
    expected = [f"{ips[name]} {port} ALL Cluster: outbound|{port}||{names[name]}" for name, port in ports]
    expected.append(f"{ips['ingress']} 15021 Trans: raw_buffer; App: http/1.1,h2c Route: {names['ingress']}:15021")
    found = table("listener")
    assert [row for row in expected if row not in found] == [], found
    expected = [f"80 {names[name]}:80 istio-{name}gateway.istio-system, {ips[name]} /*" for name in names]
    expected.append(f"{names['ingress']}:15021 {names['ingress']}:15021 * /*")
    found = table("route")
    assert [row for row in expected if row not in found] == [], found
    expected = [f"{names[name]} {port} - outbound EDS" for name, port in (*ports, ("egress", 80), ("ingress", 80))]
    found = table("cluster")
    assert [row for row in expected if row not in found] == [], found


def test_the_endpoint_table_names_the_pods_address(sidecar: Cluster) -> None:
    cluster_name = "outbound|80||nginx.sidecar.svc.cluster.local"
    (pod,) = sidecar.objects("pods", "sidecar", "app=nginx")
    toolbox = sidecar.pod("sidecar", "toolbox")
    table = sidecar.weft("proxy-config", "-n", "sidecar", "endpoint", toolbox, f"--cluster={cluster_name}").stdout
    rows = [" ".join(line.split()) for line in table.splitlines()]
    assert rows == [
        "ENDPOINT STATUS OUTLIER CHECK CLUSTER",
        f"{pod['status']['podIP']}:80 HEALTHY OK {cluster_name}",
    ]


def test_the_admin_page_answers_inside_the_pod(sidecar: Cluster) -> None:
    answer = sidecar.shell("sidecar", "toolbox", "curl -sI 127.1:15000/config_dump")
    assert answer.startswith("HTTP/1.1 200 OK")
    assert "server: envoy" in answer


def _pid_of(container: str) -> int:
    """A process of a container, by the container's name in its cgroup."""
    for status in Path("/proc").glob("[0-9]*/cgroup"):
        try:
            if container in status.read_text():
                return int(status.parent.name)
        except OSError:  # it ended between the look and the read
            continue
    raise AssertionError(f"no process of container {container}")
