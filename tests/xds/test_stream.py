"""Playbooks: what a proxy says and what the control plane decides, and what must follow."""

from collections.abc import Iterable

import pytest

from weft.xds.channel import Acked, Rejected, Send
from weft.xds.resource import CLUSTER, ENDPOINT, EXTENSION, LISTENER, ROUTE, SECRET, Resource, Resources
from weft.xds.stream import Effect, Request, Stream, Update


def resource(type_url: str, name: str, version: str = "1") -> Resource:
    return Resource(type_url, name, version, f"{name}@{version}".encode())


def config(
    *,
    clusters: Iterable[str] = (),
    endpoints: Iterable[str] = (),
    listeners: Iterable[str] = (),
    routes: Iterable[str] = (),
) -> Resources:
    """Names may carry a version: `a@2`."""

    def of(type_url: str, names: Iterable[str]) -> dict[str, Resource]:
        parts = [name.partition("@") for name in names]
        return {name: resource(type_url, name, version or "1") for name, _, version in parts}

    return {
        CLUSTER: of(CLUSTER, clusters),
        ENDPOINT: of(ENDPOINT, endpoints),
        LISTENER: of(LISTENER, listeners),
        ROUTE: of(ROUTE, routes),
    }


def said(effects: Iterable[Effect]) -> list[tuple[str, ...]]:
    """Sends as (type, +name@version…, -name…), for reading."""
    lines = []
    for effect in effects:
        if isinstance(effect, Send):
            kind = effect.type_url.rpartition(".")[2]
            added = (f"+{one.name}@{one.version}" for one in effect.resources)
            lines.append((kind, *added, *(f"-{name}" for name in effect.removed)))
    return lines


class Proxy:
    """Holds the other end of the stream: acknowledges or rejects the last response of a type."""

    def __init__(self, stream: Stream) -> None:
        self.stream, self.nonces = stream, dict[str, str]()

    def is_settled(self) -> bool:
        return self.stream.settled

    def note(self, effects: tuple[Effect, ...]) -> tuple[Effect, ...]:
        self.nonces |= {one.type_url: one.nonce for one in effects if isinstance(one, Send)}
        return effects

    def update(self, resources: Resources) -> tuple[Effect, ...]:
        return self.note(self.stream.handle(Update(resources)))

    def ask(self, type_url: str, *names: str, unsubscribe: tuple[str, ...] = ()) -> tuple[Effect, ...]:
        return self.note(self.stream.handle(Request(type_url, names, unsubscribe)))

    def ack(self, type_url: str) -> tuple[Effect, ...]:
        return self.note(self.stream.handle(Request(type_url, nonce=self.nonces[type_url])))

    def nack(self, type_url: str, message: str) -> tuple[Effect, ...]:
        return self.note(self.stream.handle(Request(type_url, nonce=self.nonces[type_url], error=message)))


@pytest.fixture
def proxy() -> Proxy:
    return Proxy(Stream())


START = config(clusters=["a"], endpoints=["a"], listeners=["out"], routes=["80"])


@pytest.fixture
def running(proxy: Proxy) -> Proxy:
    """A proxy that has asked for everything and confirmed START."""
    proxy.update(START)
    proxy.ask(CLUSTER)
    proxy.ask(ENDPOINT, "a")
    for type_url in (CLUSTER, ENDPOINT):
        proxy.ack(type_url)
    proxy.ask(LISTENER)
    proxy.ack(LISTENER)
    proxy.ask(ROUTE, "80")
    proxy.ack(ROUTE)
    assert proxy.is_settled()
    return proxy


def test_nothing_is_sent_before_there_is_a_configuration(proxy: Proxy) -> None:
    assert proxy.ask(CLUSTER) == ()
    assert said(proxy.update(START)) == [("Cluster", "+a@1")]


