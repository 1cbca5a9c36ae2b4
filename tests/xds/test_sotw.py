"""State of the world: whole states out, the same order and care inside."""

from weft.xds.channel import Rejected
from weft.xds.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE, Resource, Resources
from weft.xds.sotw import FullRequest, FullSend, FullStream
from weft.xds.stream import Update


def of(type_url: str, *names: str) -> dict[str, Resource]:
    parts = [name.partition("@") for name in names]
    return {name: Resource(type_url, name, version or "1", b"") for name, _, version in parts}


def config(clusters: tuple[str, ...], endpoints: tuple[str, ...] = (), routes: tuple[str, ...] = ()) -> Resources:
    return {CLUSTER: of(CLUSTER, *clusters), ENDPOINT: of(ENDPOINT, *endpoints), ROUTE: of(ROUTE, *routes)}


class Client:
    """Answers the last response of each type, repeating its subscription as such clients do."""

    def __init__(self, resources: Resources) -> None:
        self.stream = FullStream()
        self.stream.handle(Update(resources))
        self.names: dict[str, frozenset[str]] = {}
        self.nonces: dict[str, str] = {}

    def note(self, effects: tuple[object, ...]) -> list[tuple[str, list[str]]]:
        sends = [one for one in effects if isinstance(one, FullSend)]
        self.nonces |= {one.type_url: one.nonce for one in sends}
        return [(one.type_url, sorted(f"{r.name}@{r.version}" for r in one.resources)) for one in sends]

    def ask(self, type_url: str, *names: str) -> list[tuple[str, list[str]]]:
        self.names[type_url] = frozenset(names)
        request = FullRequest(type_url, self.names[type_url], self.nonces.get(type_url, ""))
        return self.note(self.stream.handle(request))

    def answer(self, type_url: str, error: str | None = None) -> list[tuple[str, list[str]]]:
        request = FullRequest(type_url, self.names[type_url], self.nonces[type_url], error)
        return self.note(self.stream.handle(request))

    def update(self, resources: Resources) -> list[tuple[str, list[str]]]:
        return self.note(self.stream.handle(Update(resources)))


def test_clusters_are_sent_whole_and_endpoints_as_they_change() -> None:
    client = Client(config(("a", "b"), ("a", "b")))
    assert client.ask(CLUSTER) == [(CLUSTER, ["a@1", "b@1"])]
    assert client.ask(ENDPOINT, "a", "b") == [(ENDPOINT, ["a@1", "b@1"])]
    client.answer(ENDPOINT)
    assert client.answer(CLUSTER) == []
    new = config(("a", "b@2"), ("a@2", "b"))
    assert client.update(new) == [(CLUSTER, ["a@1", "b@2"]), (ENDPOINT, ["a@2", "b@1"])]


def test_a_removed_cluster_is_left_out_after_the_routes_that_used_it() -> None:
    client = Client(config(("a", "b"), (), ("80",)))
    client.ask(CLUSTER)
    client.answer(CLUSTER)
    client.ask(ROUTE, "80")
    client.answer(ROUTE)
    assert client.update(config(("a",), (), ("80@2",))) == [(ROUTE, ["80@2"])]
    assert client.answer(ROUTE) == [(CLUSTER, ["a@1"])]


def test_a_rejected_cluster_is_held_back_and_the_last_good_ones_stay() -> None:
    client = Client(config(("a",)))
    client.ask(CLUSTER)
    client.answer(CLUSTER)
    assert client.update(config(("a", "bad", "c"))) == [(CLUSTER, ["a@1", "bad@1", "c@1"])]
    assert client.answer(CLUSTER, "bad: no") == [(CLUSTER, ["a@1", "c@1"])]
    assert client.answer(CLUSTER) == [(CLUSTER, ["a@1", "bad@1", "c@1"])]  # is it really that one?
    effects = client.stream.handle(FullRequest(CLUSTER, frozenset(), client.nonces[CLUSTER], "bad: no"))
    assert [one.held for one in effects if isinstance(one, Rejected)] == ["bad"]
    assert client.update(config(("a", "bad", "c", "d"))) == [(CLUSTER, ["a@1", "c@1", "d@1"])]


def test_an_empty_subscription_asks_for_all_clusters_and_for_no_endpoints() -> None:
    client = Client(config(("a",), ("a",)))
    assert client.ask(ENDPOINT) == []
    assert client.ask(ENDPOINT, "a") == [(ENDPOINT, ["a@1"])]
    client.answer(ENDPOINT)
    assert client.ask(ENDPOINT) == []
    assert client.update(config(("a",), ("a@2",))) == []
    assert client.ask(LISTENER) == [(LISTENER, [])]
