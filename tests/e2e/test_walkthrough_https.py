"""The walkthrough's chapter about HTTPS: a server by its name in TLS, and certificates of one's own."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.manifests import deployment, service
from tests.support.cluster import Cluster, eventually, run

DOMAIN = "zhongmingmao.io"
HOST = f"httpsserver.{DOMAIN}"
CREDENTIAL = "zhongmingmao-credential"

VIRTUAL_SERVICE = {
    "apiVersion": "networking.istio.io/v1beta1",
    "kind": "VirtualService",
    "metadata": {"name": "httpsserver"},
    "spec": {
        "gateways": ["httpsserver"],
        "hosts": [HOST],
        "http": [
            {
                "match": [{"port": 443}],
                "route": [{"destination": {"host": "httpserver.securesvc.svc", "port": {"number": 80}}}],
            }
        ],
    },
}
SERVER = {
    "hosts": [HOST],
    "port": {"name": "https-default", "number": 443, "protocol": "HTTPS"},
    "tls": {"mode": "SIMPLE", "credentialName": CREDENTIAL},
}


def gateway(*servers: object, name: str = "httpsserver", app: str = "ingressgateway") -> str:
    spec = {"selector": {"istio": app}, "servers": list(servers)}
    head = {"apiVersion": "networking.istio.io/v1beta1", "kind": "Gateway", "metadata": {"name": name}}
    return json.dumps(head | {"spec": spec})


def new_certificate(folder: Path, name: str = DOMAIN) -> tuple[Path, Path]:
    """A self-made certificate, as the chapter makes it."""
    key, certificate = folder / f"{name}.key", folder / f"{name}.crt"
    words = ["req", "-x509", "-sha256", "-nodes", "-days", "365", "-newkey", "rsa:2048"]
    subject = f"/O=zhongmingmao Inc./CN=*.{DOMAIN}"
    made = run("openssl", *words, "-subj", subject, "-keyout", key, "-out", certificate)
    assert made.returncode == 0, made.stderr
    return key, certificate


def fingerprint(certificate: Path | str) -> str:
    text = certificate.read_text() if isinstance(certificate, Path) else certificate
    done = run("openssl", "x509", "-noout", "-fingerprint", "-sha256", text=text)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture(scope="module")
def secure(cluster: Cluster, folder: Path) -> Cluster:
    """The page, the certificate, and the gateway that needs it."""
    cluster.kubectl("create", "ns", "securesvc")
    cluster.apply(
        "securesvc", deployment("httpserver", "httpserver", "nginx:1.25.3"), service("httpserver", "httpserver")
    )
    cluster.roll_out("securesvc", "httpserver")
    cluster.roll_out("istio-system", "istio-ingressgateway")
    key, certificate = new_certificate(folder)
    words = ("secret", "tls", CREDENTIAL, f"--key={key}", f"--cert={certificate}")
    printed = cluster.kubectl("create", "-n", "istio-system", *words)
    assert printed == f"secret/{CREDENTIAL} created\n"
    printed = cluster.apply("securesvc", json.dumps(VIRTUAL_SERVICE), gateway(SERVER))
    assert printed.splitlines() == [
        "virtualservice.networking.istio.io/httpsserver created",
        "gateway.networking.istio.io/httpsserver created",
    ]
    return cluster


def address(cluster: Cluster, namespace: str = "istio-system", name: str = "istio-ingressgateway") -> str:
    return cluster.kubectl("get", "svc", "-n", namespace, name, "-o", "jsonpath={.spec.clusterIP}")


def curl(cluster: Cluster, *options: str, host: str = HOST, at: str = "") -> tuple[str, str]:
    """Standard output and error of the chapter's command; its `-v` tells of TLS on standard error."""
    resolve = f"{host}:443:{at or address(cluster)}"
    done = cluster.inside("curl", "-s", "-m", "5", "--resolve", resolve, f"https://{host}", "-v", "-k", *options)
    return done.stdout, done.stderr


