"""Out of the mesh, as Istio's tasks have it: what may be reached, and where TLS begins."""

import json
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.manifests import deployment
from tests.support.cluster import Cluster, eventually
from tests.support.envoy import Identity
from tests.support.identities import Authority

PARTNER, BANK = "partner.example.net", "bank.example.net"
MISNAMED, STRANGER = "misnamed.example.net", "stranger.example.net"
CLIENT = "spiffe://example.net/client"
EGRESS = "istio-egressgateway.istio-system.svc.cluster.local"
SYSTEM = ("istio-system", "kube-system")
DNS = "jsonpath={.spec.clusterIP}"
HTTP = {"number": 80, "name": "http", "protocol": "HTTP", "targetPort": 443}
HTTPS = {"number": 443, "name": "https", "protocol": "HTTPS"}
SECRET = "outside"
FILES = {
    "sidecar.istio.io/userVolume": json.dumps([{"name": "outside", "secret": {"secretName": SECRET}}]),
    "sidecar.istio.io/userVolumeMount": json.dumps([{"name": "outside", "mountPath": "/etc/outside"}]),
    "proxy.istio.io/config": 'proxyMetadata: {ISTIO_META_DNS_CAPTURE: "true"}',
}
TRUSTED = {"caCertificates": "/etc/outside/ca.crt"}
SHOWN = {"clientCertificate": "/etc/outside/tls.crt", "privateKey": "/etc/outside/tls.key"}


def istio(kind: str, name: str, **spec: Any) -> str:
    group = "security" if kind == "AuthorizationPolicy" else "networking"
    head = {"apiVersion": f"{group}.istio.io/v1", "kind": kind, "metadata": {"name": name}}
    return json.dumps(head | {"spec": spec})


def rule(host: str, **tls: Any) -> str:
    """TLS for what is asked for at port 80."""
    levels = [{"port": {"number": 80}, "tls": tls}]
    return istio("DestinationRule", host.partition(".")[0], host=host, trafficPolicy={"portLevelSettings": levels})


