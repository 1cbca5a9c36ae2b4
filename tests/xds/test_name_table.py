"""Names as resources: one a service, the same for all who ask, and in which order they go."""

from dataclasses import replace

from tests.model.objects import endpoint, endpoint_slice, port, service, store_of

from weft.model.services import Proxy, ProxyKind
from weft.model.views import view
from weft.processes.controlplane import node_metadata
from weft.xds.channel import Send
from weft.xds.generate import Generator
from weft.xds.name_messages import decode
from weft.xds.resource import CLUSTER, LISTENER, NAME_TABLE, ROUTE, Resource
from weft.xds.stream import Request, Stream, Update

WEB = "web.shop.svc.cluster.local"
ASKING = Proxy("p", "shop", "10.244.0.6", metadata=(("DNS_CAPTURE", "true"),))


def test_who_answers_no_queries_gets_no_names() -> None:
    snapshot = store_of(service("web")).snapshot()
    assert NAME_TABLE not in Generator().resources(view(snapshot, replace(ASKING, metadata=())))
    for said in (True, "true", "1", "True"):
        metadata = node_metadata.kept({"DNS_CAPTURE": said})
        assert NAME_TABLE in Generator().resources(view(snapshot, replace(ASKING, metadata=metadata)))


def test_names_are_the_same_for_all_namespaces_and_for_gateways() -> None:
    generator, snapshot = Generator(), store_of(service("web")).snapshot()
    here = generator.resources(view(snapshot, ASKING))[NAME_TABLE]
    there = generator.resources(view(snapshot, replace(ASKING, namespace="till")))[NAME_TABLE]
    gateway = generator.resources(view(snapshot, replace(ASKING, kind=ProxyKind.ROUTER)))[NAME_TABLE]
    assert here[WEB] is there[WEB] is gateway[WEB]
    assert [each.addresses for each in decode(here[WEB].body)] == [("10.96.0.9",)]


def test_pods_that_come_and_go_change_no_name_but_those_of_headless_services() -> None:
    headless = service("db", "shop", port(80, "http", 8080), clusterIP="None", clusterIPs=["None"])
    store = store_of(service("web"), headless, endpoint_slice("web", endpoint("10.244.0.5")))
    generator = Generator()
    before = generator.resources(view(store.snapshot(), ASKING))[NAME_TABLE]
    store.apply("EndpointSlice", endpoint_slice("web", endpoint("10.244.0.7")))
    store.apply("EndpointSlice", endpoint_slice("db", endpoint("10.244.0.8")))
    after = generator.resources(view(store.snapshot(), ASKING))[NAME_TABLE]
    assert after[WEB].version == before[WEB].version
    assert set(after) - set(before) == {"db.shop.svc.cluster.local"}


def resource(type_url: str, name: str) -> Resource:
    return Resource(type_url, name, "1", b"")


def test_a_name_comes_after_its_listener_and_goes_before_it() -> None:
    stream = Stream()
    nothing = {url: dict[str, Resource]() for url in (CLUSTER, LISTENER, ROUTE, NAME_TABLE)}
    both = {**nothing, LISTENER: {"l": resource(LISTENER, "l")}, NAME_TABLE: {"n": resource(NAME_TABLE, "n")}}
    stream.handle(Update(nothing))
    for url in nothing:
        for effect in stream.handle(Request(url)):
            assert isinstance(effect, Send)
            stream.handle(Request(url, nonce=effect.nonce))

    def sent(effects: tuple[object, ...]) -> list[Send]:
        return [each for each in effects if isinstance(each, Send)]

    [listener] = sent(stream.handle(Update(both)))
    assert listener.type_url == LISTENER
    [name] = sent(stream.handle(Request(LISTENER, nonce=listener.nonce)))
    assert name.type_url == NAME_TABLE
    stream.handle(Request(NAME_TABLE, nonce=name.nonce))

    [gone] = sent(stream.handle(Update(nothing)))
    assert (gone.type_url, gone.removed) == (NAME_TABLE, ("n",))
    [listener] = sent(stream.handle(Request(NAME_TABLE, nonce=gone.nonce)))
    assert (listener.type_url, listener.removed) == (LISTENER, ("l",))
