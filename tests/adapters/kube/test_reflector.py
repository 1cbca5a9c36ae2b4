"""The reflector against a server that does what servers do: send, break off, forget, refuse."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from aiohttp import web

from weft.adapters.kube.access import Access
from weft.adapters.kube.client import Kube
from weft.adapters.kube.kinds import PODS
from weft.adapters.kube.reflector import Applied, Change, Deleted, Replaced


class Pod(msgspec.Struct):
    metadata: dict[str, Any]


class Names(msgspec.Struct):
    name: str
    labels: dict[str, str] = {}


class Labelled(msgspec.Struct):
    metadata: Names


def pod(name: str, revision: int) -> dict[str, Any]:
    return {"metadata": {"name": name, "resourceVersion": str(revision)}}


def event(kind: str, obj: dict[str, Any]) -> bytes:
    return json.dumps({"type": kind, "object": obj}).encode() + b"\n"


class Server:
    """Answers lists with `listed` and each watch with the next script: chunks to send, then the end."""

    def __init__(self, listed: list[dict[str, Any]], *watches: list[bytes] | int) -> None:
        self.listed, self.watches = listed, list(watches)
        self.asked: list[str] = []

    async def pods(self, request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query:
            self.asked.append("list")
            return web.json_response({"metadata": {"resourceVersion": "10"}, "items": self.listed})
        self.asked.append(f"watch {request.query['resourceVersion']}")
        if not self.watches:
            await asyncio.sleep(30)
        script = self.watches.pop(0)
        if isinstance(script, int):
            return web.json_response({"kind": "Status", "code": script, "message": "no"}, status=script)
        answer = web.StreamResponse()
        await answer.prepare(request)
        for chunk in script:
            await answer.write(chunk)
        return answer


@asynccontextmanager
async def serving(server: Server) -> AsyncIterator[Kube]:
    app = web.Application()
    app.router.add_get("/api/v1/pods", server.pods)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    async with Kube(Access(f"http://127.0.0.1:{port}")) as kube:
        yield kube
    await runner.cleanup()


async def first(kube: Kube, count: int) -> list[Change[Pod]]:
    seen: list[Change[Pod]] = []
    async with asyncio.timeout(5):
        async for change in kube.reflect(PODS, decode=Pod):
            seen.append(change)
            if len(seen) == count:
                break
    return seen


async def test_it_yields_the_state_and_then_each_change() -> None:
    server = Server([pod("a", 5)], [event("ADDED", pod("b", 11)), event("DELETED", pod("a", 12))])
    async with serving(server) as kube:
        assert await first(kube, 3) == [
            Replaced((Pod(pod("a", 5)["metadata"]),)),
            Applied(Pod(pod("b", 11)["metadata"])),
            Deleted(Pod(pod("a", 12)["metadata"])),
        ]


async def test_a_broken_watch_resumes_from_the_last_revision_without_a_new_list() -> None:
    server = Server([], [event("ADDED", pod("a", 11))], [event("MODIFIED", pod("a", 15))])
    async with serving(server) as kube:
        assert len(await first(kube, 3)) == 3
    assert server.asked == ["list", "watch 10", "watch 11"]


async def test_a_bookmark_moves_the_revision_and_is_no_change() -> None:
    server = Server([], [event("BOOKMARK", pod("", 40))], [event("ADDED", pod("a", 41))])
    async with serving(server) as kube:
        assert [type(change) for change in await first(kube, 2)] == [Replaced, Applied]
    assert server.asked == ["list", "watch 10", "watch 40"]


async def test_a_revision_that_is_too_old_is_answered_by_a_new_list() -> None:
    gone = event("ERROR", {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"})
    server = Server([pod("a", 5)], [gone], [event("ADDED", pod("b", 11))])
    async with serving(server) as kube:
        assert [type(change) for change in await first(kube, 3)] == [Replaced, Replaced, Applied]
    assert server.asked == ["list", "watch 10", "list", "watch 10"]


async def test_a_410_before_the_stream_is_answered_by_a_new_list_too() -> None:
    server = Server([], 410, [event("ADDED", pod("b", 11))])
    async with serving(server) as kube:
        assert [type(change) for change in await first(kube, 3)] == [Replaced, Replaced, Applied]


async def test_a_server_in_trouble_is_asked_again() -> None:
    server = Server([], 500, 503, [event("ADDED", pod("a", 11))])
    async with serving(server) as kube:
        assert [type(change) for change in await first(kube, 2)] == [Replaced, Applied]


async def test_an_event_that_comes_in_pieces_is_put_together() -> None:
    whole = event("ADDED", pod("a", 11)) + event("ADDED", pod("b", 12))
    server = Server([], [whole[:9], whole[9:70], whole[70:]])
    async with serving(server) as kube:
        assert [type(change) for change in await first(kube, 3)] == [Replaced, Applied, Applied]


async def test_an_object_that_cannot_be_read_is_passed_over_and_the_rest_goes_on() -> None:
    broken = {"metadata": {"name": "odd", "resourceVersion": "6", "labels": 7}}
    server = Server([broken, pod("a", 5)], [event("ADDED", broken), event("ADDED", pod("b", 11))])
    async with serving(server) as kube:
        seen = []
        async with asyncio.timeout(5):
            async for change in kube.reflect(PODS, decode=Labelled):
                seen.append(change)
                if len(seen) == 2:
                    break
    assert seen == [Replaced((Labelled(Names("a")),)), Applied(Labelled(Names("b")))]
