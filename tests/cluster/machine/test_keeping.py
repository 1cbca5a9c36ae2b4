"""Processes that die and are started again: real ones, under a clock of the test's own."""

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest
from tests.support.cluster import eventually

from weft.adapters import files, processes
from weft.cluster.machine import keeping, record, removal
from weft.cluster.machine.commands import Command
from weft.cluster.machine.keeping import Keeper
from weft.cluster.machine.layout import Layout
from weft.cluster.machine.record import Started


@dataclass
class Cluster:
    """A record with one process in it, and who looks after it: this very process."""

    home: Path
    words: list[str] = field(default_factory=lambda: ["sleep", "600"])
    now: float = 1000.0

    def __post_init__(self) -> None:
        self.keeper = Keeper(self.home, lambda: self.now, self.plan)
        mine = processes.identify(os.getpid())
        assert mine
        layout = Layout(self.home)
        self.save(self.start(), Started(mine.pid, mine.started), record.of(layout, machine_namespace=1))

    def plan(self, layout: Layout) -> dict[str, Command]:
        return {"apiserver": Command("apiserver", tuple(self.words), layout.log("apiserver"))}

    def start(self) -> Started:
        (command,) = self.plan(Layout(self.home)).values()
        identity = processes.start(command.words, log=command.log)
        return Started(identity.pid, identity.started)

    def save(self, one: Started, mine: Started, held: record.Record | None = None) -> None:
        held = held or record.load(self.home)
        assert held
        record.save(self.home, msgspec.structs.replace(held, processes={"apiserver": one, keeping.NAME: mine}))

    @property
    def one(self) -> Started:
        held = record.load(self.home)
        assert held
        return held.processes["apiserver"]

    def kill(self) -> Started:
        gone = self.one
        os.kill(gone.pid, signal.SIGKILL)
        eventually(lambda: not processes.alive(gone.identity))
        return gone


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path / "home")
    yield made
    held = record.load(made.home)
    if held:
        processes.kill([held.processes["apiserver"].identity])


def test_what_died_is_started_again_at_once_and_counted(cluster: Cluster) -> None:
    assert cluster.keeper.look()
    gone = cluster.kill()

    assert cluster.keeper.look()

    assert cluster.one != gone
    assert cluster.one.restarts == 1
    assert processes.alive(cluster.one.identity)


def test_what_dies_again_and_again_is_started_after_longer_and_longer_waits(cluster: Cluster) -> None:
    waits = []
    cluster.keeper.look()
    for _ in range(5):
        gone = cluster.kill()
        began = cluster.now
        while cluster.one == gone:
            cluster.keeper.look()
            cluster.now += 0.5
        waits.append(cluster.now - began - 0.5)

    assert waits == [0.0, 1.0, 2.0, 4.0, 8.0]
    assert cluster.one.restarts == 5


def test_what_ran_well_for_a_minute_is_started_at_once_again(cluster: Cluster) -> None:
    for _ in range(3):
        cluster.keeper.look()
        gone = cluster.kill()
        cluster.keeper.look()
        assert cluster.one != gone
        cluster.keeper.look()
        cluster.now += keeping.STEADY


def test_nothing_is_started_while_somebody_works_on_the_cluster(cluster: Cluster) -> None:
    cluster.keeper.look()
    gone = cluster.kill()

    with files.locked(cluster.home / removal.LOCK):
        assert cluster.keeper.look()
        assert cluster.one == gone
    assert cluster.keeper.look()
    assert cluster.one != gone


def test_what_was_stopped_stays_stopped(cluster: Cluster) -> None:
    cluster.keeper.look()
    cluster.kill()
    held = record.load(cluster.home)
    assert held
    left = {keeping.NAME: held.processes[keeping.NAME]}
    record.save(cluster.home, msgspec.structs.replace(held, processes=left))
    try:
        assert cluster.keeper.look()
        found = record.load(cluster.home)
        assert found
        assert set(found.processes) == {keeping.NAME}
    finally:
        record.save(cluster.home, held)


def test_another_supervisor_or_no_record_ends_this_one(cluster: Cluster) -> None:
    gone = cluster.kill()
    cluster.save(gone, Started(1, 1))

    with files.locked(cluster.home / removal.LOCK):
        assert cluster.keeper.look(), "the record may be about to name this one"
    assert not cluster.keeper.look()
    assert cluster.one == gone
    record.path(cluster.home).unlink()
    assert not cluster.keeper.look()
