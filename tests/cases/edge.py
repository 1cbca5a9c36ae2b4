"""Cases of gateways: requests and connections from outside the mesh, by the model and by the simulator.

`from` names the gateway's pod by its labels and namespace: `{gateway: {istio: ingressgateway}, namespace: …}`.
The port of a request's URL is the one that clients dial, that of the gateway's Service. Besides what other cases
have, a request may say

- `sni`: the server name that the client asks for, by default the URL's host, `""` for none;
- `alpn`: what it offers, by default h2 and http/1.1 over TLS; `[h2]` in plaintext is HTTP/2 from the first byte;
- `versions`, `ciphers`, `curves`: what of TLS it can do;
- `certificate`: what it shows, one of `tests.support.edge_pki.clients`;
- `protocol`: what is spoken in the end;
- `at`: the address that it dials, by default any.

`connect: HOST:PORT` is a connection without a request; with `sni` it begins a TLS handshake that is passed on,
with `ended: true` one that the gateway is to end. `then: {refused: 100}` is a connection that leads nowhere.
`CERTS/` in a path stands for a folder with `crl.pem`, `server.pem`, `server-key.pem` and `roots.pem`.
"""

import json
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from tests.cases import access, access_reference, engine, tokens
from tests.cases.engine import Case, Request
from tests.support.edge_pki import clients

from weft.base.names import host_matches
from weft.model.mesh_config import PathNormalization
from weft.model.router import Asked, Chain, Requests, RoutedHost
from weft.model.routing import Destination, HttpRoute, Unresolved
from weft.model.server_tls import CertificateFile, SecretName, ServerMode, ServerTls
from weft.model.views import port_targets
from weft.xds import names, simulate
from weft.xds.gateway_tls import with_defaults
from weft.xds.generate import Generator
from weft.xds.path_normalization import normalize
from weft.xds.proto import http_connection_manager_pb2
from weft.xds.simulate_path import path_seen

REFUSED = "refused"

_NAMES = {
    "client": (("DNS", "client.example.com"), ("URI", "spiffe://partner/client")),
    "revoked": (("DNS", "client.example.com"), ("URI", "spiffe://partner/client")),
    "stranger": (("DNS", "client.example.com"), ("URI", "spiffe://partner/client")),
    "other": (("DNS", "other.example.com"), ("URI", "spiffe://partner/other")),
    "member": (("URI", "spiffe://cluster.local/ns/shop/sa/web"),),
}


@dataclass(frozen=True)
class EdgeRequest:
    """A request or, without a method, a connection. `port` is the pod's; `server_name` None means plaintext."""

    request: Request
    port: int
    server_name: str | None
    alpn: tuple[str, ...]
    versions: tuple[str, ...] = ("TLSv1_2", "TLSv1_3")
    cipher_suites: tuple[str, ...] = ()
    curves: tuple[str, ...] = ()
    certificate: str = ""
    protocol: str | None = None
    at: str = ""
    ended: bool = True

    @property
    def is_request(self) -> bool:
        return bool(self.request.method)


@dataclass(frozen=True)
class EdgeCase:
    """A file, read."""

    case: Case
    requests: tuple[EdgeRequest, ...]
    policies: tuple[dict[str, Any], ...] = ()
    given: tuple[dict[str, Any], ...] = ()


def load_edge(path: Path, folder: str = "/certs") -> EdgeCase:
    return read_edge(yaml.safe_load(tokens.text(path).replace("CERTS/", f"{folder}/")))


def read_edge(body: dict[str, Any]) -> EdgeCase:
    case = engine.read(body)
    targets = dict(port_targets(case.snapshot, case.view.proxy))
    requests = tuple(_request(each, targets, case.view.proxy.namespace) for each in body.get("requests", ()))
    policies = (each for each in body["given"] if each["kind"] == "AuthorizationPolicy")
    return EdgeCase(case, requests, tuple(policies), tuple(body["given"]))


