"""The mesh's root is replaced while requests go through it: our own by one plugged in, and that by others."""

import base64
import json
import os
from collections.abc import Iterator

import pytest
from cryptography import x509
from tests.e2e import loading
from tests.e2e.manifests import NGINX, TOOLBOX, service
from tests.support.authorities import Operator
from tests.support.cluster import Cluster, eventually

from weft.pki import pem

ROTATIONS = int(os.environ.get("WEFT_ROTATIONS", "2"))
RATE = 100
NAMESPACE = "rooted"
PODS = ("toolbox.rooted", "nginx-deployment.rooted", "istio-ingressgateway.istio-system")
TARGETS = ("kept:80/kept", "fresh:80/fresh", "istio-ingressgateway.istio-system:80/rooted.example")
# every fifth request to `fresh` is a handshake of its own between the proxies
RULES = f"""
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: default}}
spec: {{mtls: {{mode: STRICT}}}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: fresh}}
spec:
  host: fresh
  trafficPolicy: {{connectionPool: {{http: {{maxRequestsPerConnection: 5}}}}}}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: rooted}}
spec:
  selector: {{istio: ingressgateway}}
  servers: [{{port: {{number: 80, name: http, protocol: HTTP}}, hosts: [rooted.example]}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: rooted}}
spec:
  hosts: [rooted.example]
  gateways: [rooted]
  http: [{{route: [{{destination: {{host: fresh.{NAMESPACE}.svc.cluster.local}}}}]}}]
"""


@pytest.fixture(scope="module")
def rooted(cluster: Cluster) -> Iterator[Cluster]:
    cluster.injected(NAMESPACE)
    services = [service(name, "nginx") for name in ("kept", "fresh")]
    cluster.apply(NAMESPACE, NGINX, TOOLBOX, *services, RULES)
    cluster.roll_out(NAMESPACE, "nginx-deployment", "toolbox")
    for target in TARGETS:
        place, _, name = target.partition("/")
        code = f"curl -s -o /dev/null -w %{{http_code}} -H 'host: {name}' http://{place}/"
        eventually(lambda code=code: cluster.shell(NAMESPACE, "toolbox", code) == "200")  # type: ignore[misc]
    yield cluster
    cluster.kubectl("delete", "ns", NAMESPACE, "--wait=false")


def chain(cluster: Cluster, deployment: str) -> tuple[x509.Certificate, ...]:
    """What a proxy shows in handshakes."""
    shown = cluster.weft("proxy-config", "secret", f"deployment/{deployment}", "-o", "json").stdout
    [own] = [each for each in json.loads(shown) if each["name"] == "default"]
    return pem.load_certificates(base64.b64decode(own["tls_certificate"]["certificate_chain"]["inline_bytes"]))


def until_certified_by(cluster: Cluster, operator: Operator) -> None:
    for pod in PODS:
        eventually(lambda pod=pod: operator.intermediate in chain(cluster, pod), seconds=50)  # type: ignore[misc]


@pytest.mark.timeout(120 + 60 * ROTATIONS, func_only=True)
def test_no_request_fails_while_the_root_is_replaced(rooted: Cluster) -> None:
    requests = loading.begun(rooted, NAMESPACE, RATE, 60 + 60 * ROTATIONS, TARGETS, until="/tmp/enough")
    # as from Istio's own makefile, all roots have one name
    operators = [Operator("Root CA") for _ in range(ROTATIONS)]
    for operator in operators:
        rooted.apply("istio-system", json.dumps(operator.secret()))
        until_certified_by(rooted, operator)
    rooted.shell(NAMESPACE, "toolbox", "touch /tmp/enough")
    _, found = loading.result(requests)
    print(json.dumps(found, indent=1))
    answers = found["seen"]
    good = {kind for each in answers.values() for kind in each} == {"200"}
    assert good, loading.trouble(rooted, found, ("istio-system", NAMESPACE))
    assert set(answers) == {target.partition("/")[2] for target in TARGETS}
    # all roots are trusted yet; that pods which start now work as well is what the tests after this one show
    roots = json.loads(rooted.kubectl("get", "cm", "-n", NAMESPACE, "istio-ca-root-cert", "-o", "json"))
    known = pem.load_certificates(roots["data"]["root-cert.pem"])
    assert known[0] == operators[-1].root
    assert {operator.root for operator in operators} < set(known)
    compared = rooted.weft(
        "proxy-config", "rootca-compare", "deploy/toolbox.rooted", "deploy/nginx-deployment.rooted"
    )
    assert compared.returncode == 0, compared.stdout + compared.stderr
    assert "They can connect to each other." in compared.stdout
    shown = rooted.weft("proxy-config", "secret", "deploy/toolbox.rooted").stdout
    assert len([line for line in shown.splitlines() if line.startswith("ROOTCA")]) == len(known)
    print(compared.stdout, shown, sep="\n")