def test_a_proxy_starts_in_the_order_in_which_envoy_asks(proxy: Proxy) -> None:
    proxy.update(START)
    assert said(proxy.ask(CLUSTER)) == [("Cluster", "+a@1")]
    assert said(proxy.ask(ENDPOINT, "a")) == [("ClusterLoadAssignment", "+a@1")]
    assert said(proxy.ask(LISTENER)) == []  # neither clusters nor endpoints are confirmed yet
    assert said(proxy.ack(CLUSTER)) == []
    assert said(proxy.ack(ENDPOINT)) == [("Listener", "+out@1")]
    assert said(proxy.ask(ROUTE, "80")) == []
    assert said(proxy.ack(LISTENER)) == [("RouteConfiguration", "+80@1")]


def test_an_acknowledgement_is_reported_and_settles_the_stream(running: Proxy) -> None:
    running.update(config(clusters=["a"], endpoints=["a"], listeners=["out"], routes=["80@2"]))
    assert not running.is_settled()
    (acked,) = running.ack(ROUTE)
    assert isinstance(acked, Acked)
    assert running.is_settled()
    status = running.stream.status()[ROUTE]
    assert status.nonce_sent == status.nonce_acked == acked.nonce
    assert status.versions == {"80": "2"}


def test_the_same_configuration_again_sends_nothing(running: Proxy) -> None:
    assert running.update(dict(START)) == ()


def test_a_route_to_a_new_cluster_waits_until_the_cluster_is_confirmed(running: Proxy) -> None:
    new = config(clusters=["a", "b"], endpoints=["a", "b"], listeners=["out"], routes=["80@2"])
    assert said(running.update(new)) == [("Cluster", "+b@1")]
    assert said(running.ask(ENDPOINT, "b")) == [("ClusterLoadAssignment", "+b@1")]
    assert said(running.ack(ENDPOINT)) == []
    assert said(running.ack(CLUSTER)) == [("RouteConfiguration", "+80@2")]


def test_a_cluster_goes_after_the_routes_that_used_it(running: Proxy) -> None:
    assert said(running.update(config(listeners=["out"], routes=["80@2"]))) == [("RouteConfiguration", "+80@2")]
    assert said(running.ack(ROUTE)) == [("Cluster", "-a")]
    assert said(running.ack(CLUSTER)) == []
    assert running.ask(ENDPOINT, unsubscribe=("a",)) == ()
    assert running.is_settled()


def test_replacing_a_cluster_makes_before_it_breaks(running: Proxy) -> None:
    new = config(clusters=["b"], endpoints=["b"], listeners=["out"], routes=["80@2"])
    assert said(running.update(new)) == [("Cluster", "+b@1")]
    assert said(running.ask(ENDPOINT, "b")) == [("ClusterLoadAssignment", "+b@1")]
    running.ack(ENDPOINT)
    assert said(running.ack(CLUSTER)) == [("RouteConfiguration", "+80@2")]
    assert said(running.ack(ROUTE)) == [("Cluster", "-a")]


def test_endpoints_are_sent_again_after_a_change_of_their_cluster(running: Proxy) -> None:
    new = config(clusters=["a@2"], endpoints=["a"], listeners=["out"], routes=["80"])
    assert said(running.update(new)) == [("Cluster", "+a@2"), ("ClusterLoadAssignment", "+a@1")]


def test_an_endpoint_change_does_not_wait_for_anything(running: Proxy) -> None:
    new = config(clusters=["a", "b"], endpoints=["a@2", "b"], listeners=["out"], routes=["80"])
    assert said(running.update(new)) == [("Cluster", "+b@1"), ("ClusterLoadAssignment", "+a@2")]


def test_endpoints_of_a_cluster_on_its_way_out_stay(running: Proxy) -> None:
    new = config(clusters=[], endpoints=[], listeners=["out"], routes=["80@2"])
    assert said(running.update(new)) == [("RouteConfiguration", "+80@2")]


def test_a_cluster_whose_endpoints_vanished_gets_none_instead_of_waiting(running: Proxy) -> None:
    (send,) = running.ask(ENDPOINT, "vanished")
    assert isinstance(send, Send)
    assert send.resources[0].body == b"\x0a\x08vanished"


