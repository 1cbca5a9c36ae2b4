"""Cases of who may call a workload: truth tables, by a reference evaluator and by the simulator.

A file has `given` objects, `to` the workload (namespace, labels, `ports` with what they speak) or a `gateway`, and
`asks`: a table with a line for each request or connection:

    WHO METHOD TARGET [NAME=VALUE…] THEN

WHO is `NAMESPACE/ACCOUNT` by mutual TLS (`DOMAIN:NAMESPACE/ACCOUNT` of another trust domain), `-` in plaintext.
TARGET is `/path`, or `:PORT/path` for another port than 8080; what stands behind `:PORT|` is asked for as it is,
`http://HOST/path` for instance. METHOD `bytes` is a connection without a request.
`from=ADDRESS` is where it comes from, `sni=` what TLS asks for, `token=` are claims of its token, which is found
valid; any other NAME is a header, which may come twice. THEN is a status, `in`
or `closed`; 403 may say by what: `403:deny` is rule 0 of the policy `deny`, `403:-` that none allows it.
Providers are at 127.64.0.1, by HTTP on 9001 and by gRPC on 9002: they decide by the header `x-ext-authz`, and of
connections by their source (`tests.support.ext_authz.by_header`); at other ports nobody answers.

`access_reference` says the same from the policies as written.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from tests.cases.engine import DOMAIN
from tests.support.ext_authz import Shown, by_header

from weft.api.proxy_settings_checks import merged
from weft.model.external_authorization import Provider
from weft.model.proxy_traits import traits
from weft.model.services import InboundPort, Protocol, Proxy
from weft.model.snapshot import Snapshot
from weft.model.store import Store
from weft.model.view import View
from weft.model.views import view
from weft.xds import names, simulate
from weft.xds.generate import Generator
from weft.xds.resource import Resources

HERE = Path(__file__).parent / "authorization"
POD = "10.244.0.99"
PROVIDERS = {9001: "http", 9002: "grpc"}
"""Where providers answer, and how."""
OFFERED = {True: ("istio-http/1.1", "istio", "http/1.1"), False: ("istio-peer-exchange", "istio")}
"""What a sidecar offers by ALPN, for requests and for bytes."""


@dataclass(frozen=True)
class Ask:
    """A line. `by` is what denies it, where the line says so.

    `who` is a SPIFFE ID, or several with spaces between them, empty in plaintext.
    """

    line: str
    who: str
    method: str
    port: int
    path: str
    then: str
    by: str = ""
    source: str = "10.244.0.7"
    server_name: str = "outbound_.80_._.web.shop.svc.cluster.local"
    headers: dict[str, str] = field(default_factory=dict)
    more: tuple[tuple[str, str], ...] = ()
    """Headers that are there already, once more."""
    token: str = ""
    target: str = ""
    """What the request line says, where that is not the path alone."""

    @property
    def is_request(self) -> bool:
        return self.method != "bytes"

    @property
    def host(self) -> str:
        return self.headers.get("host", "web")


@dataclass(frozen=True)
class Access:
    """A file, read."""

    snapshot: Snapshot
    view: View
    asks: tuple[Ask, ...]
    policies: tuple[dict[str, Any], ...]
    problems: list[list[str]] | None
    resources: Resources
    given: tuple[dict[str, Any], ...]


def files() -> list[Path]:
    return sorted(HERE.glob("*.yaml"))


def load(path: Path) -> Access:
    return read(yaml.safe_load(path.read_text()))


def read(body: dict[str, Any]) -> Access:
    store = Store()
    for each in body["given"]:
        store.apply(each["kind"], each)
    to = body.get("to", {})
    namespace, labels = to.get("namespace", "shop"), to.get("labels", {"app": "web"})
    meta = {"name": "web", "namespace": namespace, "labels": labels}
    store.apply("Pod", {"kind": "Pod", "metadata": meta, "status": {"phase": "Running", "podIP": POD}})
    snapshot = store.snapshot()
    ports = to.get("ports", {8080: "http", 9000: "tcp"})
    proxy = Proxy(
        name="web",
        namespace=namespace,
        address=POD,
        labels=tuple(sorted(labels.items())),
        inbound=tuple(
            InboundPort(number, Protocol(protocol), f"web.{namespace}.svc.{DOMAIN}", 80)
            for number, protocol in ports.items()
        ),
        traits=traits(merged(snapshot.mesh.default_config), at_edge=False),
    )
    seen = view(snapshot, proxy)
    asks = (each for each in body.get("asks", "").splitlines() if each.strip() and not each.startswith("#"))
    policies = (each for each in body["given"] if each["kind"] == "AuthorizationPolicy")
    return Access(
        snapshot,
        seen,
        tuple(map(ask, asks)),
        tuple(policies),
        body.get("problems"),
        Generator().resources(seen),
        tuple(body["given"]),
    )


def ask(line: str) -> Ask:
    """Read a line of the table."""
    who, method, target, *named, then = line.split()
    values: dict[str, str] = {}
    more = []
    for name, _, value in (each.partition("=") for each in named):
        if name in values:
            more.append((name.lower(), value))
        else:
            values[name] = value
    domain, colon, account = who.rpartition(":")
    namespace, _, name = account.partition("/")
    port, path = "8080", target
    if target[0] == ":":
        found = re.fullmatch(r":(\d+)(?:\|(.+)|(/.*))?", target)
        assert found is not None, line
        port, path = found[1], found[2] or found[3] or ""
    status, _, by = then.partition(":")
    whole = re.fullmatch(r"http://([^/]*)(/.*)", path)
    if whole is not None:
        values |= {"host": whole[1]}
    given: dict[str, Any] = {
        key: values.pop(name)
        for key, name in (("source", "from"), ("server_name", "sni"), ("token", "token"))
        if name in values
    }
    return Ask(
        line=line,
        who="" if who == "-" else f"spiffe://{domain if colon else DOMAIN}/ns/{namespace}/sa/{name}",
        method=method,
        port=int(port),
        path=whole[2] if whole else path,
        target=path if whole else "",
        then=status,
        by=by,
        headers={name.lower(): value for name, value in values.items()},
        more=tuple(more),
        **given,
    )


def simulated(asked: Ask, access: Access) -> simulate.Outcome:
    """What becomes of it by the resources that Envoy gets."""
    shown = tuple(("URI", each) for each in asked.who.split())
    certificate = simulate.ClientCertificate(("ROOTCA",), shown) if shown else None
    headers = {name: value for name, value in asked.headers.items() if name != "host"}
    return simulate.simulate(
        simulate.Request(
            address=POD,
            port=asked.port,
            host=asked.host,
            path=asked.path,
            method=asked.method,
            headers=(*headers.items(), *asked.more),
            http=asked.is_request,
            tls=bool(asked.who),
            server_name=asked.server_name if asked.who else "",
            protocols=OFFERED[asked.is_request] if asked.who else (),
            source=asked.source,
            certificate=certificate,
            inbound=True,
            claims=asked.token,
            answers=answers(
                asked.headers if asked.is_request else None, asked.source, access.snapshot.mesh.providers
            ),
        ),
        access.resources,
    )


Answers = tuple[tuple[str, simulate.ProviderAnswer], ...]


def answers(headers: dict[str, str] | None, source: str, providers: tuple[Provider, ...]) -> Answers:
    """What providers say of a request with these headers; None: of a connection."""
    said = by_header(Shown("" if headers is None else "GET", "", headers or {}, source=source))
    return tuple(
        (
            names.outbound_cluster(each.host, each.port),
            simulate.ProviderAnswer(said.status if each.port in PROVIDERS else 0),
        )
        for each in providers
    )


def outcome(found: simulate.Outcome) -> tuple[str, str]:
    """An outcome as cases write it, and the policy that denied."""
    rule = re.fullmatch(r"(?:istio-.*-)?ns\[.*\]-policy\[(.*)\]-rule\[\d+\](?:-deny.*)?", found.denied)
    by = rule[1] if rule else "-" if found.denied else ""
    if found.refused:
        return "closed", by
    if not found.table:
        return "in", by
    return str(found.status or 200), by