def _request(body: dict[str, Any], targets: dict[int, int], namespace: str) -> EdgeRequest:
    if "connect" in body:
        host, _, port = body["connect"].rpartition(":")
        request = Request("", "tcp", host, int(port), "", (), (), _then(body["then"], namespace))
        server_name = body.get("sni")
        alpn: tuple[str, ...] = ()
    else:
        then = body["then"]
        request = replace(engine.request({**body, "then": {}}, namespace), then=_then(then, namespace))
        over_tls = request.scheme == "https"
        if over_tls and request.port == 80:
            request = replace(request, port=443)
        server_name = body.get("sni", request.address) if over_tls else None
        alpn = ("h2", "http/1.1") if over_tls else ("http/1.1",)
    return EdgeRequest(
        request=request,
        port=targets.get(request.port, request.port),
        server_name=server_name,
        alpn=tuple(body.get("alpn", alpn)),
        versions=tuple(body.get("versions", ("TLSv1_2", "TLSv1_3"))),
        cipher_suites=tuple(body.get("ciphers", ())),
        curves=tuple(body.get("curves", ())),
        certificate=body.get("certificate", ""),
        protocol=body.get("protocol"),
        at=body.get("at", ""),
        ended=body.get("ended", "connect" not in body),
    )


def _then(shares: dict[Any, float], namespace: str) -> tuple[tuple[str, float], ...]:
    found = {}
    for key, share in shares.items():
        written = str(key)
        if "|" in written:
            host, port, subset = written.split("|")
            written = f"{engine.fqdn(host, namespace)}|{port}|{subset}"
        found[written] = share
    return tuple(sorted(found.items()))


def by_model(asked: EdgeRequest, edge: EdgeCase) -> tuple[tuple[str, float], ...]:
    """Where a request goes by the model alone."""
    chain = chain_of(asked, edge)
    if chain is None or _is_refused(asked, chain, edge):
        return ((REFUSED, 100.0),)
    if edge.policies and (denied := _denied(asked, chain, edge)):
        return ((denied if isinstance(chain.handler, Requests) else REFUSED, 100.0),)
    match chain.handler:
        case Requests(table):
            return _requested(asked, edge, table)
        case Asked(hostname, port, subset):
            return ((f"{hostname}|{port}|{subset}", 100.0),)
        case route:
            total = sum(each.weight for each in route.destinations)
            found: dict[str, float] = {}
            for each in route.destinations:
                found[_place(each, REFUSED)] = found.get(_place(each, REFUSED), 0) + 100.0 * each.weight / total
            return engine.rounded(found)


def _denied(asked: EdgeRequest, chain: Chain, edge: EdgeCase) -> str:
    """The status with which policies keep it out, by their plain reading; empty if they do not."""
    request, proxy = asked.request, edge.case.view.proxy
    verdict = tokens.judged(edge.case.view.tokens, dict(request.headers), dict(request.query))
    shown = _NAMES[asked.certificate] if asked.certificate and chain.tls is not None else ()
    wanted = access.Ask(
        line="",
        who=next((name for kind, name in shown if kind == "URI"), ""),
        method=request.method if isinstance(chain.handler, Requests) else "bytes",
        port=asked.port,
        path=request.path,
        then="",
        source="127.0.0.1",
        server_name=asked.server_name or "",
        # what it says of who sent it counts for nothing at the edge
        token=json.dumps(verdict) if verdict and not isinstance(verdict, int) else "",
        headers={"host": request.address, **dict(request.headers)} | {"x-forwarded-for": _client(asked, edge)},
    )
    workload = access_reference.Workload(
        proxy.namespace, dict(proxy.labels), anybody=True, providers=access_reference.providers(edge.given)
    )
    # providers are asked first, and then its token is looked at
    asking = tuple(each for each in edge.policies if each["spec"].get("action") == "CUSTOM")
    for policies in (asking, () if isinstance(verdict, int) else edge.policies):
        found = access_reference.decide(wanted, policies, workload)[0]
        if found not in {"200", "in"}:
            return found
    return ""


def _client(asked: EdgeRequest, edge: EdgeCase) -> str:
    """The client's address: that of the connection, or what the last of the trusted proxies says of it."""
    router = edge.case.view.router
    trusted = router.topology.trusted_proxies if router is not None else 0
    told = dict(asked.request.headers).get("x-forwarded-for", "").split(",")
    return told[-trusted].strip() if 0 < trusted <= len(told) and told != [""] else "127.0.0.1"


