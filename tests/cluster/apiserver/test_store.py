"""The store: order, conflicts, history, and what a crash leaves."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from weft.cluster.apiserver.history import History, StoreError
from weft.cluster.apiserver.store import CompactedError, ConflictError, ExistsError, Key, Store, open_store

WRITER = """
import asyncio, sys
from weft.cluster.apiserver.store import Key, open_store

async def main():
    async with open_store(sys.argv[1]) as store:
        async def stream(worker):
            for n in range(100000):
                name = f"w{worker}-{n}"
                row = await store.create(Key("/configmaps", "d", name), {"metadata": {"name": name}})
                print(name, row.revision, flush=True)
        await asyncio.gather(*(stream(worker) for worker in range(8)))

asyncio.run(main())
"""


def key(name: str) -> Key:
    return Key("/configmaps", "d", name)


def obj(name: str, value: int = 0) -> dict[str, Any]:
    return {"metadata": {"name": name}, "value": value}


async def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    process = subprocess.Popen(  # noqa: ASYNC220 - nothing else runs in this test
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        acknowledged = [process.stdout.readline().split() for _ in range(300)]
        os.kill(process.pid, signal.SIGKILL)
        acknowledged += [line.split() for line in process.stdout if line.endswith("\n")]
    finally:
        process.kill()
        process.wait(10)
        process.stdout.close()
    async with open_store(path) as store:
        for name, revision in acknowledged:
            row = store.get(key(name))
            assert row is not None, name
            assert row.revision == int(revision)


async def test_a_write_over_an_older_revision_is_a_conflict() -> None:
    async with open_store(":memory:") as store:
        first = await store.create(key("a"), obj("a"))
        await store.update(key("a"), obj("a", 1), first.revision)
        with pytest.raises(ConflictError):
            await store.update(key("a"), obj("a", 2), first.revision)
        with pytest.raises(ExistsError):
            await store.create(key("a"), obj("a"))


async def test_of_many_writers_at_once_exactly_one_wins() -> None:
    async with open_store(":memory:") as store:
        row = await store.create(key("a"), obj("a"))
        tries = [store.update(key("a"), obj("a", n), row.revision) for n in range(20)]
        outcomes = await asyncio.gather(*tries, return_exceptions=True)
        assert sum(not isinstance(outcome, ConflictError) for outcome in outcomes) == 1


async def test_writes_that_come_at_any_moment_are_all_written() -> None:
    async with open_store(":memory:") as store, asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        for n in range(200):
            tasks.create_task(store.create(key(f"k{n}"), obj("k")))
            for _ in range(n % 4):
                await asyncio.sleep(0)


async def test_a_full_disk_fails_the_write_and_not_the_store(tmp_path: Path) -> None:
    async with open_store(tmp_path / "store.db") as store:
        limit = store._history._db.execute("PRAGMA page_count").fetchone()[0]
        store._history._db.execute(f"PRAGMA max_page_count = {limit}")
        with pytest.raises(StoreError, match="cannot be written: database or disk is full"):
            await store.create(key("big"), obj("x" * 100_000))
        assert store.get(key("big")) is None
        store._history._db.execute("PRAGMA max_page_count = 100000")
        await store.create(key("big"), obj("big"))


async def test_a_watch_resumes_from_the_database_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with open_store(path) as store:
        first = await store.create(key("a"), obj("a"))
        second = await store.update(key("a"), obj("a", 1), first.revision)
        await store.delete(key("a"), obj("a", 1), second.revision)
    async with open_store(path) as store:
        subscription = await store.subscribe("/configmaps", "", first.revision)
        changes = await subscription.take()
        assert [change.type for change in changes] == ["MODIFIED", "DELETED"]
        assert changes[0].before is not None
        assert changes[0].before.decode()["value"] == 0


async def test_below_the_floor_a_watch_is_refused_and_the_present_is_kept(tmp_path: Path) -> None:
    async with open_store(tmp_path / "store.db", keep=10) as store:
        row = await store.create(key("a"), obj("a"))
        kept = await store.create(key("still"), obj("still"))
        for n in range(30):
            row = await store.update(key("a"), obj("a", n), row.revision)
        with pytest.raises(CompactedError):
            await store.subscribe("/configmaps", "", 1)
    async with open_store(tmp_path / "store.db", keep=10) as store:
        again = store.get(key("a"))
        assert again is not None
        assert again.decode()["value"] == 29
        assert store.get(key("still")) == kept


Steps = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from(["write", "delete"]), st.integers(0, 9)), max_size=40
)


@given(steps=Steps, data=st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_list_at_any_revision_is_the_sum_of_the_changes_until_then(steps: Any, data: st.DataObject) -> None:
    async def scenario() -> None:
        async with open_store(":memory:") as store:
            states: list[dict[str, int]] = [{}]
            for name, action, value in steps:
                await _step(store, name, action, value, states)
            at = data.draw(st.integers(0, len(states) - 1))
            rows = await store.list_at("/configmaps", "d", at)
            assert {row.key.name: row.decode()["value"] for row in rows} == states[at]
            subscription = await store.subscribe("/configmaps", "d", at)
            seen = dict(states[at])
            if at < len(states) - 1:
                for change in await subscription.take():
                    if change.deleted:
                        del seen[change.row.key.name]
                    else:
                        seen[change.row.key.name] = change.row.decode()["value"]
            assert seen == states[-1]

    asyncio.run(scenario())


async def _step(store: Store, name: str, action: str, value: int, states: list[dict[str, int]]) -> None:
    row, state = store.get(key(name)), dict(states[-1])
    if action == "write":
        write = (
            store.update(key(name), obj(name, value), row.revision)
            if row
            else store.create(key(name), obj(name, value))
        )
        await write
        state[name] = value
    elif row:
        await store.delete(key(name), obj(name, value), row.revision)
        del state[name]
    else:
        return
    states.append(state)


def test_compaction_keeps_what_was_current_at_the_floor(tmp_path: Path) -> None:
    history = History(tmp_path / "h.db", 1000)
    history.append([(n, "/c", "d", "a", False, msgspec.json.encode(n)) for n in range(1, 11)])
    history.compact(5)
    assert [record[3] for record in history.at("/c", "d", 5)] == [5]
    assert [step[2] for step in history.between("/c", 5, 10)] == [6, 7, 8, 9, 10]
    history.close()
