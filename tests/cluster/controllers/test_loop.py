"""The loop of one controller: when it looks, and how often."""

import asyncio
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, cast

from tests.cluster.controllers.stage import START

from weft.adapters.kube.client import Json
from weft.adapters.kube.kinds import Kind
from weft.cluster.controllers.changes import Performer, Plan
from weft.cluster.controllers.loop import Controller, Runner, World
from weft.cluster.controllers.objects import Key


class Clock(Controller):
    """Wants to look again in an hour, whatever happens."""

    name = "clock"
    watches = ()

    def __init__(self) -> None:
        self.looks = 0

    def keys(self, kind: Kind, obj: Json, world: World) -> Iterable[Key]:
        return ()

    def plan(self, key: Key, world: World) -> Plan:
        self.looks += 1
        return Plan((), timedelta(hours=1))


async def test_however_often_an_object_is_looked_at_it_waits_for_one_look_only() -> None:
    loop, set_at = asyncio.get_running_loop(), list[float]()
    later = loop.call_later

    def counted(delay: float, *rest: Any) -> asyncio.TimerHandle:
        if delay > 3000:
            set_at.append(delay)
        return later(delay, *rest)

    loop.call_later = counted  # type: ignore[method-assign,assignment]  # to see what is set, not to change it
    clock = Clock()
    # nothing is planned, so nothing is performed
    runner = Runner(clock, Performer(cast("Any", None)), {}, lambda: START)
    running = asyncio.create_task(runner.run())
    for count in range(1, 6):
        runner.add(("default", "a"))
        async with asyncio.timeout(10):
            while clock.looks < count:
                await asyncio.sleep(0)
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait([running])
    assert len(set_at) == 1
