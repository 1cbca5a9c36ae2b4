"""Keeps one Envoy running, and ends it so that no request is lost."""

import asyncio
import logging
import re
import time
from dataclasses import dataclass

from weft.adapters import http, parking
from weft.adapters.envoy_process import Command, Envoy
from weft.inject.bootstrap import ProxyPorts
from weft.processes.agent.settings import Drain

_log = logging.getLogger("weft.agent.envoy")


@dataclass(frozen=True, slots=True)
class Duty:
    """What a proxy owes its clients: the ports it never leaves, and how they are told to go."""

    held: tuple[int, ...] = ()
    # graceful: connections are asked to close as they are used; skip_exit: listeners stay open all the while
    drain: str = "/drain_listeners?graceful&skip_exit"


# the pod's traffic is redirected to these ports; its own calls go on while its clients are sent away
SIDECAR = Duty((15001, 15006), "/drain_listeners?inboundonly&graceful&skip_exit")
GATEWAY = Duty()

_STABLE_SECONDS = 10.0
_LONGEST_PARKING_SECONDS = 10.0
_POLL_SECONDS = 0.02
_STARTING_POLL_SECONDS = 0.1
_LONGEST_PAUSE = 2.0  # parked connections have to outlast it
_STOP_SECONDS = 3.0
_LONGEST_DRAIN_SECONDS = 3600.0
_ACTIVE = re.compile(r"^listener\.(?!admin)(\S+)\.downstream_cx_active: (\d+)$", re.MULTILINE)


class CannotStartError(RuntimeError):
    """Envoy ended before it ever served. `code` is its exit code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"Envoy cannot start (exit code {code}); its own messages are above")
        self.code = code


class Supervisor:
    """One Envoy at a time."""

    def __init__(self, command: Command, ports: ProxyPorts, duty: Duty = SIDECAR) -> None:
        self._command = command
        self._admin = http.Target("127.0.0.1", ports.admin)
        self._own = tuple(f"0.0.0.0_{port}" for port in (ports.readiness, ports.metrics))
        self._duty = duty
        self._parking: parking.Parking | None = None
        self._envoy: Envoy | None = None
        self._lived = False
        self.restarts = 0

    @property
    def pid(self) -> int:
        """The number of the Envoy that runs now; 0 when none does."""
        return self._envoy.pid if self._envoy else 0

    async def run(self) -> None:
        """Start Envoy, and start it again whenever it dies. CannotStartError when it dies without ever serving."""
        quick_deaths = 0
        while True:
            started = time.monotonic()
            self._envoy = envoy = await Envoy.start(self._command)
            watches = [asyncio.ensure_future(self._watch_birth()), asyncio.ensure_future(self._stand_by())]
            try:
                code = await envoy.wait()
            finally:
                for watch in watches:
                    watch.cancel()
            self._envoy = None
            self._park()
            if code > 0 and not self._lived:
                raise CannotStartError(code)
            quick_deaths = quick_deaths + 1 if time.monotonic() - started < _STABLE_SECONDS else 0
            self.restarts += 1
            _log.error("Envoy ended (exit code %d), starting it again", code)
            # the first time at once: the application has no network without its proxy
            await asyncio.sleep(min(_LONGEST_PAUSE, 0.1 * 2**quick_deaths) if quick_deaths > 1 else 0)

    async def drain(self, drain: Drain) -> None:
        """Let the connections of clients end while new ones are still served."""
        try:
            await http.fetch(self._admin, "POST", self._duty.drain, timeout=2)
        except http.HttpError as error:
            _log.warning("Envoy cannot be drained: %s", error)
            return
        await asyncio.sleep(drain.least.total_seconds())
        if drain.until_idle:
            await self._until_idle(time.monotonic() + _LONGEST_DRAIN_SECONDS)

    async def stop(self) -> None:
        """End Envoy."""
        self._unpark()
        if self._envoy:
            await self._envoy.stop(_STOP_SECONDS)

    def _park(self) -> None:
        # the application's connections wait in the kernel until the next Envoy listens
        if self._parking is None and self._lived and parking.kernel_migrates():
            self._parking = parking.Parking(self._duty.held)

    def _unpark(self) -> None:
        if self._parking:
            self._parking.close()
            self._parking = None

    async def _stand_by(self) -> None:
        """Once Envoy serves, give it what waited, and hold its ports against its death."""
        deadline = time.monotonic() + _LONGEST_PARKING_SECONDS
        while not await self._is_ready():  # Envoy tells nobody when its listeners are there: it has to be asked
            if time.monotonic() > deadline:
                self._unpark()
            await asyncio.sleep(_POLL_SECONDS if self._parking else _STARTING_POLL_SECONDS)
        self._unpark()
        while self._duty.held and parking.kernel_migrates():
            self._parking = parking.Parking(self._duty.held)
            await self._parking.taken()
            # Envoy is dying, or it listens anew and the kernel no longer knows its sockets from ours
            await asyncio.sleep(_POLL_SECONDS)
            if not self._parking.is_beside_owners:
                await asyncio.sleep(_LONGEST_PARKING_SECONDS)  # its death ends us before; if it lives, it refuses
            self._unpark()

    async def _is_ready(self) -> bool:
        try:
            answer = await http.fetch(self._admin, "GET", "/ready", timeout=2)
        except http.HttpError:
            return False
        return answer.status == 200

    async def _watch_birth(self) -> None:
        while not self._lived:
            try:
                await http.fetch(self._admin, "GET", "/server_info", timeout=2)
            except http.HttpError:
                await asyncio.sleep(0.1)
                continue
            self._lived = True

    async def _until_idle(self, deadline: float) -> None:
        # Envoy tells nobody when a connection ends, so it has to be asked
        while time.monotonic() < deadline and await self._connections():
            await asyncio.sleep(1)

    async def _connections(self) -> int:
        """Open connections of clients, those to Envoy's own listeners aside."""
        try:
            answer = await http.fetch(self._admin, "GET", "/stats?filter=downstream_cx_active$", timeout=2)
        except http.HttpError:
            return 0
        found = _ACTIVE.findall(answer.body.decode())
        return sum(int(count) for listener, count in found if not listener.startswith(self._own))