def test_a_cluster_that_changed_and_then_vanished_keeps_its_endpoints_while_routes_lead_to_it(
    running: Proxy,
) -> None:
    """Requests were answered 503, with no healthy upstream, until the new routes arrived."""
    running.update(config(clusters=["a"], endpoints=["a@2"], listeners=["out"], routes=["80"]))
    # the cluster's endpoints are owed again, but have to wait for their turn
    changed = config(clusters=["a@2"], endpoints=["a@2"], listeners=["out"], routes=["80"])
    assert said(running.update(changed)) == [("Cluster", "+a@2")]
    running.update(config(clusters=["b"], endpoints=["b"], listeners=["out"], routes=["80@2"]))
    assert said(running.ack(ENDPOINT)) == [("ClusterLoadAssignment", "+a@2")]


def test_endpoints_that_are_gone_when_a_proxy_returns_stay_until_its_routes_know(proxy: Proxy) -> None:
    now = config(clusters=["b"], endpoints=["b"], listeners=["out"], routes=["80@2"])
    proxy.update(now)
    proxy.note(proxy.stream.handle(Request(CLUSTER, versions={"a": "1"})))
    again = proxy.note(proxy.stream.handle(Request(ENDPOINT, ("a",), versions={"a": "1"})))
    assert said(again) == [("ClusterLoadAssignment",)]
    # one that comes back by then may wait for them, and gets them
    both = config(clusters=["a", "b"], endpoints=["a", "b"], listeners=["out"], routes=["80@2"])
    proxy.update(both)
    assert said(proxy.ack(ENDPOINT)) == [("ClusterLoadAssignment", "+a@1")]


def test_routes_wait_for_the_first_endpoints_of_a_cluster_and_not_for_changes(running: Proxy) -> None:
    changed = config(clusters=["a"], endpoints=["a@2"], listeners=["out"], routes=["80@2"])
    # endpoints that only change hold nobody up
    assert said(running.update(changed)) == [("ClusterLoadAssignment", "+a@2"), ("RouteConfiguration", "+80@2")]
    running.ack(ROUTE)
    # the proxy was told that there are none, and has confirmed the cluster so
    running.ask(ENDPOINT, "b")
    running.ack(ENDPOINT)
    running.ack(ENDPOINT)
    both = config(clusters=["a", "b"], endpoints=["a@3"], listeners=["out"], routes=["80@2"])
    told = ("ClusterLoadAssignment", "+a@3", "+b@none")
    assert said(running.update(both)) == [("Cluster", "+b@1"), told]
    running.ack(CLUSTER)
    used = config(clusters=["a", "b"], endpoints=["a@3", "b"], listeners=["out"], routes=["80@3"])
    # one response of a type at a time: those of b wait for their turn, and so does the route
    assert said(running.update(used)) == []
    assert said(running.ack(ENDPOINT)) == [("ClusterLoadAssignment", "+b@1")]
    assert said(running.ack(ENDPOINT)) == [("RouteConfiguration", "+80@3")]


def test_the_configuration_of_a_filter_stays_until_nothing_refers_to_it(running: Proxy) -> None:
    with_filter = {**START, EXTENSION: {"lua": resource(EXTENSION, "lua")}}
    running.update(with_filter)
    assert said(running.ask(EXTENSION, "lua")) == [("TypedExtensionConfig", "+lua@1")]
    running.ack(EXTENSION)
    # the EnvoyFilter is gone, but a listener that drains still uses its filter
    assert said(running.update(START)) == []
    assert said(running.ask(EXTENSION, unsubscribe=("lua",))) == []
    # one that was never there is said not to exist, or a listener would wait for it
    assert said(running.ask(EXTENSION, "nothing")) == [("TypedExtensionConfig", "-nothing")]


