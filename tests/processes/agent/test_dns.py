"""A pod's DNS server: its answers, and what it does when resolvers fail."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest
from dnslib import RCODE
from tests.support.ports import free_port

from weft.adapters.dns import client, messages, server
from weft.adapters.dns.answers import A, Found
from weft.adapters.dns.server import Transport
from weft.model.name_table import KUBERNETES, Named
from weft.processes.agent.dns import Dns, Patience

NAMES = [
    Named("web.shop.svc.cluster.local", ("10.96.0.9",), KUBERNETES, "web", "shop"),
    Named("api.example.com", ("240.240.0.1",)),
    Named("both.example.com", ("240.240.0.2", "fd00::2")),
    Named("peers.shop.svc.cluster.local", ("10.244.0.5", "10.244.0.6"), KUBERNETES, "peers", "shop"),
    Named(
        "many.shop.svc.cluster.local", tuple(f"10.244.1.{n}" for n in range(1, 101)), KUBERNETES, "many", "shop"
    ),
]
SEARCH = ("shop.svc.cluster.local", "svc.cluster.local", "cluster.local")


def dns(*resolvers: tuple[str, int], names: list[Named] | None = NAMES) -> Dns:
    made = Dns("shop", "cluster.local", SEARCH, resolvers, Patience(table=0.3, answer=0.2, answers=1.0))
    if names is not None:
        made.learn(names)
    return made


def asked(one: Dns, name: str, kind: str = "A", transport: Transport = "udp") -> tuple[str, tuple[str, ...]]:
    reply = asyncio.run(one.resolve(messages.ask(name, kind), transport))
    assert reply is not None
    return messages.outcome(reply)


@contextlib.asynccontextmanager
async def resolver(answer: Callable[[str, str], bytes | int | None]) -> AsyncIterator[tuple[str, int]]:
    """A resolver of the test's own: `answer` says from name and type a response code, or bytes, or nothing."""

    async def resolve(data: bytes, _: Transport) -> bytes | None:
        query = messages.parse(data)
        assert isinstance(query, messages.Query)
        found = answer(query.name, query.kind)
        if isinstance(found, int):
            return messages.respond(
                query, Found((A(query.name, "192.0.2.1"),)) if not found else None, rcode=found
            )
        return found

    port = free_port()
    task = asyncio.create_task(server.serve(resolve, "127.0.0.1", port))
    await asyncio.sleep(0.05)
    try:
        yield "127.0.0.1", port
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def through(
    answer: Callable[[str, str], bytes | int | None], name: str, kind: str = "A"
) -> tuple[str, tuple[str, ...]]:
    async def go() -> tuple[str, tuple[str, ...]]:
        async with resolver(answer) as place:
            reply = await dns(place).resolve(messages.ask(name, kind), "udp")
        assert reply is not None
        return messages.outcome(reply)

    return asyncio.run(go())


@pytest.mark.parametrize(
    ("name", "kind", "answer"),
    [
        ("web", "A", ("NOERROR", ("10.96.0.9",))),
        ("WEB.Shop.", "A", ("NOERROR", ("10.96.0.9",))),
        ("web.shop.svc.cluster.local", "AAAA", ("NOERROR", ())),
        ("both.example.com", "AAAA", ("NOERROR", ("fd00::2",))),
        # what a search list made is an alias, so that the client tries no further
        ("api.example.com.shop.svc.cluster.local", "A", ("NOERROR", ("api.example.com.", "240.240.0.1"))),
        ("api.example.com.shop.svc.cluster.local", "AAAA", ("NOERROR", ("api.example.com.",))),
    ],
)
def test_names_of_the_mesh_are_answered_without_asking_anyone(
    name: str, kind: str, answer: tuple[str, tuple[str, ...]]
) -> None:
    assert asked(dns(), name, kind) == answer


def test_each_address_is_first_in_its_turn_also_when_the_answer_is_remembered() -> None:
    one, question = dns(), messages.ask("peers", "A")
    assert one.at_once(question) is None
    replies = [asyncio.run(one.resolve(question, "udp")), *(one.at_once(question) for _ in range(4))]
    firsts = [messages.outcome(each or b"")[1][0] for each in replies]
    assert firsts[1:] == ["10.244.0.5", "10.244.0.6", "10.244.0.5", "10.244.0.6"]


