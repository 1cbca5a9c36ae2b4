"""TLS at gateways by the real Envoy: Secrets that come, go and change, and what of TLS it knows."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from tests.cases.edge import EdgeCase, EdgeRequest, read_edge
from tests.cases.edge_in_envoy import EdgeAnswer, Gateway, certificate, gateway, roots, secrets
from tests.cases.in_envoy import Place, place
from tests.support import envoy
from tests.support.envoy import open_to_proxies

from weft.api.gateway_tls_checks import CIPHER_SUITES, CURVES

GIVEN = """
- apiVersion: v1
  kind: Service
  metadata: {name: web, namespace: shop}
  spec: {clusterIP: 10.96.1.1, ports: [{name: http, port: 80}]}
- apiVersion: networking.istio.io/v1
  kind: VirtualService
  metadata: {name: web, namespace: shop}
  spec: {hosts: ["*"], gateways: [edge], http: [{route: [{destination: {host: web}}]}]}
"""
Ask = Callable[..., EdgeAnswer]


@pytest.fixture(scope="module")
def here() -> Iterator[Place]:
    with place("weft-edge-tls", capture=False) as made:
        yield made


def edge(*tls: str) -> EdgeCase:
    """A gateway with servers for a.example.com, b.example.com…, and this `tls` each."""
    servers = [
        {
            "port": {"number": 443, "name": f"https-{name}", "protocol": "HTTPS"},
            "hosts": [f"{name}.example.com"],
            "tls": yaml.safe_load(f"{{{settings}}}"),
        }
        for name, settings in zip("abcdefgh", tls, strict=False)
    ]
    spec = {"selector": {"istio": "ingressgateway"}, "servers": servers}
    meta = {"name": "edge", "namespace": "shop"}
    made = {"apiVersion": "networking.istio.io/v1", "kind": "Gateway", "metadata": meta, "spec": spec}
    client = {"namespace": "istio-system", "gateway": {"istio": "ingressgateway"}}
    return read_edge({"given": [*yaml.safe_load(GIVEN), made], "from": client})


@contextmanager
def running(case: EdgeCase, here: Place, folder: Path) -> Iterator[tuple[Gateway, envoy.Management]]:
    open_to_proxies(folder)
    with gateway(case, here, folder / "certs") as (proxy, management):
        yield proxy, management


def asks(host: str, **more: object) -> EdgeRequest:
    body = {"get": f"https://{host}.example.com/", "then": {}, **more}
    return read_edge({"given": [], "from": {"gateway": {}}, "requests": [body]}).requests[0]


def test_a_missing_secret_keeps_the_other_hosts_of_its_port_open_and_serves_its_own_once_it_is_there(
    here: Place, tmp_path: Path
) -> None:
    case = edge("mode: SIMPLE, credentialName: a", "mode: SIMPLE, credentialName: missing")
    with running(case, here, tmp_path) as (proxy, management):
        envoy.wait_until(lambda: proxy.ask(asks("a")).status == 200)
        assert proxy.ask(asks("b")).status == 0
        management.renew(
            secrets(case) | {"kubernetes://missing": certificate("kubernetes://missing", ("b.example.com",))}
        )
        envoy.wait_until(lambda: proxy.ask(asks("b")).status == 200)
        assert proxy.ask(asks("a")).status == 200


def test_a_secret_is_turned_over_without_a_refused_connection(here: Place, tmp_path: Path) -> None:
    case = edge("mode: SIMPLE, credentialName: a")
    with running(case, here, tmp_path) as (proxy, management):
        # curl takes only a certificate for the host that it asked for
        assert proxy.ask(asks("a")).status == 200
        wrong = certificate("kubernetes://a", ("other.example.com",))
        management.renew(secrets(case) | {"kubernetes://a": wrong})
        envoy.wait_until(lambda: not proxy.is_trusted(asks("a")))
        management.renew(secrets(case))
        envoy.wait_until(lambda: proxy.is_trusted(asks("a")))
        assert [proxy.ask(asks("a")).status for _ in range(10)] == [200] * 10


def test_roots_and_revocations_of_clients_are_turned_over(here: Place, tmp_path: Path) -> None:
    case = edge("mode: MUTUAL, credentialName: a")
    with running(case, here, tmp_path) as (proxy, management):
        assert proxy.ask(asks("a", certificate="revoked")).status == 200
        name = "kubernetes://a-cacert"
        management.renew(secrets(case) | {name: roots(name, revoking=True)})
        envoy.wait_until(lambda: proxy.ask(asks("a", certificate="revoked")).status == 0)
        assert proxy.ask(asks("a", certificate="client")).status == 200


def test_envoy_knows_every_suite_and_curve_that_users_may_name(here: Place, tmp_path: Path) -> None:
    suites, curves = ", ".join(CIPHER_SUITES), ", ".join(CURVES)
    case = edge(f"mode: SIMPLE, credentialName: a, cipherSuites: [{suites}], ecdhCurves: [{curves}]")
    with running(case, here, tmp_path) as (proxy, _):
        assert proxy.ask(asks("a")).status == 200
        assert proxy.ask(asks("a", curves=["P-521"])).status == 200


@pytest.mark.parametrize("suite", ["DES-CBC3-SHA", "NULL-SHA", "RC4-SHA"])
def test_a_suite_that_envoy_would_refuse_is_not_among_those(suite: str) -> None:
    assert suite not in CIPHER_SUITES