def test_changes_during_a_flight_are_merged_into_the_next_response(running: Proxy) -> None:
    assert said(running.update(config(clusters=["a"], endpoints=["a@2"], listeners=["out"], routes=["80"])))
    for version in range(3, 103):
        new = config(clusters=["a"], endpoints=[f"a@{version}"], listeners=["out"], routes=["80"])
        assert running.update(new) == ()
    assert said(running.ack(ENDPOINT)) == [("ClusterLoadAssignment", "+a@102")]
    assert said(running.ack(ENDPOINT)) == []


def test_a_stale_nonce_is_ignored(running: Proxy) -> None:
    running.update(config(clusters=["a"], endpoints=["a"], listeners=["out"], routes=["80@2"]))
    assert running.stream.handle(Request(ROUTE, nonce="1")) == ()
    assert running.stream.handle(Request(ROUTE, nonce="1", error="late")) == ()
    assert not running.is_settled()
    assert said(running.ack(ROUTE)) == []
    assert running.is_settled()


def test_a_stale_nonce_still_carries_its_subscriptions(running: Proxy) -> None:
    effects = running.stream.handle(Request(ENDPOINT, subscribe=("b",), nonce="0"))
    assert said(effects) == [("ClusterLoadAssignment", "+b@none")]


def test_a_rejected_resource_is_held_back_until_it_changes(running: Proxy) -> None:
    bad = config(clusters=["a"], endpoints=["a"], listeners=["out"], routes=["80@2"])
    running.update(bad)
    (rejected,) = running.nack(ROUTE, "duplicate domain")
    assert isinstance(rejected, Rejected)
    assert rejected.held == "80"
    assert running.is_settled()
    assert running.stream.status()[ROUTE].held == {"80": "duplicate domain"}
    assert running.update(dict(bad)) == ()
    fixed = config(clusters=["a"], endpoints=["a"], listeners=["out"], routes=["80@3"])
    assert said(running.update(fixed)) == [("RouteConfiguration", "+80@3")]
    running.ack(ROUTE)
    assert running.stream.status()[ROUTE].held == {}


def test_going_back_to_what_the_proxy_has_sends_nothing(running: Proxy) -> None:
    running.update(config(clusters=["a"], endpoints=["a"], listeners=["out"], routes=["80@2"]))
    running.nack(ROUTE, "bad")
    assert running.update(START) == ()
    assert running.stream.status()[ROUTE].held == {}


def test_the_culprit_that_a_rejection_names_is_tried_alone_after_the_rest(running: Proxy) -> None:
    new = config(clusters=["a", "bad", "c"], endpoints=["a"], listeners=["out"], routes=["80@2"])
    assert said(running.update(new)) == [("Cluster", "+bad@1", "+c@1")]
    message = "Error adding/updating cluster(s) bad: no such thing"
    assert said(running.nack(CLUSTER, message)) == [("Cluster", "+c@1")]
    assert said(running.ack(CLUSTER)) == [("Cluster", "+bad@1")]
    assert said(running.nack(CLUSTER, message)) == [("RouteConfiguration", "+80@2")]
    assert running.stream.status()[CLUSTER].held == {"bad": message}


def test_a_culprit_that_is_not_named_is_found_by_halves(proxy: Proxy) -> None:
    names = [f"c{number:02}" for number in range(16)]
    proxy.update(config(clusters=names))
    effects = proxy.ask(CLUSTER)
    rounds = 0
    while not proxy.is_settled():
        rounds += 1
        sends = [one for one in effects if isinstance(one, Send)]
        bad = any(one.name == "c11" for one in sends[-1].resources)
        effects = proxy.nack(CLUSTER, "Proto constraint validation failed") if bad else proxy.ack(CLUSTER)
    status = proxy.stream.status()[CLUSTER]
    assert set(status.versions) == set(names) - {"c11"}
    assert set(status.held) == {"c11"}
    assert rounds <= 12


def test_a_rejected_removal_is_not_repeated_for_ever(running: Proxy) -> None:
    running.update(config(clusters=["a"], endpoints=["a"], listeners=[], routes=["80"]))
    running.nack(LISTENER, "cannot remove")
    assert running.is_settled()