def test_a_remembered_answer_has_the_number_of_its_query_and_goes_with_the_table() -> None:
    one = dns()
    asyncio.run(one.resolve(messages.ask("web", "A"), "udp"))
    question = bytes([0xAB, 0xCD]) + messages.ask("web", "A")[2:]
    reply = one.at_once(question)
    assert reply is not None
    assert reply[:2] == b"\xab\xcd"
    one.learn(NAMES[1:])
    assert one.at_once(question) is None


def test_an_answer_too_long_for_a_datagram_is_whole_by_tcp() -> None:
    question = messages.ask("many", "A")
    short = asyncio.run(dns().resolve(question, "udp"))
    assert short is not None
    assert short[2] & 0x02, "cut off"
    assert len(short) <= messages.PLAIN_UDP
    assert len(asked(dns(), "many", "A", "tcp")[1]) == 100


def test_other_names_and_other_types_are_asked_of_the_resolver() -> None:
    assert through(lambda name, kind: 0, "example.org") == ("NOERROR", ("192.0.2.1",))
    assert through(lambda name, kind: 0, "web.shop.svc.cluster.local", "SRV") == ("NOERROR", ("192.0.2.1",))
    assert through(lambda name, kind: RCODE.NXDOMAIN, "nobody.example.org") == ("NXDOMAIN", ())


def test_a_name_that_only_the_mesh_knows_exists_whatever_its_type() -> None:
    assert through(lambda name, kind: RCODE.NXDOMAIN, "api.example.com", "TXT") == ("NOERROR", ())


def test_a_resolver_that_is_silent_refuses_or_lies_gives_way_to_the_next() -> None:
    forged = messages.ask("example.org", "A")

    async def go() -> list[tuple[str, tuple[str, ...]]]:
        found = []
        async with resolver(lambda name, kind: 0) as good:
            for bad in (lambda *_: None, lambda *_: RCODE.REFUSED, lambda *_: RCODE.SERVFAIL, lambda *_: forged):
                async with resolver(bad) as place:
                    reply = await dns(place, good).resolve(messages.ask("example.org", "A"), "udp")
                found.append(messages.outcome(reply or b""))
        return found

    assert asyncio.run(go()) == [("NOERROR", ("192.0.2.1",))] * 4


def test_where_no_resolver_answers_the_client_hears_of_it_before_it_gives_up() -> None:
    async def go() -> tuple[bytes | None, float]:
        began = asyncio.get_running_loop().time()
        async with resolver(lambda *_: None) as place:
            reply = await dns(place).resolve(messages.ask("example.org", "A"), "udp")
        return reply, asyncio.get_running_loop().time() - began

    reply, seconds = asyncio.run(go())
    assert messages.outcome(reply or b"") == ("SERVFAIL", ())
    assert seconds < 1


def test_before_the_first_table_absence_is_not_told_and_presence_is() -> None:
    async def go(code: int) -> tuple[str, tuple[str, ...]]:
        async with resolver(lambda *_: code) as place:
            reply = await dns(place, names=None).resolve(messages.ask("api.example.com", "A"), "udp")
        return messages.outcome(reply or b"")

    assert asyncio.run(go(RCODE.NXDOMAIN)) == ("SERVFAIL", ())
    assert asyncio.run(go(0)) == ("NOERROR", ("192.0.2.1",))


def test_a_query_that_comes_before_the_table_is_answered_from_it() -> None:
    async def go() -> bytes | None:
        one = dns(names=None)
        asking = asyncio.create_task(one.resolve(messages.ask("api.example.com", "A"), "udp"))
        await asyncio.sleep(0.05)
        one.learn(NAMES)
        return await asking

    assert messages.outcome(asyncio.run(go()) or b"") == ("NOERROR", ("240.240.0.1",))


def test_garbage_on_the_socket_stops_nobody() -> None:
    async def go() -> bytes:
        port = free_port()
        task = asyncio.create_task(dns().serve(port))
        await asyncio.sleep(0.05)
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(
            asyncio.DatagramProtocol, remote_addr=("127.0.0.1", port)
        )
        for junk in (b"", b"\0", b"\xff" * 512, messages.ask("web", "A")[:-3]):
            transport.sendto(junk)
        transport.close()
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"\xff\xff\x00")
        writer.close()
        try:
            return await client.ask_udp(("127.0.0.1", port), messages.ask("web", "A"))
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    assert messages.outcome(asyncio.run(go())) == ("NOERROR", ("10.96.0.9",))


def test_a_name_that_nobody_can_be_asked_about_is_not_said_to_be_absent() -> None:
    assert asked(dns(), "nobody") == ("SERVFAIL", ())
