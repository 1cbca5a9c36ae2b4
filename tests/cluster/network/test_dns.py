"""The resolver over real sockets, asked by real messages."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.cluster.network.conftest import Lan
from tests.support.ports import free_port

from weft.adapters.dns import messages, server
from weft.adapters.dns.answers import A, Absent, Cname, Elsewhere, Found, Ptr, Srv
from weft.cluster.network import dns
from weft.cluster.network.directory import Directory, picture
from weft.cluster.network.dns_zone import Zone
from weft.cluster.network.objects import Service, Slice


def service(name: str, **spec: Any) -> Service:
    return msgspec.convert({"metadata": {"name": name, "namespace": "sidecar"}, "spec": spec}, Service)


def endpoints(name: str, *listed: dict[str, Any], ports: list[dict[str, Any]] | None = None) -> Slice:
    labels = {"kubernetes.io/service-name": name}
    return msgspec.convert(
        {
            "metadata": {"name": f"{name}-1", "namespace": "sidecar", "labels": labels},
            "addressType": "IPv4",
            "endpoints": list(listed),
            "ports": ports or [{"name": "http", "port": 8080, "protocol": "TCP"}],
        },
        Slice,
    )


PICTURE = picture(
    [
        service("nginx", clusterIP="10.96.0.7", ports=[{"name": "http", "port": 80}]),
        service("peers", clusterIP="None", ports=[{"name": "http", "port": 80}]),
        service("many", clusterIP="None", ports=[{"name": "http", "port": 80}]),
        service("out", type="ExternalName", externalName="db.example.org"),
        service("alias", type="ExternalName", externalName="nginx.sidecar.svc.cluster.local"),
        service("loop", type="ExternalName", externalName="loop.sidecar.svc.cluster.local"),
    ],
    [
        endpoints(
            "peers",
            {"addresses": ["10.244.0.5"], "hostname": "peer-0", "conditions": {"ready": True}},
            {"addresses": ["10.244.0.6"], "conditions": {"ready": True}},
            {"addresses": ["10.244.0.9"], "conditions": {"ready": False}},
        ),
        endpoints("nginx", {"addresses": ["10.244.2.1"]}, {"addresses": ["10.244.1.1"]}),
        endpoints("many", *({"addresses": [f"10.244.1.{number}"]} for number in range(1, 101))),
    ],
)
ZONE = Zone(PICTURE)
NGINX = "nginx.sidecar.svc.cluster.local"
PEERS = "peers.sidecar.svc.cluster.local"


@pytest.mark.parametrize(
    ("name", "kind", "answer"),
    [
        (NGINX, "A", Found((A(NGINX, "10.96.0.7"),))),
        (f"{NGINX.upper()}.", "A", Found((A(NGINX, "10.96.0.7"),))),
        (NGINX, "AAAA", Found()),
        (PEERS, "A", Found((A(PEERS, "10.244.0.5"), A(PEERS, "10.244.0.6")))),
        (f"peer-0.{PEERS}", "A", Found((A(f"peer-0.{PEERS}", "10.244.0.5"),))),
        (f"10-244-0-6.{PEERS}", "A", Found((A(f"10-244-0-6.{PEERS}", "10.244.0.6"),))),
        (f"peer-9.{PEERS}", "A", Absent()),
        (f"10-244-2-1.{NGINX}", "A", Found((A(f"10-244-2-1.{NGINX}", "10.244.2.1"),))),
        (f"10-244-2-9.{NGINX}", "A", Absent()),
        ("1.2.244.10.in-addr.arpa", "PTR", Found((Ptr("1.2.244.10.in-addr.arpa", f"10-244-2-1.{NGINX}"),))),
        (
            "1.1.244.10.in-addr.arpa",
            "PTR",
            Found(
                (
                    Ptr("1.1.244.10.in-addr.arpa", "10-244-1-1.many.sidecar.svc.cluster.local"),
                    Ptr("1.1.244.10.in-addr.arpa", f"10-244-1-1.{NGINX}"),
                )
            ),
        ),
        (f"_http._tcp.{NGINX}", "SRV", Found((Srv(f"_http._tcp.{NGINX}", 80, NGINX),), (A(NGINX, "10.96.0.7"),))),
        (f"_grpc._tcp.{NGINX}", "SRV", Absent()),
        (f"_http._udp.{NGINX}", "SRV", Absent()),
        ("7.0.96.10.in-addr.arpa", "PTR", Found((Ptr("7.0.96.10.in-addr.arpa", NGINX),))),
        ("5.0.244.10.in-addr.arpa", "PTR", Found((Ptr("5.0.244.10.in-addr.arpa", f"peer-0.{PEERS}"),))),
        ("1.2.0.192.in-addr.arpa", "PTR", Elsewhere("1.2.0.192.in-addr.arpa")),
        (
            "10-244-0-5.sidecar.pod.cluster.local",
            "A",
            Found((A("10-244-0-5.sidecar.pod.cluster.local", "10.244.0.5"),)),
        ),
        ("10-244-0-999.sidecar.pod.cluster.local", "A", Absent()),
        ("nobody.sidecar.svc.cluster.local", "A", Absent()),
        ("nginx.nowhere.svc.cluster.local", "A", Absent()),
        ("sidecar.svc.cluster.local", "A", Found()),
        ("nowhere.svc.cluster.local", "A", Absent()),
        ("cluster.local", "A", Found()),
        ("a.b.c.d.e.f.cluster.local", "A", Absent()),
        ("nginx.sidecar", "A", Elsewhere("nginx.sidecar")),
        ("example.org", "A", Elsewhere("example.org")),
        (
            "out.sidecar.svc.cluster.local",
            "A",
            Elsewhere("db.example.org", (Cname("out.sidecar.svc.cluster.local", "db.example.org"),)),
        ),
        (
            "alias.sidecar.svc.cluster.local",
            "A",
            Found((Cname("alias.sidecar.svc.cluster.local", NGINX), A(NGINX, "10.96.0.7"))),
        ),
    ],
)
def test_the_zone_answers_by_the_kubernetes_dns_specification(name: str, kind: str, answer: object) -> None:
    assert ZONE.answer(name, kind) == answer


def test_an_external_name_that_names_itself_comes_to_an_end() -> None:
    answer = ZONE.answer("loop.sidecar.svc.cluster.local", "A")

    assert isinstance(answer, Found)
    assert len(answer.records) < 20


def test_srv_of_a_headless_service_names_each_ready_endpoint() -> None:
    answer = ZONE.answer(f"_http._tcp.{PEERS}", "SRV")

    assert isinstance(answer, Found)
    assert [one.target for one in answer.records if isinstance(one, Srv)] == [
        f"peer-0.{PEERS}",
        f"10-244-0-6.{PEERS}",
    ]
    assert {one.ip for one in answer.additional} == {"10.244.0.5", "10.244.0.6"}


def directory() -> Directory:
    made = Directory()
    made.picture, made.complete = PICTURE, True
    return made


@contextlib.asynccontextmanager
async def serving(resolver: dns.Resolver) -> AsyncIterator[int]:
    port = free_port()
    task = asyncio.create_task(server.serve(resolver.resolve, "127.0.0.1", port))
    for _ in range(100):
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            break
        await asyncio.sleep(0.01)
    yield port
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def ask_udp(port: int, data: bytes) -> bytes:
    def work() -> bytes:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.settimeout(2)
            asking.sendto(data, ("127.0.0.1", port))
            return asking.recv(65535)

    return await asyncio.to_thread(work)


async def ask_tcp(port: int, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(len(data).to_bytes(2, "big") + data)
    length = int.from_bytes(await reader.readexactly(2), "big")
    reply = await reader.readexactly(length)
    writer.close()
    return reply


async def test_a_service_is_found_by_udp_and_by_tcp() -> None:
    async with serving(dns.Resolver(directory())) as port:
        question = messages.ask(NGINX, "A")
        assert messages.outcome(await ask_udp(port, question)) == ("NOERROR", ("10.96.0.7",))
        assert messages.outcome(await ask_tcp(port, question)) == ("NOERROR", ("10.96.0.7",))


async def test_an_existing_name_without_such_records_is_no_error_and_an_unknown_one_is_nxdomain() -> None:
    async with serving(dns.Resolver(directory())) as port:
        assert messages.outcome(await ask_udp(port, messages.ask(NGINX, "AAAA"))) == ("NOERROR", ())
        absent = messages.ask("nobody.sidecar.svc.cluster.local", "A")
        assert messages.outcome(await ask_udp(port, absent)) == ("NXDOMAIN", ())


async def test_names_outside_are_refused_at_once_where_nobody_can_be_asked() -> None:
    async with serving(dns.Resolver(directory())) as port:
        started = asyncio.get_running_loop().time()
        reply = await ask_udp(port, messages.ask("example.org", "A"))
        assert messages.outcome(reply) == ("REFUSED", ())
        assert asyncio.get_running_loop().time() - started < 1


async def test_a_single_word_that_is_no_name_is_nxdomain_so_that_programs_ask_no_more() -> None:
    async with serving(dns.Resolver(directory())) as port:
        assert messages.outcome(await ask_udp(port, messages.ask("nobody", "A"))) == ("NXDOMAIN", ())


async def test_an_answer_too_large_for_a_datagram_says_so_and_is_whole_by_tcp() -> None:
    async with serving(dns.Resolver(directory())) as port:
        question = messages.ask("many.sidecar.svc.cluster.local", "A")
        by_udp = await ask_udp(port, question)
        assert by_udp[2] & 0x02, "the truncation bit (RFC 1035, 4.1.1)"
        assert len(by_udp) <= messages.PLAIN_UDP
        _, answers = messages.outcome(await ask_tcp(port, question))
        assert len(answers) == 100


async def test_before_the_services_are_known_clients_are_told_to_ask_again() -> None:
    async with serving(dns.Resolver(Directory())) as port:
        assert messages.outcome(await ask_udp(port, messages.ask(NGINX, "A"))) == ("SERVFAIL", ())


async def test_other_names_are_asked_of_an_upstream(monkeypatch: pytest.MonkeyPatch) -> None:
    outside = Directory()
    outside.picture = picture([], [])
    outside.complete = True
    async with serving(dns.Resolver(directory(), domain="example.org")) as upstream:
        # the upstream knows `nginx.sidecar.svc.example.org`; only its port is not 53 here
        monkeypatch.setattr(dns, "PORT", upstream)
        async with serving(dns.Resolver(outside, ["127.0.0.1"])) as port:
            reply = await ask_udp(port, messages.ask("nginx.sidecar.svc.example.org", "A"))
            assert messages.outcome(reply) == ("NOERROR", ("10.96.0.7",))


async def test_an_upstream_is_asked_from_the_machines_network_by_udp_and_tcp(
    lan: Lan, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = Directory()
    outside.picture, outside.complete = picture([], []), True
    name = "nginx.sidecar.svc.example.org"
    async with serving(dns.Resolver(directory(), domain="example.org")) as upstream:
        # the upstream listens in this network only; the resolver's own is the node's
        monkeypatch.setattr(dns, "PORT", upstream)
        node = f"/run/netns/{lan.nodes[0].namespace}"
        for place, answer in (("/proc/self/ns/net", ("NOERROR", ("10.96.0.7",))), (node, ("SERVFAIL", ()))):
            resolver = dns.Resolver(outside, ["127.0.0.1"], place=partial(str, place))
            for protocol in ("udp", "tcp"):
                reply = await resolver.resolve(messages.ask(name, "A"), protocol)
                assert reply
                assert messages.outcome(reply) == answer, (place, protocol)


async def test_an_external_name_is_followed_to_the_upstream(monkeypatch: pytest.MonkeyPatch) -> None:
    inside = Directory()
    inside.picture = picture(
        [service("out", type="ExternalName", externalName="nginx.sidecar.svc.example.org")], []
    )
    inside.complete = True
    async with serving(dns.Resolver(directory(), domain="example.org")) as upstream:
        monkeypatch.setattr(dns, "PORT", upstream)
        async with serving(dns.Resolver(inside, ["127.0.0.1"])) as port:
            reply = await ask_udp(port, messages.ask("out.sidecar.svc.cluster.local", "A"))
            assert messages.outcome(reply) == ("NOERROR", ("nginx.sidecar.svc.example.org.", "10.96.0.7"))


async def test_malformed_packets_do_not_stop_it() -> None:
    good = messages.ask(NGINX, "A")
    async with serving(dns.Resolver(directory())) as port:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending:
            for size in (0, 1, 11, 12, 13, 40):
                sending.sendto(os.urandom(size), ("127.0.0.1", port))
            for cut in range(len(good)):
                sending.sendto(good[:cut], ("127.0.0.1", port))
            # a name that points at itself
            sending.sendto(good[:12] + b"\xc0\x0c\x00\x01\x00\x01", ("127.0.0.1", port))
        assert messages.outcome(await ask_udp(port, good)) == ("NOERROR", ("10.96.0.7",))


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=80), head=st.booleans())
def test_whatever_comes_is_parsed_answered_or_ignored(data: bytes, head: bool) -> None:  # noqa: FBT001 -- hypothesis
    message = messages.ask(NGINX, "A")[:12] + data if head else data
    match messages.parse(message):
        case messages.Query() as query:
            assert messages.respond(query, ZONE.answer(query.name, query.kind), domain="cluster.local")
        case bytes() as reply:
            assert len(reply) >= 12


async def test_the_counters_are_shown_by_coredns_names() -> None:
    resolver = dns.Resolver(directory())
    await resolver.resolve(messages.ask(NGINX, "A"), "udp")

    text = dns.exposition(resolver)

    assert 'coredns_dns_requests_total{proto="udp",type="A"} 1' in text
    assert 'coredns_dns_responses_total{rcode="NOERROR"} 1' in text


def test_the_search_list_of_a_pod_leads_to_the_service_and_nowhere_else() -> None:
    found = [
        ZONE.answer(f"{typed}.{suffix}", "A")
        for typed in ("nginx", "nginx.sidecar")
        for suffix in ("sidecar.svc.cluster.local", "svc.cluster.local", "cluster.local")
    ]
    hits = [answer for answer in found if isinstance(answer, Found)]
    assert hits == [Found((A(NGINX, "10.96.0.7"),))] * 2
