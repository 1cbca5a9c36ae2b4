"""What was acknowledged survives every kill, and a full disk; what is no store is not served."""

import asyncio
import contextlib
import random
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from tests.cluster.apiserver.processes import command, running, until
from tests.cluster.apiserver.servers import Home, free_port, make_home

from weft.adapters.kube.client import ApiError, Kube
from weft.cluster.apiserver.history import History, StoreError
from weft.cluster.apiserver.store import open_store

ROUNDS, WRITERS, WRITES = 4, 6, 60
MAPS = "/api/v1/namespaces/default/configmaps"
WIDGETS = "/apis/example.com/v1/namespaces/default/widgets"
CRD = {
    "metadata": {"name": "widgets.example.com"},
    "spec": {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {"data": {"type": "object", "additionalProperties": {"type": "string"}}},
                    }
                },
            }
        ],
    },
}
Obj = dict[str, Any]
BROKEN = (OSError, aiohttp.ClientError)
"""What clients see when their server dies."""


@dataclass
class Book:
    """What clients were told of each object; where the server died in between, what else may be true."""

    told: dict[tuple[str, str], Obj | None] = field(default_factory=dict)
    maybe: set[tuple[str, str]] = field(default_factory=set)
    revisions: dict[str, set[int]] = field(default_factory=lambda: {MAPS: set(), WIDGETS: set()})

    def note(self, path: str, name: str, obj: Obj | None) -> None:
        self.told[path, name] = obj
        self.maybe.discard((path, name))
        if obj is not None:
            self.revisions[path].add(int(obj["metadata"]["resourceVersion"]))


async def write(kube: Kube, book: Book, path: str, name: str, chance: random.Random) -> None:
    """One random change of an object that nobody else changes."""
    now = book.told.get((path, name))
    data = {"data": {"n": str(chance.random())}}
    book.maybe.add((path, name))
    try:
        if now is None:
            obj = await kube.call("POST", path, body={"metadata": {"name": name}, **data})
        elif chance.random() < 0.2:
            await kube.call("DELETE", f"{path}/{name}")
            book.note(path, name, None)
            return
        elif chance.random() < 0.5:
            applied = {"apiVersion": now["apiVersion"], "kind": now["kind"], **data}
            query = {"fieldManager": "applier", "force": "true"}
            media = "application/apply-patch+yaml"
            obj = await kube.call("PATCH", f"{path}/{name}", body=applied, query=query, content_type=media)
        else:
            media = "application/merge-patch+json"
            obj = await kube.call("PATCH", f"{path}/{name}", body=data, content_type=media)
    except ApiError as error:
        pytest.fail(f"{path}/{name}: {error}")
    book.note(path, name, obj)


@dataclass
class Follower:
    """A watch that goes on from its last revision, whatever happens to the server."""

    path: str
    revision: int
    events: list[tuple[int, str, str]] = field(default_factory=list)

    async def run(self, home: Home) -> None:
        while True:
            with contextlib.suppress(*BROKEN):
                async with Kube(home.access) as kube:
                    query = {"watch": "true", "resourceVersion": str(self.revision)}
                    async for line in kube.lines(self.path, query):
                        event = msgspec.json.decode(line)
                        assert event["type"] != "ERROR", event
                        meta = event["object"]["metadata"]
                        self.revision = int(meta["resourceVersion"])
                        self.events.append((self.revision, event["type"], meta["name"]))
            await asyncio.sleep(0.05)

    def outcome(self) -> dict[str, int]:
        """The objects and their revisions, as the events tell them."""
        state: dict[str, int] = {}
        for revision, what, name in self.events:
            assert (what == "ADDED") == (name not in state), (revision, what, name)
            if what == "DELETED":
                del state[name]
            else:
                state[name] = revision
        return state


@pytest.fixture
async def followers(tmp_path: Path) -> AsyncIterator[tuple[Home, list[Follower]]]:
    home = make_home(tmp_path)
    async with running(home) as server, Kube(home.access) as kube:
        await kube.call("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", body=CRD)
        revision = int((await kube.call("GET", WIDGETS))["metadata"]["resourceVersion"])
        server.kill()
    found = [Follower(path, revision) for path in (MAPS, WIDGETS) for _ in range(2)]
    tasks = [asyncio.ensure_future(follower.run(home)) for follower in found]
    yield home, found
    for task in tasks:
        assert not task.done(), task
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def stream(home: Home, book: Book, number: int, chance: random.Random, done: asyncio.Semaphore) -> None:
    """Write until the server dies."""
    with contextlib.suppress(*BROKEN):
        async with Kube(home.access) as kube:
            while True:
                for path in (MAPS, WIDGETS):
                    await write(kube, book, path, f"w{number}-{chance.randrange(3)}", chance)
                    done.release()


