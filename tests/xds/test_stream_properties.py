"""Whatever happens in whatever order, a proxy ends up with what it should have, and never routes into nothing."""

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from weft.xds.channel import Send
from weft.xds.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE, Resource, Resources
from weft.xds.stream import Effect, Request, Stream, Update

NAMES = ("a", "b", "c", "d")
BAD = "9"  # a version that the proxy rejects
SOME = b"some"  # what endpoints that are not empty look like here

# cluster → (its version, its endpoints' version)
Clusters = dict[str, tuple[str, str]]


@dataclass(frozen=True)
class Wanted:
    """One state of the mesh: clusters, and the cluster that the route of each port leads to."""

    clusters: Clusters
    routes: dict[str, tuple[str, str]]  # port → (cluster, version)

    def resources(self) -> Resources:
        def one(type_url: str, name: str, version: str, body: str = "") -> Resource:
            return Resource(type_url, name, version, body.encode())

        return {
            CLUSTER: {name: one(CLUSTER, name, version) for name, (version, _) in self.clusters.items()},
            ENDPOINT: {
                name: one(ENDPOINT, name, version, SOME.decode()) for name, (_, version) in self.clusters.items()
            },
            LISTENER: {port: one(LISTENER, port, "1") for port in self.routes},
            ROUTE: {
                port: one(ROUTE, port, f"{cluster}{version}", cluster)
                for port, (cluster, version) in self.routes.items()
            },
        }


@st.composite
def wanted(draw: st.DrawFn, versions: str = "12") -> Wanted:
    version = st.sampled_from(versions)
    clusters = draw(st.dictionaries(st.sampled_from(NAMES), st.tuples(version, version), min_size=1))
    targets = st.sampled_from(sorted(clusters))
    routes = draw(st.dictionaries(st.sampled_from(("80", "81")), st.tuples(targets, version)))
    return Wanted(clusters, routes)


@dataclass
class Envoy:
    """A proxy as Envoy behaves: asks for the endpoints and routes that its clusters and listeners name.

    `check` makes it fail as soon as a route leads to a cluster that it does not have, or has without endpoints.
    """

    stream: Stream
    check: bool = True
    has: dict[str, dict[str, Resource]] = field(
        default_factory=lambda: {CLUSTER: {}, ENDPOINT: {}, LISTENER: {}, ROUTE: {}}
    )
    inbox: list[Send] = field(default_factory=list)
    opened: set[str] = field(default_factory=set)
    subscribed: dict[str, set[str]] = field(default_factory=lambda: {ENDPOINT: set(), ROUTE: set()})
    waiting: set[str] = field(default_factory=set)

    def connect(self) -> None:
        """A new stream: asks again for everything, saying what it still has."""
        self.stream, self.inbox = Stream(), []
        self.opened, self.subscribed = set(), {ENDPOINT: set(), ROUTE: set()}
        self.open(CLUSTER)
        self.follow(ENDPOINT, CLUSTER)
        self.open(LISTENER)
        self.follow(ROUTE, LISTENER)

    def open(self, type_url: str) -> None:
        versions = {name: one.version for name, one in self.has[type_url].items()}
        self.opened.add(type_url)
        self.take(self.stream.handle(Request(type_url, versions=versions)))

    def follow(self, type_url: str, parent: str) -> None:
        names = set(self.has[parent])
        more, fewer = names - self.subscribed[type_url], self.subscribed[type_url] - names
        if more or fewer:
            for name in fewer:
                self.has[type_url].pop(name, None)
            first = type_url not in self.opened
            versions = {n: one.version for n, one in self.has[type_url].items() if n in names} if first else {}
            self.subscribed[type_url] = names
            self.opened.add(type_url)
            self.take(self.stream.handle(Request(type_url, tuple(sorted(more)), tuple(sorted(fewer)), versions)))

    def take(self, effects: tuple[Effect, ...]) -> None:
        self.inbox += [one for one in effects if isinstance(one, Send)]

    def step(self) -> bool:
        """Reads one response and answers it."""
        if not self.inbox:
            return False
        send = self.inbox.pop(0)
        has = self.has[send.type_url]
        if any(one.version.endswith(BAD) for one in send.resources):
            error = "Proto constraint validation failed"
            self.take(self.stream.handle(Request(send.type_url, nonce=send.nonce, error=error)))
            return True
        asked_for = self.subscribed.get(send.type_url, {one.name for one in send.resources})
        has.update({one.name: one for one in send.resources if one.name in asked_for})
        for name in send.removed:
            if send.type_url != ENDPOINT:
                has.pop(name, None)
        if send.type_url == CLUSTER:
            self.waiting |= {one.name for one in send.resources}
        if send.type_url == ENDPOINT:
            self.waiting -= {one.name for one in send.resources}
        if self.check:
            routed = {one.body.decode() for port, one in self.has[ROUTE].items() if port in self.has[LISTENER]}
            assert routed <= set(self.has[CLUSTER])
            assert all(self.has[ENDPOINT][name].body == SOME for name in routed)
        # Envoy asks for what it now needs before it confirms
        self.follow(ENDPOINT, CLUSTER)
        self.follow(ROUTE, LISTENER)
        self.take(self.stream.handle(Request(send.type_url, nonce=send.nonce)))
        return True

    def drain(self) -> None:
        for _ in range(500):
            if not self.step():
                return
        raise AssertionError("the stream never settles")


