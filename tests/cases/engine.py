"""Given objects of a cluster and a client, what becomes of its requests: cases as YAML, and their engines.

A case is a file with

- `given`: Kubernetes' and Istio's objects, as `kubectl apply` takes them;
- `from`: the client's namespace, labels, locality, node, its proxy's `settings` (`proxy.istio.io/config`);
- `requests`: each with a method and URL (`get: http://canary/`), perhaps `headers`, and `then`: the share of the
  requests, in percent, by destination or by the status that the proxy itself answers (503 where nothing is).
  A destination is `host|port|subset`, or just the subset of the host that was asked (`""` for none).
  Where they matter: `becomes`, the `path`, `host` and `headers` (null for one that is gone) that the destination
  sees; `answer`, the `location`, `body` and `headers` that the client gets; `mirrors`, the share of the requests
  that is copied, in percent by destination; `route`, a part of what the route must be, as Envoy's JSON has it.
  A host that nobody knows is `passed` or `closed`; `by` is an ADDRESS:PORT that is dialled in place of the host's;
- `policies`: by host and subset (`""` for none), the load balancer and the TLS mode;
- `clusters`: by destination, a part of what its cluster must be, as Envoy's JSON has it;
- `spread`: by destination, the share of its requests in percent by endpoint, named by its address;
- `secured`: by destination, the TLS towards its endpoints: `sni`, `certificate` and `roots` (the secrets), `names`
  (of which the certificate must be for one); null for plaintext;
- `resources`: by type (`listener`, `route`, `cluster`, `extension`, `bootstrap`) and name, a part of what the
  resource must be, as Envoy's JSON has it, null for one that must not be there;
- `settings`: what the client's proxy is started with (`PROXY_CONFIG`), all of it;
- `filters`: by the name of a listener, the names of its HTTP filters in their order;
- `chains`: by the name of a listener, the names of its filter chains in their order;
- `endpoints`: the same of the endpoints that a destination has;
- `problems`: codes with the fields they name, all of them and no others.

Where EnvoyFilters change the way of requests, `patched: true` says that the model alone cannot answer; a request
that meets something which the simulator does not understand names it in `simulator`.

Three engines answer: the model alone, Envoy's own resources read by `weft.xds.simulate`, and the real Envoy
(`in_envoy`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import yaml
from google.protobuf import json_format
from tests.cases import tokens
from tests.cases.dialled import APPLICATION, CLOSED, PASSED, RESOLVED, dialled, unlisted
from tests.cases.dialled import key as dialled_key

from weft.api.proxy_settings_checks import merged
from weft.base.names import full_host
from weft.base.regex import fits
from weft.model.proxy_traits import traits
from weft.model.routing import Destination, HttpRoute, MatchKind, RequestMatch, StringMatch, Unresolved
from weft.model.services import Proxy, ProxyKind
from weft.model.snapshot import Snapshot
from weft.model.store import Store
from weft.model.view import ServiceView, View
from weft.model.views import view
from weft.xds import names, simulate
from weft.xds.generate import Generator
from weft.xds.proto import cluster_pb2, endpoint_pb2, route_pb2
from weft.xds.resource import CLUSTER, ENDPOINT, ROUTE
from weft.xds.simulate_match import matches

HERE = Path(__file__).parent
DOMAIN = "cluster.local"
METHODS = ("get", "head", "post", "put", "delete", "options")


@dataclass(frozen=True)
class Request:
    """A request of a case; `address` is the host name as the client writes it. Header names are lower-case."""

    method: str
    scheme: str
    address: str
    port: int
    path: str
    query: tuple[tuple[str, str], ...]
    headers: tuple[tuple[str, str], ...]
    then: tuple[tuple[str, float], ...]
    becomes: dict[str, Any] = field(default_factory=dict)
    answer: dict[str, Any] = field(default_factory=dict)
    mirrors: tuple[tuple[str, float], ...] = ()
    route: dict[str, Any] = field(default_factory=dict)
    simulator: str = ""
    by: str = ""
    claims: Mapping[str, Any] = field(default_factory=dict)
    """Those of its good token."""


@dataclass(frozen=True)
class Case:
    """A file, read."""

    snapshot: Snapshot
    view: View
    requests: tuple[Request, ...]
    policies: dict[str, dict[str, list[str]]]
    clusters: dict[str, dict[str, Any]]
    problems: list[list[str]] | None
    spread: dict[str, dict[str, float]] = field(default_factory=dict)
    secured: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    resources: dict[str, dict[str, Any]] = field(default_factory=dict)
    filters: dict[str, list[str]] = field(default_factory=dict)
    chains: dict[str, list[str]] = field(default_factory=dict)
    patched: bool = False
    settings: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
    """What the client's proxy is started with, and what the case says of it."""
    endpoints: dict[str, dict[str, Any]] = field(default_factory=dict)