async def test_a_server_killed_again_and_again_loses_and_repeats_nothing(
    followers: tuple[Home, list[Follower]],
) -> None:
    home, watches = followers
    book, chance = Book(), random.Random(7)
    for _ in range(ROUNDS):
        async with running(home) as server:
            async with Kube(home.access) as kube:
                for path, name in sorted(book.maybe):  # whether the last write before the kill came to be
                    with contextlib.suppress(ApiError):
                        book.note(path, name, await kube.call("GET", f"{path}/{name}"))
                        continue
                    book.note(path, name, None)
            done = asyncio.Semaphore(0)
            writers = [asyncio.ensure_future(stream(home, book, n, chance, done)) for n in range(WRITERS)]
            for _ in range(WRITES + chance.randrange(WRITES)):
                await done.acquire()
            server.kill()
            await asyncio.gather(*writers)
    async with running(home), Kube(home.access) as kube:
        for path in (MAPS, WIDGETS):
            listed = await kube.call("GET", path)
            compare(path, listed, book)
            for follower in watches:
                if follower.path == path:
                    await follows(follower, listed, book)


def compare(path: str, listed: Obj, book: Book) -> None:
    """Every object is what its writer was told, down to who manages which field."""
    now = {item["metadata"]["name"]: item for item in listed["items"]}
    for (of, name), told in book.told.items():
        if of == path and (of, name) not in book.maybe:
            found = now.get(name)
            assert (found and (found["metadata"], found["data"])) == (told and (told["metadata"], told["data"]))


async def follows(follower: Follower, listed: Obj, book: Book) -> None:
    """A watch saw every acknowledged write once, in order, and ends where the list is."""
    expected = {item["metadata"]["name"]: int(item["metadata"]["resourceVersion"]) for item in listed["items"]}
    await until(lambda: follower.outcome() == expected)
    revisions = [revision for revision, _, _ in follower.events]
    assert revisions == sorted(set(revisions))
    assert book.revisions[follower.path] <= set(revisions)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "weft-test", folder], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


async def test_on_a_full_disk_writes_are_refused_and_nothing_breaks(small_disk: Path) -> None:
    home = make_home(small_disk)
    written = []
    async with running(home) as server, Kube(home.access) as kube:
        with pytest.raises(ApiError) as refused:  # noqa: PT012 - which of them finds the disk full is not known
            for number in range(100):
                body = {"metadata": {"name": f"n{number}"}, "data": {"a": "x" * 200_000}}
                written.append((await kube.call("POST", MAPS, body=body))["metadata"]["name"])
        assert (refused.value.code, refused.value.reason) == (500, "InternalError")
        assert "the store cannot be written: database or disk is full" in str(refused.value)
        assert {item["metadata"]["name"] for item in (await kube.call("GET", MAPS))["items"]} == set(written)
        subprocess.run(["mount", "-o", "remount,size=32m", small_disk], check=True)  # noqa: ASYNC221 - at once
        written.append((await kube.call("POST", MAPS, body={"metadata": {"name": "after"}}))["metadata"]["name"])
        assert b"Traceback" not in server.log.read_bytes()
        server.kill()
    async with running(home), Kube(home.access) as kube:
        assert {item["metadata"]["name"] for item in (await kube.call("GET", MAPS))["items"]} == set(written)


def refusal(home: Home) -> str:
    """What a server says that cannot start."""
    done = subprocess.run(command(home, free_port()), capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    return done.stderr


async def test_a_second_server_on_the_same_store_is_refused(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    async with running(home):
        assert "is in use: another API server runs on it" in await asyncio.to_thread(refusal, home)


def test_a_file_that_is_no_store_is_named_and_left_as_it_is(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    file = tmp_path / "store.db"
    file.write_bytes(b"no database " * 1000)
    assert "is no database of this server, or it is damaged: file is not a database" in refusal(home)
    assert file.read_bytes() == b"no database " * 1000
    file.unlink()
    with contextlib.closing(sqlite3.connect(file)) as other:
        other.execute("CREATE TABLE songs (name TEXT)")
    assert "it holds other tables" in refusal(home)


async def test_a_damaged_store_is_named(tmp_path: Path) -> None:
    file = tmp_path / "store.db"
    with contextlib.closing(History(file, 1000)) as history:
        history.append([(n, "/c", "d", f"n{n}", False, b"x" * 3000) for n in range(1, 200)])
    content = bytearray(file.read_bytes())
    content[4096 * 2 : 4096 * 60] = b"\xff" * 4096 * 58
    file.write_bytes(content)
    with pytest.raises(StoreError, match="damaged"):
        async with open_store(file):
            pass


def size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


async def test_the_file_stays_bounded_however_much_is_written_and_read(tmp_path: Path) -> None:
    """50 objects written 60,000 times, while 1,000 revisions are kept and old ones are read."""
    with contextlib.closing(History(tmp_path / "h.db", 1000)) as history:
        largest = 0
        for start in range(1, 60_000, 100):
            records = [(n, "/c", "d", f"n{n % 50}", False, b"x" * 500) for n in range(start, start + 100)]
            history.append(records)
            if history.due:
                history.tidy()
                assert len(history.at("/c", "d", history.floor)) == 50
                largest = max(largest, size(tmp_path))
        assert largest < 8_000_000  # all of it would be 40 MB
        history.append([(100_000, "/c", "d", "n1", False, b"x")])
        history.compact(100_000)
        assert size(tmp_path) < 8_000_000
    assert size(tmp_path) < 2_000_000