def shown(cluster: Cluster, host: str = HOST, at: str = "") -> str:
    """The certificate that the gateway shows for a name, as a fingerprint; "" where it shows none."""
    target = f"{at or address(cluster)}:443"
    script = f"openssl s_client -connect {target} -servername {host} </dev/null 2>/dev/null | openssl x509"
    pem = cluster.inside("sh", "-c", script, seconds=20).stdout
    return fingerprint(pem) if pem else ""


def test_the_page_asks_for_itself_within_the_cluster(secure: Cluster) -> None:
    head = secure.shell("securesvc", "httpserver", "curl -sI httpserver.securesvc.svc")
    assert head.splitlines()[0] == "HTTP/1.1 200 OK"
    assert "Server: nginx" in head


def test_the_page_comes_by_http2_where_the_author_got_a_503(secure: Cluster) -> None:
    eventually(lambda: "HTTP/2 200" in curl(secure)[1])
    page, said = curl(secure)
    assert "nginx answers" in page
    assert f"* Added {HOST}:443:{address(secure)} to DNS cache" in said
    assert (
        "SSL connection using TLSv1.3 / TLS_AES_256_GCM_SHA384" in said or "SSL connection using TLSv1.3" in said
    )
    assert "server accepted" in said
    assert "h2" in said
    assert f"*  subject: O=zhongmingmao Inc.; CN=*.{DOMAIN}" in said
    assert f"*  issuer: O=zhongmingmao Inc.; CN=*.{DOMAIN}" in said
    assert "self-signed certificate" in said
    lines = [line.strip() for line in said.splitlines()]
    assert "> GET / HTTP/2" in lines
    assert "< server: istio-envoy" in lines


def test_another_name_gets_no_certificate(secure: Cluster) -> None:
    _, said = curl(secure, host=f"other.{DOMAIN}")
    assert "HTTP/2" not in said
    assert shown(secure, f"other.{DOMAIN}") == ""


def test_the_listener_is_told_by_its_server_name(secure: Cluster) -> None:
    pod = secure.pod("istio-system", "istio-ingressgateway")
    listeners = secure.weft("proxy-config", "listener", f"{pod}.istio-system", "--port", "8443").stdout
    (row,) = [" ".join(line.split()) for line in listeners.splitlines()[1:]]
    assert row == f"0.0.0.0 8443 SNI: {HOST} Route: https.443.https-default.httpsserver.securesvc"
    secrets = secure.weft("proxy-config", "secret", f"{pod}.istio-system")
    assert secrets.returncode == 0, secrets.stderr
    found = {line.split()[0]: line.split()[1:] for line in secrets.stdout.splitlines()}
    assert set(found) == {"RESOURCE", "default", "ROOTCA", f"kubernetes://{CREDENTIAL}"}
    assert found["ROOTCA"][:3] == ["CA", "ACTIVE", "true"]
    assert found[f"kubernetes://{CREDENTIAL}"][:4] == ["Cert", "Chain", "ACTIVE", "true"]
    whole = secure.weft("proxy-config", "secret", f"{pod}.istio-system", "-o", "json").stdout
    assert "PRIVATE" not in whole
    assert CREDENTIAL in whole


def test_the_certificate_is_turned_over_live(secure: Cluster, folder: Path) -> None:
    before = fingerprint(folder / f"{DOMAIN}.crt")
    assert eventually(lambda: shown(secure) == before)
    key, certificate = new_certificate(folder, "second")
    words = (
        "secret",
        "tls",
        CREDENTIAL,
        f"--key={key}",
        f"--cert={certificate}",
        "--dry-run=client",
        "-o",
        "json",
    )
    secure.kubectl("apply", "-f", "-", text=secure.kubectl("create", "-n", "istio-system", *words))
    assert eventually(lambda: shown(secure) == fingerprint(certificate), seconds=5)
    assert "HTTP/2 200" in curl(secure)[1]


