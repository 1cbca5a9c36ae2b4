"""How much one caller may ask of the control plane, so that none disturbs the others.

Calls are counted by the address they come from, before anything is done for them: a token costs the API server a
review. Streams at once are counted by who has proved to be there. What comes too fast waits, and what would wait
too long is refused with RESOURCE_EXHAUSTED; proxies try again by themselves.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import grpc

from weft.adapters.grpc_server import Peer, RefusedError
from weft.processes.controlplane.identities import Caller

T = TypeVar("T")

_MANY = 4096
"""Addresses from which on those are forgotten that have been quiet."""


@dataclass(frozen=True, slots=True)
class Rate:
    """So many at once, then so many a second."""

    burst: float
    a_second: float


@dataclass(frozen=True, slots=True)
class Limits:
    """`calls` from one address, waiting `patience` seconds at most; `streams` at once of one caller.

    `messages` on one stream, weighed by what they cost (`Connection.bill`); seconds until the `first`.
    """

    calls: Rate = Rate(200, 50)
    patience: float = 1.0
    streams: int = 50
    messages: Rate = Rate(2000, 200)
    first: float = 10.0


class Bucket:
    """Tokens that come back with time; it may be overdrawn, and then has to be waited for."""

    def __init__(self, rate: Rate, now: float) -> None:
        self._rate, self._tokens, self._at = rate, rate.burst, now

    def take(self, now: float, cost: float = 1.0) -> float:
        """Pay; the seconds to wait until that is covered."""
        self._refill(now)
        self._tokens -= cost
        return max(0.0, -self._tokens / self._rate.a_second)

    def give(self, cost: float = 1.0) -> None:
        """Take a payment back."""
        self._tokens += cost

    def full(self, now: float) -> bool:
        """Whether it has been left alone for long enough to be as good as new."""
        self._refill(now)
        return self._tokens >= self._rate.burst

    def _refill(self, now: float) -> None:
        self._tokens = min(self._rate.burst, self._tokens + (now - self._at) * self._rate.a_second)
        self._at = now


class Doorkeeper:
    """Counts calls and streams. `monotonic` tells seconds."""

    def __init__(self, limits: Limits, monotonic: Callable[[], float]) -> None:
        self.limits, self._monotonic = limits, monotonic
        self._calls: dict[str, Bucket] = {}
        self._streams: Counter[str] = Counter()

    def guarded(self, prove: Callable[[Peer], Awaitable[T]]) -> Callable[[Peer], Awaitable[T]]:
        """The same, asked no more often by one address than its rate allows."""

        async def asked(peer: Peer) -> T:
            await self.call(peer)
            return await prove(peer)

        return asked

    async def call(self, peer: Peer) -> None:
        """One more call from an address; RefusedError where there are too many."""
        now, host = self._monotonic(), host_of(peer)
        if host not in self._calls and len(self._calls) >= _MANY:
            self._calls = {each: bucket for each, bucket in self._calls.items() if not bucket.full(now)}
        bucket = self._calls.setdefault(host, Bucket(self.limits.calls, now))
        if (wait := bucket.take(now)) > self.limits.patience:
            bucket.give()
            raise RefusedError(grpc.StatusCode.RESOURCE_EXHAUSTED, f"too many calls from {host}: try again later")
        if wait:
            await asyncio.sleep(wait)

    @contextlib.contextmanager
    def stream(self, caller: Caller | None, peer: Peer) -> Iterator[None]:
        """While one more stream of a caller is open; RefusedError where there are too many."""
        host = host_of(peer)
        who = f"{caller.identity} {caller.pod or host}" if caller else host
        if self._streams[who] >= self.limits.streams:
            said = f"{who} has {self.limits.streams} streams open: close some"
            raise RefusedError(grpc.StatusCode.RESOURCE_EXHAUSTED, said)
        self._streams[who] += 1
        try:
            yield
        finally:
            self._streams[who] -= 1
            if not self._streams[who]:
                del self._streams[who]

    def pace(self) -> Bucket:
        """What one stream's messages are paid from."""
        return Bucket(self.limits.messages, self._monotonic())


def host_of(peer: Peer) -> str:
    """The address without the port, as gRPC writes it: `ipv4:10.0.0.1`, `ipv6:[::1]`, `unix`."""
    host, _, _ = peer.address.rpartition(":")
    return host or peer.address