def test_what_a_returning_proxy_still_has_is_not_sent_again(proxy: Proxy) -> None:
    proxy.update(config(clusters=["a", "b@2"], endpoints=["a"], listeners=["out"], routes=["80"]))
    returning = Request(CLUSTER, versions={"a": "1", "b": "1", "gone": "1"})
    assert said(proxy.note(proxy.stream.handle(returning))) == [("Cluster", "+b@2")]
    again = proxy.note(proxy.stream.handle(Request(ENDPOINT, ("a",), versions={"a": "1"})))
    assert said(again) == [("ClusterLoadAssignment", "+a@1")]  # the cluster may still be waiting for them
    proxy.note(proxy.stream.handle(Request(LISTENER, versions={"out": "1"})))
    proxy.note(proxy.stream.handle(Request(ROUTE, ("80",), versions={"80": "0"})))
    proxy.ack(ENDPOINT)
    # what is gone stays until routes that may use it have been replaced
    assert said(proxy.ack(CLUSTER)) == [("Listener",), ("RouteConfiguration", "+80@1")]
    assert said(proxy.ack(LISTENER)) == []
    assert said(proxy.ack(ROUTE)) == [("Cluster", "-gone")]


def test_a_first_request_is_answered_even_with_nothing(proxy: Proxy) -> None:
    proxy.update({})
    assert said(proxy.ask(LISTENER)) == [("Listener",)]
    assert said(proxy.ask("type.googleapis.com/some.Unknown")) == [("Unknown",)]


def test_a_name_that_does_not_exist_is_answered_once_and_sent_when_it_does(running: Proxy) -> None:
    assert said(running.ask(ROUTE, "81")) == [("RouteConfiguration", "-81")]
    assert said(running.ack(ROUTE)) == []
    new = config(clusters=["a"], endpoints=["a"], listeners=["out"], routes=["80", "81"])
    assert said(running.update(new)) == [("RouteConfiguration", "+81@1")]


def test_asking_again_gets_the_resource_again(running: Proxy) -> None:
    assert said(running.ask(ROUTE, "80")) == [("RouteConfiguration", "+80@1")]


def test_an_unsubscribed_resource_is_no_longer_sent(running: Proxy) -> None:
    assert running.ask(ENDPOINT, unsubscribe=("a",)) == ()
    new = config(clusters=["a"], endpoints=["a@2"], listeners=["out"], routes=["80"])
    assert running.update(new) == ()


def test_an_explicit_wildcard_adds_to_named_resources_and_can_be_taken_back(proxy: Proxy) -> None:
    proxy.update(config(clusters=["a", "b"]))
    assert said(proxy.ask(CLUSTER, "a")) == [("Cluster", "+a@1")]
    proxy.ack(CLUSTER)
    assert said(proxy.ask(CLUSTER, "*")) == [("Cluster", "+b@1")]
    proxy.ack(CLUSTER)
    assert proxy.ask(CLUSTER, unsubscribe=("*",)) == ()
    assert said(proxy.update(config(clusters=["a@2", "b@2"]))) == [("Cluster", "+a@2")]


def test_a_secret_that_nobody_has_looked_for_is_awaited_and_one_that_is_not_there_is_told(proxy: Proxy) -> None:
    def secrets(*names: str, absent: Iterable[str] = ()) -> list[tuple[str, ...]]:
        found = {name: resource(SECRET, name) for name in names}
        return said(proxy.note(proxy.stream.handle(Update({SECRET: found}, frozenset(absent)))))

    assert secrets() == []
    assert said(proxy.ask(SECRET, "here", "gone", "later")) == []
    assert not proxy.is_settled()
    assert secrets("here", absent=["gone"]) == [("Secret", "+here@1", "-gone")]
    assert said(proxy.ack(SECRET)) == []
    assert secrets("here", "later", absent=["gone"]) == [("Secret", "+later@1")]
    assert said(proxy.ack(SECRET)) == []
    assert proxy.is_settled()
    # it comes after all
    assert secrets("here", "later", "gone") == [("Secret", "+gone@1")]