def chain_of(asked: EdgeRequest, edge: EdgeCase) -> Chain | None:
    """The chain of the server name, the closest first; in plaintext, one that asks for none."""
    router = edge.case.view.router
    assert router is not None
    at = [each for each in router.listeners if each.port == asked.port and each.bind in {"", asked.at}]
    name = asked.server_name or ""

    def rank(chain: Chain) -> int | None:
        wanted = chain.match.server_names
        if isinstance(chain.handler, Asked):
            handler = chain.handler
            wanted = (names.sni(handler.hostname, handler.port, handler.subset),)
            if not any(each.startswith("istio") for each in asked.alpn):
                return None
        if not wanted:
            return 0
        fitting = (each for each in wanted if name and host_matches(each, name))
        # a whole name is closer than a wildcard of its length
        return max((2 * len(each) + (each == name) for each in fitting), default=None)

    for listener in sorted(at, key=lambda each: not each.bind):
        ranked = [(found, chain) for chain in listener.chains if (found := rank(chain)) is not None]
        return max(ranked, key=lambda each: each[0])[1] if ranked else None
    return None


def _is_refused(asked: EdgeRequest, chain: Chain, edge: EdgeCase) -> bool:
    mesh = edge.case.view.mesh
    tls = chain.tls
    if tls is not None:
        tls = with_defaults(tls, mesh.mutual_tls if tls.mode is ServerMode.ISTIO_MUTUAL else mesh.tls)
    if tls is None:
        # what is not TLS cannot have been asked for by name
        return asked.is_request and asked.server_name is not None and isinstance(chain.handler, Requests)
    if asked.server_name is None or not _agree(asked, tls):
        return True
    return not _lets_in(asked.certificate, tls)


def _agree(asked: EdgeRequest, tls: ServerTls) -> bool:
    known = ("TLSv1_0", "TLSv1_1", "TLSv1_2", "TLSv1_3")
    least, most = (text.replace("TLSV", "TLSv") for text in (tls.least or "TLSV1_2", tls.most or "TLSV1_3"))
    common = [each for each in known[known.index(least) : known.index(most) + 1] if each in asked.versions]
    if not common:
        return False
    if common[-1] != known[-1] and tls.cipher_suites and asked.cipher_suites:
        return bool(set(tls.cipher_suites) & set(asked.cipher_suites))
    return not (tls.curves and asked.curves) or bool(set(tls.curves) & set(asked.curves))


def _lets_in(shown: str, tls: ServerTls) -> bool:
    if tls.mode is ServerMode.SIMPLE:
        return True
    if not shown:
        return tls.mode is ServerMode.OPTIONAL_MUTUAL
    mesh = tls.mode is ServerMode.ISTIO_MUTUAL
    trusted = shown == "member" if mesh else shown in {"client", "other", "revoked"}
    if not (trusted or tls.unverified) or (tls.crl and shown == "revoked"):
        return False
    owned = {name for _, name in _NAMES[shown]}
    if tls.names and not owned & set(tls.names):
        return False
    certificate = clients()[shown]
    hashes = {each.replace(":", "").lower() for each in tls.hashes}
    pinned = bool(tls.keys or hashes)
    return not pinned or certificate.spki in tls.keys or certificate.digest in hashes


def _requested(asked: EdgeRequest, edge: EdgeCase, table: str) -> tuple[tuple[str, float], ...]:
    router, request = edge.case.view.router, asked.request
    assert router is not None
    hosts = next(each.hosts for each in router.tables if each.name == table)
    wanted = _bare(dict(request.headers).get("host", request.address))
    if asked.server_name is not None and chain_of(asked, edge) != chain_of(
        replace(asked, server_name=wanted), edge
    ):
        return (("421", 100.0),)
    host = _host(wanted, hosts)
    if host is None:
        return (("404", 100.0),)
    if host.redirect and request.scheme == "http":
        return (("301", 100.0),)
    routes: list[HttpRoute] = [route for rule in host.routes for route in rule.routes]
    verdict = tokens.judged(edge.case.view.tokens, dict(request.headers), dict(request.query))
    if isinstance(verdict, int):
        return ((str(verdict), 100.0),)
    request = replace(request, claims=verdict, path=_alike(request.path, edge.case.view.mesh.paths))
    taken = next((each for each in routes if engine.takes(each, request)), None)
    if taken is None:
        return (("404", 100.0),)
    return engine.route_shares(taken, lambda each: _place(each, "503"))