Step = Wanted | str

steps = st.lists(st.one_of(wanted(), st.sampled_from(["read", "read", "drain", "reconnect"])), max_size=12)
steps_with_bad = st.lists(st.one_of(wanted(versions="129"), st.just("read")), min_size=1, max_size=8)


def play(script: list[Step], *, check: bool) -> tuple[Envoy, Resources]:
    proxy, current = Envoy(Stream(), check=check), Wanted({}, {}).resources()
    proxy.connect()
    proxy.take(proxy.stream.handle(Update(current)))
    for step in script:
        match step:
            case Wanted():
                current = step.resources()
                proxy.take(proxy.stream.handle(Update(current)))
            case "reconnect":
                proxy.connect()
                proxy.take(proxy.stream.handle(Update(current)))
            case "drain":
                proxy.drain()
            case _:
                proxy.step()
    proxy.drain()
    return proxy, current


@settings(max_examples=300, deadline=None)
@given(steps)
def test_any_sequence_ends_in_the_full_state_and_never_routes_into_nothing(script: list[Step]) -> None:
    proxy, current = play(script, check=True)
    assert proxy.has == current
    assert proxy.waiting.isdisjoint(proxy.has[CLUSTER])
    assert proxy.stream.settled


@settings(max_examples=300, deadline=None)
@given(steps_with_bad)
def test_bad_resources_never_keep_good_ones_from_the_proxy(script: list[Step]) -> None:
    proxy, current = play(script, check=False)
    for type_url, resources in current.items():
        held = proxy.stream.status().get(type_url)
        for name, one in resources.items():
            if one.version.endswith(BAD):
                # a rejected resource is held only where the proxy asked for it
                assert held is None or name in held.held or name not in proxy.subscribed.get(type_url, {name})
            elif type_url in (CLUSTER, LISTENER) or name in proxy.subscribed[type_url]:
                assert proxy.has[type_url][name] == one
    assert proxy.stream.settled


@settings(max_examples=200, deadline=None)
@given(wanted())
def test_a_proxy_that_comes_back_with_everything_is_sent_endpoints_alone(state: Wanted) -> None:
    proxy, current = play([state], check=True)
    proxy.connect()
    effects = proxy.stream.handle(Update(current))
    proxy.take(effects)
    while proxy.inbox:
        assert proxy.inbox[0].resources == () or proxy.inbox[0].type_url == ENDPOINT
        assert proxy.inbox[0].removed == ()
        proxy.step()