def secret(identity: Identity, roots: str) -> str:
    data = {"tls.crt": identity.chain, "tls.key": identity.key, "ca.crt": roots}
    coded = {name: b64encode(text.encode()).decode() for name, text in data.items()}
    return json.dumps({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": SECRET}, "data": coded})


def may_read_secrets(account: str) -> list[str]:
    group = "rbac.authorization.k8s.io"
    role = {"apiGroup": group, "kind": "Role", "name": "secrets"}
    allowed = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list", "watch"]}
    meta = {"metadata": {"name": "secrets"}, "apiVersion": f"{group}/v1"}
    subjects = [{"kind": "ServiceAccount", "name": account}]
    made = (
        {**meta, "kind": "Role", "rules": [allowed]},
        {**meta, "kind": "RoleBinding", "roleRef": role, "subjects": subjects},
    )
    return [json.dumps(each) for each in made]


@pytest.fixture(scope="module")
def sending(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Clients in the mesh, and hosts outside of it, whose certificates an authority of theirs has signed."""
    folder = tmp_path_factory.mktemp("outside")
    outside, clients = Authority("outside"), Authority("clients")
    certificates = {
        PARTNER: outside.serve(PARTNER),
        BANK: outside.serve(BANK),
        MISNAMED: outside.serve("other.example.net"),
        STRANGER: Authority("nobody knows").serve(STRANGER),
    }
    for name, identity in certificates.items():
        (folder / f"{name}.pem").write_text(identity.chain + identity.key)
    (folder / "mutual").write_text(BANK)
    (folder / "clients.pem").write_text(clients.roots)
    script = Path(__file__).parent / "outside.py"
    command = ["nsenter", f"--net=/run/netns/{cluster.namespace}", sys.executable, str(script), str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == "listening\n"
            cluster.injected("sending")
            known = secret(clients.issue(CLIENT), outside.roots)
            cluster.apply("sending", known)
            cluster.apply("istio-system", known)
            for name in ("client", "other"):
                made = json.loads(deployment(name, name, "centos:7.9.2009", command=["sleep", "infinity"]))
                made["spec"]["template"]["metadata"]["annotations"] = FILES
                made["spec"]["template"]["spec"]["serviceAccountName"] = name
                account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}
                cluster.apply("sending", json.dumps(account), json.dumps(made))
            cluster.apply("sending", entry(cluster, PARTNER, BANK, MISNAMED, STRANGER))
            cluster.roll_out("sending", "client", "other")
            cluster.roll_out("istio-system", "istio-egressgateway")
            yield cluster
        finally:
            server.terminate()
    left = [f"secret/{SECRET}", "ap/egress", "dr/partner", "dr/bank"]
    cluster.kubectl("delete", *left, "-n", "istio-system", "--ignore-not-found")
    cluster.kubectl("delete", "ns", "sending", "--wait=false")


def address(cluster: Cluster) -> str:
    """Where pods reach the machine that the cluster runs on."""
    subsets = json.loads(cluster.kubectl("get", "endpoints", "kubernetes", "-o", "json"))["subsets"]
    return str(subsets[0]["addresses"][0]["ip"])


def entry(cluster: Cluster, *hosts: str) -> str:
    spec = {"location": "MESH_EXTERNAL", "resolution": "STATIC", "endpoints": [{"address": address(cluster)}]}
    return istio("ServiceEntry", "outside", hosts=list(hosts), ports=[HTTP, HTTPS], **spec)


def asked(cluster: Cluster, url: str, *, options: str = "", client: str = "client") -> dict[str, Any]:
    """What the host outside saw, and the status; status 0 where no answer came."""
    script = f"curl -s -m 5 {options} -w '\\n%{{http_code}}' {url} || true"
    body, _, status = cluster.shell("sending", client, script).rpartition("\n")
    found: dict[str, Any] = json.loads(body) if body.startswith("{") else {"said": body}
    return found | {"status": int(status)}


def status(cluster: Cluster, url: str, **more: Any) -> int:
    return int(asked(cluster, url, **more)["status"])


def at_once(cluster: Cluster, host: str, port: int) -> str:
    """For curl: the host's own address, whatever the proxy's DNS says."""
    return f"-k --resolve {host}:{port}:{address(cluster)}"


def test_only_what_the_registry_knows_is_reached(sending: Cluster) -> None:
    unknown = "unknown.example.net"
    plain, secure = at_once(sending, unknown, 80), at_once(sending, unknown, 443)
    assert status(sending, f"http://{unknown}/", options=plain) == 200

    def refused() -> bool:
        return (
            status(sending, f"http://{unknown}/", options=plain) == 502
            and status(sending, f"https://{unknown}/", options=secure) == 0
        )

    only = {"outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"}}
    sending.apply("sending", istio("Sidecar", "default", **only))
    eventually(refused)
    assert status(sending, f"https://{PARTNER}/", options="-k") == 200
    # the address alone opens nothing, nor does a known server name another address: the name's own is dialled
    assert status(sending, f"http://{address(sending)}/") == 502
    assert asked(sending, f"https://{PARTNER}/", options=f"-k --resolve {PARTNER}:443:192.0.2.1")["sni"] == PARTNER
    sending.kubectl("delete", "sidecar", "default", "-n", "sending")
    eventually(lambda: status(sending, f"http://{unknown}/", options=plain) == 200)
    assert status(sending, f"http://{PARTNER}/") == 503, (
        "its port 443 is asked in plaintext, as long as no rule begins TLS"
    )


def test_a_sidecar_begins_tls_and_verifies_whom_it_talks_to(sending: Cluster) -> None:
    sending.apply("sending", *(rule(host, mode="SIMPLE", **TRUSTED) for host in (PARTNER, MISNAMED, STRANGER)))
    eventually(lambda: status(sending, f"http://{PARTNER}/a?b=c") == 200)
    seen = asked(sending, f"http://{PARTNER}/a?b=c")
    assert (seen["scheme"], seen["sni"], seen["alpn"]) == ("https", PARTNER, "http/1.1")
    assert (seen["host"], seen["path"], seen["client"]) == (PARTNER, "/a?b=c", [])
    assert status(sending, f"http://{MISNAMED}/") == status(sending, f"http://{STRANGER}/") == 503
    # without roots of its own it goes by the system's, which do not know this authority
    sending.apply("sending", rule(PARTNER, mode="SIMPLE"))
    eventually(lambda: status(sending, f"http://{PARTNER}/") == 503)
    # names that the rule expects go before the host's own
    sending.apply("sending", rule(PARTNER, mode="SIMPLE", subjectAltNames=["any.example.net", PARTNER], **TRUSTED))
    eventually(lambda: status(sending, f"http://{PARTNER}/") == 200)
    sending.apply("sending", rule(PARTNER, mode="SIMPLE", subjectAltNames=["other.example.net"], **TRUSTED))
    eventually(lambda: status(sending, f"http://{PARTNER}/") == 503)
    # another server name is asked for than the request's host
    named = {"sni": MISNAMED, "subjectAltNames": ["other.example.net"]}
    sending.apply("sending", rule(PARTNER, mode="SIMPLE", **named, **TRUSTED))
    eventually(lambda: asked(sending, f"http://{PARTNER}/").get("sni") == MISNAMED)


def test_a_sidecar_shows_a_certificate_from_files_and_from_a_secret(sending: Cluster) -> None:
    url = f"http://{BANK}/"
    sending.apply("sending", rule(BANK, mode="MUTUAL", **SHOWN, **TRUSTED))
    eventually(lambda: asked(sending, url).get("client") == [CLIENT])
    sending.apply("sending", rule(BANK, mode="SIMPLE", **TRUSTED))
    eventually(lambda: status(sending, url) == 503)
    sending.kubectl("delete", "dr", "bank", "-n", "sending")
    selected = json.loads(rule(BANK, mode="MUTUAL", credentialName=SECRET))
    selected["spec"]["workloadSelector"] = {"matchLabels": {"app": "client"}}
    sending.apply("sending", json.dumps(selected))

    def told() -> bool:
        return f"may not get the Secret sending/{SECRET}" in sending.kubectl(
            "describe", "dr", "bank", "-n", "sending"
        )

    eventually(told)
    assert status(sending, url) == 503
    sending.apply("sending", *may_read_secrets("client"))
    eventually(lambda: asked(sending, url).get("client") == [CLIENT])
    assert status(sending, url, client="other") == 503, "the rule is the selected workload's alone"
    sending.kubectl("delete", "dr", "-n", "sending", "--all")


def gateway(*servers: dict[str, Any]) -> str:
    return istio("Gateway", "egress", selector={"istio": "egressgateway"}, servers=list(servers))


def served(host: str, protocol: str, mode: str) -> dict[str, Any]:
    port = {"number": 443, "name": host.partition(".")[0], "protocol": protocol}
    return {"port": port, "hosts": [host], "tls": {"mode": mode}}


def led(host: str) -> str:
    """Requests to port 80 of a host go to the gateway by mTLS of the mesh, and on from there to its port 443."""
    inside = {
        "match": [{"gateways": ["mesh"], "port": 80}],
        "route": [{"destination": {"host": EGRESS, "subset": host.partition(".")[0], "port": {"number": 443}}}],
    }
    out = {
        "match": [{"gateways": ["egress"], "port": 443}],
        "route": [{"destination": {"host": host, "port": {"number": 443}}}],
    }
    name = host.partition(".")[0]
    return istio("VirtualService", name, hosts=[host], gateways=["mesh", "egress"], http=[inside, out])


def to_gateway(*hosts: str) -> str:
    subsets = []
    for host in hosts:
        level = {"port": {"number": 443}, "tls": {"mode": "ISTIO_MUTUAL", "sni": host}}
        subsets.append({"name": host.partition(".")[0], "trafficPolicy": {"portLevelSettings": [level]}})
    return istio("DestinationRule", "to-egress", host=EGRESS, subsets=subsets)


def begun(host: str, **tls: Any) -> str:
    """TLS from the gateway to the host; the rule is the gateway's own."""
    levels = [{"port": {"number": 443}, "tls": {"sni": host, **tls}}]
    return istio("DestinationRule", host.partition(".")[0], host=host, trafficPolicy={"portLevelSettings": levels})


def test_the_egress_gateway_begins_tls_with_a_certificate_of_its_own(sending: Cluster) -> None:
    sending.apply(
        "sending",
        gateway(served(PARTNER, "HTTPS", "ISTIO_MUTUAL"), served(BANK, "HTTPS", "ISTIO_MUTUAL")),
        to_gateway(PARTNER, BANK),
        led(PARTNER),
        led(BANK),
    )
    sending.apply(
        "istio-system",
        begun(PARTNER, mode="SIMPLE", credentialName=SECRET),
        begun(BANK, mode="MUTUAL", credentialName=SECRET),
    )
    eventually(lambda: asked(sending, f"http://{BANK}/x").get("client") == [CLIENT])
    eventually(lambda: asked(sending, f"http://{PARTNER}/x").get("scheme") == "https")
    seen = asked(sending, f"http://{PARTNER}/x")
    assert (seen["sni"], seen["path"], seen["client"]) == (PARTNER, "/x", [])
    # the gateway knows who asks: only one account may go to the bank
    allowed = {
        "from": [{"source": {"serviceAccounts": ["sending/client"]}}],
        "to": [{"operation": {"hosts": [BANK]}}],
    }
    anybody = {"to": [{"operation": {"hosts": [PARTNER]}}]}
    policy = istio(
        "AuthorizationPolicy",
        "egress",
        selector={"matchLabels": {"istio": "egressgateway"}},
        rules=[allowed, anybody],
    )
    sending.apply("istio-system", policy)
    eventually(lambda: status(sending, f"http://{BANK}/", client="other") == 403)
    assert status(sending, f"http://{PARTNER}/", client="other") == 200
    assert status(sending, f"http://{BANK}/") == 200
    sending.kubectl("delete", "ap", "egress", "-n", "istio-system")
    sending.kubectl("delete", "dr", "partner", "bank", "-n", "istio-system")
    sending.kubectl("delete", "vs,dr,gw", "-n", "sending", "--all")


def passed_on(host: str) -> str:
    """TLS of the application's own goes to the gateway, and on from there, told by its server name."""
    sni = {"sniHosts": [host]}
    inside = {
        "match": [{"gateways": ["mesh"], "port": 443, **sni}],
        "route": [{"destination": {"host": EGRESS, "port": {"number": 443}}}],
    }
    out = {
        "match": [{"gateways": ["egress"], "port": 443, **sni}],
        "route": [{"destination": {"host": host, "port": {"number": 443}}}],
    }
    name = host.partition(".")[0]
    return istio("VirtualService", name, hosts=[host], gateways=["mesh", "egress"], tls=[inside, out])


def allowed_out(cluster: Cluster) -> str:
    """A NetworkPolicy: the namespace's pods reach the mesh and the DNS, and nothing beyond."""
    to = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}} for name in SYSTEM]
    node = {"ipBlock": {"cidr": f"{cluster.kubectl('get', 'svc', 'kube-dns', '-n', 'kube-system', '-o', DNS)}/32"}}
    spec = {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"to": [*to, node]}]}
    meta = {"name": "by-the-gateway-only"}
    return json.dumps(
        {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": meta, "spec": spec}
    )


def test_a_workload_goes_round_the_gateway_unless_the_network_stops_it(sending: Cluster) -> None:
    sending.apply("sending", gateway(served(PARTNER, "TLS", "PASSTHROUGH")), passed_on(PARTNER))

    def by_gateway() -> str:
        found = sending.shell("istio-system", "istio-egressgateway", "curl -s 127.0.0.1:15000/clusters")
        mine = f"outbound|443||{PARTNER}::"
        return "".join(line for line in found.splitlines() if line.startswith(mine) and "::cx_total::" in line)

    def through() -> bool:
        before = by_gateway()
        return asked(sending, f"https://{PARTNER}/", options="-k").get("sni") == PARTNER and by_gateway() != before

    eventually(through)
    # what the proxy's user dials is not captured: the mesh alone stops nobody who wants to go round
    around = f"curl -sk -m 3 -o /dev/null -w '%{{http_code}}' {at_once(sending, PARTNER, 443)} https://{PARTNER}/"
    words = ("exec", "-n", "sending", "deploy/client", "-c", "istio-proxy", "--", "sh", "-c", f"{around} || true")
    assert sending.kubectl(*words) == "200"
    sending.apply("sending", allowed_out(sending))
    eventually(lambda: sending.kubectl(*words) == "000")
    eventually(through)
    sending.kubectl("delete", "networkpolicy", "--all", "-n", "sending")
    sending.kubectl("delete", "vs,gw", "-n", "sending", "--all")