def test_a_missing_certificate_is_told_and_takes_nothing_else_along(secure: Cluster) -> None:
    port = {"name": "https-gone", "number": 443, "protocol": "HTTPS"}
    gone = {"hosts": [f"gone.{DOMAIN}"], "port": port, "tls": {"mode": "SIMPLE", "credentialName": "gone"}}
    secure.apply("securesvc", gateway(SERVER, gone))

    def told() -> bool:
        said = secure.kubectl("describe", "gateway", "-n", "securesvc", "httpsserver")
        return "there is no Secret istio-system/gone" in said

    assert eventually(told)
    assert "HTTP/2 200" in curl(secure)[1]
    assert shown(secure, f"gone.{DOMAIN}") == ""


OWN: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "edge"},
    "spec": {
        "selector": {"matchLabels": {"istio": "edge"}},
        "template": {
            "metadata": {
                "annotations": {"inject.istio.io/templates": "gateway"},
                "labels": {"istio": "edge", "app": "edge", "sidecar.istio.io/inject": "true"},
            },
            "spec": {
                "serviceAccountName": "edge",
                "containers": [
                    {"name": "istio-proxy", "image": "auto", "env": [{"name": "COLOUR", "value": "red"}]}
                ],
            },
        },
    },
}


def own_objects() -> list[dict[str, Any]]:
    """What Istio's guide writes for a gateway of one's own: workload, service, and the right to its Secrets."""
    ports = [{"port": 80, "name": "http"}, {"port": 443, "name": "https"}]
    rule = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "watch", "list"]}
    group = "rbac.authorization.k8s.io"
    reference = {"apiGroup": group, "kind": "Role", "name": "edge-sds"}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "edge"}},
        OWN,
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "edge"},
            "spec": {"selector": {"istio": "edge"}, "ports": ports},
        },
        {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": {"name": "edge-sds"}, "rules": [rule]},
        {
            "apiVersion": f"{group}/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "edge-sds"},
            "roleRef": reference,
            "subjects": [{"kind": "ServiceAccount", "name": "edge"}],
        },
    ]


def test_a_gateway_of_ones_own_is_injected_and_serves_ports_below_1024(secure: Cluster, folder: Path) -> None:
    secure.kubectl("create", "ns", "edge")
    account, workload, exposed, *rights = own_objects()
    secure.apply("edge", json.dumps(account), json.dumps(workload), json.dumps(exposed))
    secure.roll_out("edge", "edge")
    (pod,) = secure.objects("pods", "edge", "istio=edge")
    (container,) = pod["spec"]["containers"]
    assert container["args"][:2] == ["proxy", "router"]
    assert {"name": "COLOUR", "value": "red"} in container["env"]
    assert container["securityContext"]["runAsUser"] == 1337
    key, certificate = new_certificate(folder, "edge")
    secure.kubectl("create", "-n", "edge", "secret", "tls", "own", f"--key={key}", f"--cert={certificate}")
    server = SERVER | {"tls": {"mode": "SIMPLE", "credentialName": "own"}}
    page = json.loads(json.dumps(VIRTUAL_SERVICE))
    page["spec"]["gateways"] = ["edge"]
    secure.apply("edge", gateway(server, name="edge", app="edge"), json.dumps(page))
    at = address(secure, "edge", "edge")

    def told() -> bool:
        return "may not get the Secret edge/own" in secure.kubectl("describe", "gateway", "-n", "edge", "edge")

    assert eventually(told), "without the right to them, its Secrets are not given to it"
    assert shown(secure, at=at) == ""
    secure.apply("edge", *map(json.dumps, rights))
    assert eventually(lambda: shown(secure, at=at) == fingerprint(certificate))
    assert "HTTP/2 200" in curl(secure, at=at)[1]
    status = secure.weft("proxy-status").stdout
    assert f"{pod['metadata']['name']}.edge" in status