TABLES = ("authorization",)
"""The folders of truth tables, which `access` reads."""
EDGE = ("gateways", "ingresses", "gateway_filters", "request_authentication")
"""The folders of the cases from outside the mesh; `edge` asks their requests."""


def files(*, edge: bool = False) -> list[Path]:
    """The cases; with `edge`, those whose requests come from outside too."""
    return sorted(each for each in HERE.glob("*/*.yaml") if edge or each.parent.name not in (*EDGE, *TABLES))


def load(path: Path) -> Case:
    return read(yaml.safe_load(tokens.text(path)))


def read(body: dict[str, Any]) -> Case:
    store = Store()
    for each in body["given"]:
        store.apply(each["kind"], each)
    snapshot = store.snapshot()
    client = body.get("from", {})
    settings = merged(
        snapshot.mesh.default_config,
        *snapshot.directory.proxy_configs.layers(client.get("namespace", "default"), client.get("labels", {})),
        client.get("settings", {}),
    )
    proxy = Proxy(
        name="client",
        namespace=client.get("namespace", "default"),
        address="10.244.0.99",
        labels=tuple(sorted({**client.get("labels", {}), **client.get("gateway", {})}.items())),
        kind=ProxyKind.ROUTER if "gateway" in client else ProxyKind.SIDECAR,
        locality=client.get("locality", ""),
        node=client.get("node", ""),
        metadata=tuple(sorted(client.get("metadata", {}).items())),
        traits=traits(settings, at_edge="gateway" in client),
    )
    inside = () if proxy.kind is ProxyKind.ROUTER else body.get("requests", ())
    requests = tuple(request(each, proxy.namespace) for each in inside)

    def by_destination(key: str) -> dict[str, Any]:
        return {_destination(name, "", 0, proxy.namespace): part for name, part in body.get(key, {}).items()}

    seen = view(snapshot, proxy)
    return Case(
        snapshot=snapshot,
        view=seen,
        requests=requests,
        policies=body.get("policies", {}),
        clusters=by_destination("clusters"),
        endpoints=by_destination("endpoints"),
        problems=body.get("problems"),
        spread=by_destination("spread"),
        secured=by_destination("secured"),
        resources=body.get("resources", {}),
        filters=body.get("filters", {}),
        chains=body.get("chains", {}),
        patched=body.get("patched", False),
        settings=(settings, body.get("settings", settings)),
    )


def request(body: dict[str, Any], namespace: str) -> Request:
    method = next(each for each in METHODS if each in body)
    url = urlsplit(body[method])
    host = url.hostname or ""
    port = url.port or 80
    return Request(
        method=method.upper(),
        scheme=url.scheme,
        address=host,
        port=port,
        path=url.path or "/",
        query=tuple(parse_qsl(url.query, keep_blank_values=True)),
        headers=tuple((name.lower(), str(value)) for name, value in body.get("headers", {}).items()),
        then=_placed(body["then"], host, port, namespace),
        becomes=body.get("becomes", {}),
        answer=body.get("answer", {}),
        mirrors=_placed(body.get("mirrors", {}), host, port, namespace),
        route=body.get("route", {}),
        simulator=body.get("simulator", ""),
        by=body.get("by", ""),
    )


def _placed(shares: dict[Any, float], host: str, port: int, namespace: str) -> tuple[tuple[str, float], ...]:
    return tuple(sorted((_destination(str(key), host, port, namespace), share) for key, share in shares.items()))


def _destination(written: str, host: str, port: int, namespace: str) -> str:
    if written.isdigit() or written in {PASSED, CLOSED, RESOLVED, APPLICATION}:
        return written
    if "|" in written:
        other, number, subset = written.split("|")
        return f"{fqdn(other, namespace)}|{number}|{subset}"
    return f"{fqdn(host, namespace)}|{port}|{written}"


def fqdn(host: str, namespace: str) -> str:
    """A service's full name, as DNS in a pod finds it."""
    parts = host.split(".")
    match parts:
        case [_] | [_, _, "svc", *_]:
            return full_host(host, namespace, DOMAIN)
        case [name, other]:
            return f"{name}.{other}.svc.{DOMAIN}"
        case _:
            return host


