"""Random small worlds: services, rules for them as users could write them, and requests that may meet them."""

from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st
from tests.cases.engine import Request

Json = dict[str, Any]
NAMESPACE = "shop"
GATEWAY = {"istio": "ingressgateway"}
BEACON = Request("GET", "http", f"beacon.{NAMESPACE}.svc.cluster.local", 80, "/", (), (), ())
SUBSETS = ("v1", "v2")
PATHS = ("/", "/a", "/a/b", "/A/b", "/ab", "/v1/x", "/v12/users", "/a//b", "/%61")
HEADERS = ("x-user", "x-team", "cookie")
VALUES = ("me", "you", "me too", "session=7; a=b", "")


@dataclass(frozen=True)
class World:
    """Objects whose names begin with `name`, and requests to its services."""

    name: str
    objects: tuple[Json, ...]
    requests: tuple[Request, ...]


def string_match(values: tuple[str, ...], *, empty: bool = False) -> st.SearchStrategy[Json]:
    """A comparison that has a chance to fit one of `values`."""
    kinds = [
        st.sampled_from(values).filter(bool).map(lambda value: {"exact": value}),
        st.sampled_from(values).filter(bool).map(lambda value: {"prefix": value[: max(1, len(value) // 2)]}),
        st.sampled_from((".*", ".+e", "[a-z/]+", "m.*", "/v[0-9]+/.*")).map(lambda value: {"regex": value}),
    ]
    return st.one_of(*kinds, *([st.just({})] if empty else []))


@st.composite
def http_match(draw: st.DrawFn) -> Json:
    """Conditions on a request."""
    fields = {
        "uri": string_match(PATHS),
        "method": string_match(("GET", "POST")),
        "headers": st.dictionaries(st.sampled_from(HEADERS), string_match(VALUES, empty=True), max_size=2),
        "withoutHeaders": st.dictionaries(st.sampled_from(HEADERS), string_match(VALUES), max_size=1),
        "queryParams": st.dictionaries(st.sampled_from(("q", "page")), string_match(("1", "2")), max_size=1),
        "ignoreUriCase": st.booleans(),
        "port": st.sampled_from((80, 8080)),
    }
    chosen = draw(st.lists(st.sampled_from(sorted(fields)), max_size=3, unique=True))
    found = {name: draw(fields[name]) for name in chosen}
    return {name: value for name, value in found.items() if value not in ({}, None)}


@st.composite
def header_changes(draw: st.DrawFn) -> Json:
    """Changes of a request's and a response's headers."""
    names = st.sampled_from(("x-user", "x-new", "x-other"))
    values = st.sampled_from(("set", "two words", "100%%"))
    found: Json = {}
    for part in draw(st.lists(st.sampled_from(("request", "response")), max_size=2, unique=True)):
        how = draw(st.sampled_from(("set", "add", "remove")))
        found[part] = {how: [draw(names)] if how == "remove" else {draw(names): draw(values)}}
    return found


def destination(name: str) -> st.SearchStrategy[Json]:
    """A service of the world, or one that is not there; a subset, or one that is not there."""
    hosts = st.sampled_from((f"{name}-a", f"{name}-a", f"{name}-b", f"{name}-nobody"))
    subsets = st.sampled_from(("", *SUBSETS, "v9"))
    ports = st.sampled_from((80, 8080))

    def joined(host: str, subset: str, port: int) -> Json:
        return {"host": host, "port": {"number": port}, **({"subset": subset} if subset else {})}

    return st.builds(joined, hosts, subsets, ports)


@st.composite
def http_route(draw: st.DrawFn, name: str) -> Json:
    """One entry of spec.http."""
    found: Json = {}
    if matches := draw(st.lists(http_match(), max_size=2)):
        found["match"] = matches
    match draw(st.sampled_from(("route", "route", "route", "redirect", "answer"))):
        case "redirect":
            to = {"uri": "/new", "authority": "other.example.com", "port": 8443, "scheme": "https"}
            chosen = draw(st.lists(st.sampled_from(sorted(to)), min_size=1, max_size=3, unique=True))
            code = draw(st.sampled_from((301, 302, 303, 307, 308)))
            found["redirect"] = {key: to[key] for key in chosen} | {"redirectCode": code}
        case "answer":
            found["directResponse"] = {
                "status": draw(st.sampled_from((200, 404, 503))),
                "body": {"string": "here"},
            }
        case _:
            found |= draw(forwarding(name))
    if headers := draw(header_changes()):
        found["headers"] = headers
    return found


@st.composite
def forwarding(draw: st.DrawFn, name: str) -> Json:
    """Destinations, and what happens on the way to them."""
    targets = draw(st.lists(destination(name), min_size=1, max_size=3))
    routes: list[Json] = [{"destination": each} for each in targets]
    if len(routes) > 1:
        shares = draw(st.sampled_from(((50, 50, 0), (100, 0, 0), (30, 30, 40))))
        for each, share in zip(routes, shares[: len(routes)], strict=True):
            each["weight"] = share
    found: Json = {"route": routes}
    extras: dict[str, st.SearchStrategy[Any]] = {
        "rewrite": st.sampled_from(
            (
                {"uri": "/new"},
                {"authority": "inner.example.com"},
                {"uriRegexRewrite": {"match": "^/(a|v[0-9]+)/(.*)$", "rewrite": "/\\2/\\1"}},
            )
        ),
        "timeout": st.sampled_from(("0s", "5s", "250ms")),
        "retries": st.sampled_from(({"attempts": 0}, {"attempts": 2, "retryOn": "5xx"})),
        "fault": st.sampled_from(
            (
                {"abort": {"httpStatus": 418, "percentage": {"value": 100}}},
                {"abort": {"httpStatus": 418, "percentage": {"value": 0}}},
                {"delay": {"fixedDelay": "2ms", "percentage": {"value": 100}}},
            )
        ),
        "mirror": destination(name),
        "corsPolicy": st.just({"allowOrigins": [{"exact": "https://a.example.com"}], "allowMethods": ["GET"]}),
    }
    for key in draw(st.lists(st.sampled_from(sorted(extras)), max_size=2, unique=True)):
        found[key] = draw(extras[key])
    return found


@st.composite
def traffic_policy(draw: st.DrawFn) -> Json:
    """How to talk to a host; nothing that would make a single request fail."""
    parts: dict[str, st.SearchStrategy[Any]] = {
        "loadBalancer": st.sampled_from(
            (
                {"simple": "ROUND_ROBIN"},
                {"simple": "RANDOM"},
                {"consistentHash": {"httpHeaderName": "x-user"}},
                {"consistentHash": {"useSourceIp": True, "maglev": {"tableSize": 251}}},
            )
        ),
        "connectionPool": st.sampled_from(
            ({"tcp": {"maxConnections": 100, "connectTimeout": "2s"}}, {"http": {"maxRequestsPerConnection": 3}})
        ),
        "outlierDetection": st.just({"consecutive5xxErrors": 7, "interval": "30s"}),
        "retryBudget": st.just({"percent": 30, "minRetryConcurrency": 5}),
        "tls": st.just({"mode": "DISABLE"}),
    }
    chosen = draw(st.lists(st.sampled_from(sorted(parts)), max_size=2, unique=True))
    return {key: draw(parts[key]) for key in chosen}


@st.composite
def requests(draw: st.DrawFn, hosts: tuple[str, ...], ports: tuple[int, ...]) -> Request:
    """A request to one of these hosts."""
    headers = draw(st.dictionaries(st.sampled_from(HEADERS), st.sampled_from(VALUES), max_size=2))
    query = draw(st.sampled_from(((), (("q", "1"),), (("page", "2"), ("q", "2")))))
    return Request(
        method=draw(st.sampled_from(("GET", "GET", "POST"))),
        scheme="http",
        address=draw(st.sampled_from(hosts)),
        port=draw(st.sampled_from(ports)),
        path=draw(st.sampled_from(PATHS)),
        query=query,
        headers=tuple(sorted(headers.items())),
        then=(),
    )


@st.composite
def services(draw: st.DrawFn, name: str, number: int) -> list[Json]:
    """Two services, perhaps with a rule for the first."""
    found = [service(f"{name}-{letter}", f"10.97.{number}.{index + 1}") for index, letter in enumerate("ab")]
    if draw(st.booleans()):
        subsets = [
            {"name": each, "labels": {"version": each}, "trafficPolicy": draw(traffic_policy())}
            for each in SUBSETS
        ]
        spec = {"host": f"{name}-a", "trafficPolicy": draw(traffic_policy()), "subsets": subsets}
        found.append(rule("DestinationRule", f"{name}-a", spec))
    return found


@st.composite
def world(draw: st.DrawFn, number: int) -> World:
    """The world of a number as its neighbours see it; names carry the number, addresses come from it."""
    name = f"w{number}"
    objects = draw(services(name, number))
    routes = draw(st.lists(http_route(name), min_size=1, max_size=4))
    full = f"{name}-a.{NAMESPACE}.svc.cluster.local"
    hosts = draw(st.sampled_from(([f"{name}-a"], [f"{name}-a", f"{name}-b"], [full])))
    objects.append(rule("VirtualService", name, {"hosts": hosts, "http": routes}))
    asked = requests((f"{name}-a", f"{name}-a.{NAMESPACE}", f"{name}-b"), (80, 80, 8080))
    return World(name, tuple(objects), tuple(draw(st.lists(asked, min_size=4, max_size=6))))


@st.composite
def world_outside(draw: st.DrawFn, number: int) -> World:
    """The world of a number as seen at the edge: a Gateway, and rules bound to it. Worlds share some hosts."""
    name = f"w{number}"
    objects = draw(services(name, number))
    own, shared = f"{name}.example.com", ("any.example.com", "*.example.com")
    servers = []
    for port in draw(st.sampled_from(((80,), (80, 8080)))):
        hosts = draw(
            st.lists(
                st.sampled_from((own, f"./{own}", f"*/x.{own}", *shared)), min_size=1, max_size=3, unique=True
            )
        )
        server = {"port": {"number": port, "name": f"http-{port}", "protocol": "HTTP"}, "hosts": hosts}
        if draw(st.sampled_from((False, False, False, True))):
            server["tls"] = {"httpsRedirect": True}
        servers.append(server)
    objects.append(rule("Gateway", name, {"selector": GATEWAY, "servers": servers}))
    for index in range(draw(st.sampled_from((1, 1, 2)))):
        routes = draw(st.lists(http_route(name), min_size=1, max_size=3))
        hosts = draw(st.lists(st.sampled_from((own, f"x.{own}", *shared)), min_size=1, max_size=2, unique=True))
        objects.append(
            rule("VirtualService", f"{name}-{index}", {"hosts": hosts, "gateways": [name], "http": routes})
        )
    asked = requests((own, own, f"x.{own}", "any.example.com", "new.example.com"), (80, 80, 8080))
    return World(name, tuple(objects), tuple(draw(st.lists(asked, min_size=4, max_size=6))))


def beacon(count: int) -> list[Json]:
    """A service that answers with a number, inside and at the edge: by it a proxy tells what it has."""
    answer = [{"directResponse": {"status": 200, "body": {"string": str(count)}}}]
    host = BEACON.address
    port = {"number": 80, "name": "http", "protocol": "HTTP"}
    return [
        service("beacon", "10.97.255.1"),
        rule("Gateway", "beacon", {"selector": GATEWAY, "servers": [{"port": port, "hosts": [host]}]}),
        rule("VirtualService", "beacon", {"hosts": [host], "gateways": ["mesh", "beacon"], "http": answer}),
    ]


def service(name: str, address: str) -> Json:
    """A Service with two HTTP ports."""
    ports = [{"name": f"http-{number}", "port": number} for number in (80, 8080)]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"clusterIP": address, "ports": ports},
    }


def rule(kind: str, name: str, spec: Json) -> Json:
    """An object of networking.istio.io."""
    metadata = {"name": name, "namespace": NAMESPACE, "creationTimestamp": "2026-01-01T00:00:00Z"}
    return {"apiVersion": "networking.istio.io/v1", "kind": kind, "metadata": metadata, "spec": spec}