def _alike(path: str, how: PathNormalization) -> str:
    """The path as the mesh's settings make paths alike."""
    manager = http_connection_manager_pb2.HttpConnectionManager()
    normalize(manager, how)
    return path_seen(manager, path) or ""


def _bare(written: str) -> str:
    return re.sub(r":\d+$", "", written.lower())


def _host(name: str, hosts: tuple[RoutedHost, ...]) -> RoutedHost | None:
    fitting = [each for each in hosts if host_matches(each.host, name)]
    return max(fitting, key=lambda each: (each.host == name, len(each.host)), default=None)


def _place(each: Destination | Unresolved, nowhere: str) -> str:
    return nowhere if isinstance(each, Unresolved) else f"{each.hostname}|{each.port}|{each.subset}"


def simulated(asked: EdgeRequest, edge: EdgeCase, answers: access.Answers | None = None) -> simulate.Outcome:
    """What becomes of the request by the resources that Envoy gets; `answers` are other than the usual ones."""
    request = asked.request
    if answers is None:
        headers = dict(request.headers) if asked.is_request else None
        answers = access.answers(headers, "127.0.0.1", edge.case.snapshot.mesh.providers)
    query = "&".join(f"{name}={value}" for name, value in request.query)
    return simulate.simulate(
        simulate.Request(
            address=asked.at or edge.case.view.proxy.address,
            port=asked.port,
            host=dict(request.headers).get("host", request.address),
            path=f"{request.path}?{query}" if query else request.path,
            method=request.method,
            headers=request.headers,
            http=asked.is_request,
            tls=asked.server_name is not None,
            server_name=asked.server_name or "",
            protocols=asked.alpn,
            versions=asked.versions,
            cipher_suites=asked.cipher_suites,
            curves=asked.curves,
            certificate=_shown(asked.certificate, edge),
            time=datetime.now(UTC),
            answers=answers,
        ),
        Generator().resources(edge.case.view),
    )


def _shown(name: str, edge: EdgeCase) -> simulate.ClientCertificate | None:
    if not name:
        return None
    certificate = clients()[name]
    vouching = {"member": ("ROOTCA",), "stranger": ()}.get(name, client_roots(edge))
    return simulate.ClientCertificate(
        vouching, _NAMES[name], certificate.spki, certificate.digest, revoked=name == "revoked"
    )


def client_roots(edge: EdgeCase) -> tuple[str, ...]:
    """The SDS names of all roots that verify clients from outside."""
    found = []
    for tls in ended(edge):
        match tls.roots:
            case SecretName(name):
                found.append(names.secret(name))
            case CertificateFile(path, _):
                found.append(names.file_roots(path))
    return tuple(dict.fromkeys(found))


def ended(edge: EdgeCase) -> list[ServerTls]:
    """How TLS is ended, for each server that does."""
    router = edge.case.view.router
    assert router is not None
    return [chain.tls for each in router.listeners for chain in each.chains if chain.tls is not None]


def outcome_shares(outcome: simulate.Outcome) -> tuple[tuple[str, float], ...]:
    """An outcome as cases write it."""
    if outcome.refused:
        return ((REFUSED, 100.0),)
    if outcome.table:
        return engine.outcome_shares(outcome)
    found: dict[str, float] = {}
    for each in outcome.shares:
        key = place(each.cluster)
        found[key] = found.get(key, 0.0) + each.percent
    return engine.rounded(found)


def place(cluster: str) -> str:
    """A cluster as cases write it: `host|port|subset`."""
    by_name = re.fullmatch(r"outbound_\.(\d+)_\.(.*?)_\.(.*)", cluster)
    if by_name:
        return "{2}|{0}|{1}".format(*by_name.groups())
    _, mark, rest = cluster.partition("outbound|")
    if not mark:
        return REFUSED
    port, subset, hostname = rest.split("|")
    return f"{hostname}|{port}|{subset}"
