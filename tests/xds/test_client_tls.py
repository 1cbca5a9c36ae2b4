"""TLS that the real Envoy begins towards real servers: whom it believes, and what they see of it."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
import yaml
from tests.cases.engine import Request
from tests.cases.in_envoy import Answer, Place, place
from tests.support import envoy
from tests.support.identities import Authority
from tests.support.tls_server import serving

from weft.model.services import Proxy
from weft.model.store import Store
from weft.model.views import view
from weft.xds.generate import Generator

PORT = 9443


@dataclass(frozen=True)
class Host:
    """A service with one server. `by` issued its certificate, for `name`; `clients` are whom the server takes."""

    tls: str
    name: str
    by: str = "public"
    clients: str = ""
    protocol: str = "http"


HOSTS = {
    "simple": Host("{mode: SIMPLE}", "simple"),
    "foreign": Host("{mode: SIMPLE}", "foreign", "stranger"),
    "misnamed": Host("{mode: SIMPLE}", "another"),
    "asked": Host("{mode: SIMPLE, sni: a.example}", "a.example"),
    "misasked": Host("{mode: SIMPLE, sni: a.example}", "b.example"),
    "listed": Host("{mode: SIMPLE, subjectAltNames: [b.example, c.example]}", "c.example"),
    "unlisted": Host("{mode: SIMPLE, subjectAltNames: [b.example]}", "c.example"),
    "private": Host("{mode: SIMPLE, caCertificates: /own.pem, sni: a.example}", "whatever", "own"),
    "not-private": Host("{mode: SIMPLE, caCertificates: /own.pem}", "not-private", "public"),
    "anyone": Host("{mode: SIMPLE, insecureSkipVerify: true}", "whatever", "stranger"),
    "mutual": Host("{mode: MUTUAL, clientCertificate: /c, privateKey: /k}", "mutual", clients="own"),
    "no-client": Host("{mode: SIMPLE}", "no-client", clients="own"),
    "secret": Host("{mode: MUTUAL, credentialName: client}", "secret", "own", clients="own"),
    "revoked": Host("{mode: SIMPLE, caCertificates: /own.pem, caCrl: /crl.pem}", "revoked", "own"),
    "unrevoked": Host("{mode: SIMPLE, caCertificates: /own.pem, caCrl: /crl.pem}", "unrevoked", "own"),
    "missing": Host("{mode: SIMPLE, caCertificates: /missing.pem}", "missing"),
    "bytes": Host("{mode: SIMPLE}", "bytes.shop.svc.cluster.local", protocol="tcp"),
    "misnamed-bytes": Host("{mode: SIMPLE}", "bytes.shop.svc.cluster.local", protocol="tcp"),
}


@dataclass
class Client:
    """An application behind its sidecar."""

    here: Place
    addresses: dict[str, str]

    def ask(self, host: str) -> Answer:
        request = Request("GET", "http", host, 80, "/", (), (), ())
        return self.here.ask(request, self.addresses[host], host)

    def seen(self, host: str) -> Any:
        """What the server saw of the handshake."""
        answer = self.ask(host)
        assert answer.status == 200, (host, answer)
        return json.loads(answer.body)


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    authorities = {name: Authority(name) for name in ("public", "own", "stranger")}
    servers = {name: authorities[host.by].serve(host.name) for name, host in HOSTS.items()}
    known = authorities["own"].serve("client.example")
    revoked = authorities["own"].revoke(servers["revoked"])
    trusted = {
        "file-root:system": authorities["public"].serve("x"),
        "file-root:/own.pem": known,
        "kubernetes://client-cacert": known,
    }
    secrets: dict[str, bytes | None] = {name: envoy.roots(name, identity) for name, identity in trusted.items()}
    secrets["file-root:/own.pem~/crl.pem"] = envoy.roots("file-root:/own.pem~/crl.pem", known, revoked)
    secrets["file-root:/missing.pem"] = None
    secrets |= {name: envoy.certificate(name, known) for name in ("file-cert:/c~/k", "kubernetes://client")}
    with place() as here, envoy.scratch() as folder, ExitStack() as running:
        store, addresses = Store(), {}
        for number, (name, host) in enumerate(HOSTS.items()):
            addresses[name] = f"10.96.0.{number + 1}"
            for obj in _objects(name, host, addresses[name], f"127.64.0.{number + 1}"):
                store.apply(obj["kind"], obj)
            roots = authorities[host.clients].roots if host.clients else ""
            running.enter_context(
                serving(here.namespace, f"127.64.0.{number + 1}", PORT, servers[name], folder, roots)
            )
        proxy = Proxy("client", "shop", "10.244.0.99", labels=(("app", "client"),))
        resources = Generator().resources(view(store.snapshot(), proxy))
        started = envoy.started(resources, here.identity, namespace=here.namespace, secrets=secrets)
        _, management = running.enter_context(started)
        assert management.rejected == []
        yield Client(here, addresses)


def _objects(name: str, host: Host, address: str, endpoint: str) -> list[dict[str, Any]]:
    meta = {"name": name, "namespace": "shop"}
    labels = {"kubernetes.io/service-name": name}
    return [
        {"kind": "Service", "metadata": meta, "spec": {"clusterIP": address, "ports": [_port(host.protocol, 80)]}},
        {
            "kind": "EndpointSlice",
            "metadata": {**meta, "labels": labels},
            "ports": [_port(host.protocol, PORT)],
            "endpoints": [{"addresses": [endpoint]}],
        },
        {
            "kind": "DestinationRule",
            "metadata": meta,
            "spec": {
                "host": name,
                "workloadSelector": {"matchLabels": {"app": "client"}},
                "trafficPolicy": {"tls": yaml.safe_load(host.tls)},
            },
        },
    ]


def _port(protocol: str, number: int) -> dict[str, Any]:
    return {"name": protocol, "port": number}


@pytest.mark.parametrize("host", ["simple", "asked", "listed", "private", "anyone", "unrevoked", "bytes"])
def test_a_server_with_the_right_certificate_is_asked(client: Client, host: str) -> None:
    assert client.ask(host).status == 200


@pytest.mark.parametrize("host", ["foreign", "misnamed", "misasked", "unlisted", "not-private", "no-client"])
def test_a_server_that_is_not_the_right_one_is_not_asked(client: Client, host: str) -> None:
    assert client.ask(host).status == 503


def test_a_revoked_certificate_is_refused(client: Client) -> None:
    assert client.ask("revoked").status == 503


def test_servers_are_asked_for_by_the_requests_host_or_by_the_name_of_the_rule(client: Client) -> None:
    assert client.seen("simple")["sni"] == "simple"
    assert client.seen("asked")["sni"] == "a.example"
    assert client.seen("bytes")["sni"] == "bytes.shop.svc.cluster.local"


def test_servers_outside_are_offered_no_protocol_of_the_meshs_own(client: Client) -> None:
    assert client.seen("simple")["alpn"] == "http/1.1"


def test_a_certificate_is_shown_from_a_file_or_from_a_secret(client: Client) -> None:
    assert client.seen("mutual")["client"] == ["client.example"]
    assert client.seen("secret")["client"] == ["client.example"]
    assert client.seen("simple")["client"] == []


def test_roots_in_a_file_that_is_missing_close_their_own_cluster_alone(client: Client) -> None:
    # a cluster that waited for them would keep Envoy from taking in any other
    assert client.ask("missing").status == 503
    assert client.seen("simple")["sni"] == "simple"


def test_connections_of_no_known_protocol_are_verified_as_well(client: Client) -> None:
    assert client.ask("misnamed-bytes").status == 0