def shares(request: Request, seen: View) -> tuple[tuple[str, float], ...]:
    """Where the request goes by the model alone: percent by destination or status."""
    to = dialled(fqdn(request.address, seen.proxy.namespace), request.port, request.by, seen)
    if to.routes is None:
        return ((unlisted(to.port, seen), 100.0),)
    route = _route(request, seen)
    return (("404", 100.0),) if route is None else route_shares(route, lambda each: _key(each, seen))


def route_shares(
    route: HttpRoute, key_of: Callable[[Destination | Unresolved], str]
) -> tuple[tuple[str, float], ...]:
    """What a route makes of its requests: percent by destination or status."""
    if route.outcome is not None:
        return ((str(route.outcome.status), 100.0),)
    found: dict[str, float] = {}
    aborted = route.abort.percentage if route.abort else 0.0
    if route.abort:
        found[str(route.abort.status or 200)] = aborted
    total = sum(each.weight for each in route.destinations)
    for each in route.destinations:
        key = key_of(each)
        found[key] = found.get(key, 0.0) + (100.0 - aborted) * each.weight / total
    return rounded(found)


def mirrors(request: Request, seen: View) -> tuple[tuple[str, float], ...]:
    """Where copies of the request go by the model alone."""
    route = _route(request, seen)
    copies = route.mirrors if route else ()
    return rounded({_key(each.destination, seen): each.percentage for each in copies})


def _route(request: Request, seen: View) -> HttpRoute | None:
    to = dialled(fqdn(request.address, seen.proxy.namespace), request.port, request.by, seen)
    return next((each for each in (to.routes.routes if to.routes else ()) if takes(each, request)), None)


def rounded(found: dict[str, float]) -> tuple[tuple[str, float], ...]:
    return tuple(sorted((key, round(share, 3)) for key, share in found.items() if share))


def simulated(request: Request, seen: View) -> simulate.Outcome:
    """What becomes of the request by the resources that Envoy gets."""
    return simulate.simulate(asked(request, seen), Generator().resources(seen))


def route(request: Request, seen: View) -> dict[str, Any]:
    """The route that takes the request, as Envoy's JSON."""
    wanted, resources = asked(request, seen), Generator().resources(seen)
    found = simulate.simulate(wanted, resources)
    table = route_pb2.RouteConfiguration.FromString(resources[ROUTE][found.table].body)
    host = next(each for each in table.virtual_hosts if each.name == found.virtual_host)
    taken = next(each for each in host.routes if matches(each.match, wanted))
    return json_format.MessageToDict(taken)


def asked(request: Request, seen: View) -> simulate.Request:
    """The request as the simulator takes it."""
    to = dialled(fqdn(request.address, seen.proxy.namespace), request.port, request.by, seen)
    query = "&".join(f"{name}={value}" for name, value in request.query)
    return simulate.Request(
        address=to.address,
        port=to.port,
        # clients leave out the port only if it is the scheme's own
        host=dict(request.headers).get(
            "host", request.address if request.port == 80 else f"{request.address}:{request.port}"
        ),
        path=f"{request.path}?{query}" if query else request.path,
        method=request.method,
        headers=request.headers,
    )


def outcome_shares(outcome: simulate.Outcome) -> tuple[tuple[str, float], ...]:
    """An outcome as cases write it: percent by destination or status."""
    if outcome.status:
        return ((str(outcome.status), 100.0),)
    aborted = outcome.abort.percent if outcome.abort else 0.0
    found: dict[str, float] = {str(outcome.abort.status or 200): aborted} if outcome.abort else {}
    for each in outcome.shares:
        key = dialled_key(each.cluster, refused="503" if outcome.table else CLOSED)
        found[key] = found.get(key, 0.0) + (100.0 - aborted) * each.percent / 100.0
    return rounded(found)


def outcome_mirrors(outcome: simulate.Outcome) -> tuple[tuple[str, float], ...]:
    """An outcome's mirrors as cases write them."""
    return rounded({cluster_key(each.cluster): each.percent for each in outcome.mirrors})


def request_headers(request: Request, outcome: simulate.Outcome) -> dict[str, str]:
    """The headers that the destination sees, of those that the client sent and the route changes."""
    headers = dict(request.headers)
    for changes in (*(each.headers for each in outcome.shares), outcome.headers):
        for name in changes.request_remove:
            headers.pop(name, None)
        headers |= dict(changes.request_set)
        for name, value in changes.request_add:
            headers[name] = f"{headers[name]},{value}" if name in headers else value
    return headers


def cluster_key(name: str) -> str:
    """A cluster as cases write it; 503 for the one that has no endpoint."""
    _, _, rest = name.partition("outbound|")
    if not rest:
        return "503"
    port, subset, hostname = rest.split("|")
    return f"{hostname}|{port}|{subset}"


def _key(each: Destination | Unresolved, seen: View) -> str:
    if isinstance(each, Unresolved):
        return "503"
    listed = (*seen.services, *seen.scope.reached, *(one for other in seen.scope.egress for one in other.services))
    service = next(other for other in listed if other.service.hostname == each.hostname)
    assert not each.subset or each.subset in {subset.name for subset in service.traffic.subsets}
    return f"{each.hostname}|{each.port}|{each.subset}"


def takes(route: HttpRoute, request: Request) -> bool:
    return not route.matches or any(_fits(match, request) for match in route.matches)


def _fits(match: RequestMatch, request: Request) -> bool:
    headers, query = dict(request.headers), dict(request.query)
    single = (
        (match.uri, request.path),
        (match.method, request.method),
        (match.scheme, request.scheme),
        (match.authority, headers.get("host", request.address)),
    )
    return (
        all(wanted is None or _equal(wanted, value) for wanted, value in single)
        and all(_equal(wanted, headers.get(name)) for name, wanted in match.headers)
        and not any(_equal(unwanted, headers.get(name)) for name, unwanted in match.without_headers)
        and all(_equal(wanted, query.get(name)) for name, wanted in match.query)
        and all(_claims(wanted, path, request) for path, wanted in match.claims)
        and not any(_claims(unwanted, path, request) for path, unwanted in match.without_claims)
    )


def _claims(wanted: StringMatch, path: tuple[str, ...], request: Request) -> bool:
    """Whether a claim fits: a text, or one of a list."""
    found: Any = request.claims
    for part in path:
        found = found.get(part) if isinstance(found, dict) else None
    if wanted.kind is MatchKind.PRESENT:
        return found is not None
    return any(
        _equal(wanted, each) for each in (found if isinstance(found, list) else [found]) if each is not None
    )


def _equal(wanted: StringMatch, value: str | None) -> bool:
    if value is None:
        return False
    asked = wanted.value
    if wanted.ignore_case:
        asked, value = asked.lower(), value.lower()
    match wanted.kind:
        case MatchKind.EXACT:
            return value == asked
        case MatchKind.PREFIX:
            return value.startswith(asked)
        case MatchKind.REGEX:
            return fits(asked, value)
        case MatchKind.PRESENT:
            return True


def asks_for_leave(request: Request) -> bool:
    """Whether it is a browser's preflight: a filter answers it, not the route."""
    return request.method == "OPTIONS" and "origin" in dict(request.headers)


def policies(case: Case, host: str) -> dict[str, list[str]]:
    """Load balancer and TLS mode by subset."""
    name = fqdn(host, case.view.proxy.namespace)
    found: ServiceView = next(each for each in case.view.services if each.service.hostname == name)
    listed = {"": found.traffic.policy} | {subset.name: subset.policy for subset in found.traffic.subsets}
    return {name: [policy.load_balancer.value, policy.tls.mode.value] for name, policy in listed.items()}


def cluster(case: Case, destination: str) -> dict[str, Any]:
    """The cluster of a destination, as Envoy's JSON."""
    hostname, port, subset = destination.split("|")
    body = Generator().resources(case.view)[CLUSTER][names.outbound_cluster(hostname, int(port), subset)].body
    return json_format.MessageToDict(cluster_pb2.Cluster.FromString(body))


def endpoints(case: Case, destination: str) -> dict[str, Any]:
    """The endpoints of a destination, told or brought by the cluster, as Envoy's JSON."""
    hostname, port, subset = destination.split("|")
    told = Generator().resources(case.view)[ENDPOINT].get(names.outbound_cluster(hostname, int(port), subset))
    if told is None:
        return dict(cluster(case, destination).get("loadAssignment", {}))
    return json_format.MessageToDict(endpoint_pb2.ClusterLoadAssignment.FromString(told.body))


def contains(whole: Any, part: Any) -> bool:
    """Whether `part` is in `whole`: of mappings, the keys named, null for none; of lists, one entry for each."""
    match part:
        case dict():
            return isinstance(whole, dict) and all(
                key not in whole if part[key] is None else key in whole and contains(whole[key], part[key])
                for key in part
            )
        case list():
            return isinstance(whole, list) and all(any(contains(each, one) for each in whole) for one in part)
        case _:
            return bool(whole == part)
