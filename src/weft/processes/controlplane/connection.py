"""One proxy's stream: the state machine, what waits to be written, and the times between."""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from weft.pki.identity import SpiffeId
from weft.processes.controlplane.metrics import Metrics
from weft.xds.channel import Acked, Rejected, Send
from weft.xds.resource import (
    CLUSTER,
    ENDPOINT,
    EXTENSION,
    LISTENER,
    NAME_TABLE,
    PROXY_CONFIG,
    ROUTE,
    SECRET,
    Resource,
    Resources,
)
from weft.xds.sotw import FullRequest, FullSend
from weft.xds.stream import Request, TypeStatus, Update
from weft.xds.wire import Node, WireError

SHORT = {
    CLUSTER: "cds",
    ENDPOINT: "eds",
    LISTENER: "lds",
    ROUTE: "rds",
    SECRET: "sds",
    NAME_TABLE: "nds",
    PROXY_CONFIG: "pcds",
    EXTENSION: "ecds",
}


_MOST_TYPES, _LONGEST_TYPE = 32, 256
_MOST_NAMES, _LONGEST_NAME = 50_000, 1024
"""What one stream may ask for: clusters of 10,000 services with some subsets each, and SNI-like names of them."""
_DEAR, _CHEAP_BYTES = 20.0, 64 << 10
"""What a rejection or a report of health costs, in messages, and the bytes of answers that cost as much as one."""


@dataclass(frozen=True, slots=True)
class Client:
    """Who is at the other end: what it says of itself, and who it proved to be (None on the plaintext port).

    `bound`: it proved to be the very pod that it says.
    """

    node: Node
    identity: SpiffeId | None
    address: str
    bound: bool = False

    @property
    def name(self) -> str:
        """`POD.NAMESPACE`, the third part of an Istio node id; the whole id where it has another form."""
        parts = self.node.id.split("~")
        return parts[2] if len(parts) == 4 else self.node.id

    @property
    def told_address(self) -> str:
        """The address that it says it has, the second part; "" where the id has another form."""
        parts = self.node.id.split("~")
        return parts[1] if len(parts) == 4 else ""


class Machine(Protocol):
    """What both kinds of stream have in common."""

    @property
    def settled(self) -> bool:
        """Whether the proxy has confirmed everything it asked for."""
        ...

    def status(self) -> dict[str, TypeStatus]:
        """How each type stands."""
        ...

    def names(self, type_url: str) -> frozenset[str]:
        """The names of a type that the proxy asks for."""
        ...

    def confirmed(self, type_url: str) -> bool:
        """Whether the proxy asked for a type and took all that it is to have of it."""
        ...

    def handle(self, event: Any) -> tuple[Any, ...]:
        """What follows from a request or an update."""
        ...


@dataclass(frozen=True, slots=True)
class Dialect:
    """One of the two kinds of xDS: its machine, and its messages both ways."""

    machine: Callable[[], Machine]
    decode: Callable[[bytes], tuple[Any, Node | None]]
    encode: Callable[[Any], bytes]


class Connection:
    """Takes requests and configurations, keeps encoded responses until the writer fetches them.

    At most one response per type waits, so the memory of a slow proxy is bounded. `monotonic` tells seconds.
    `seeks_secrets`: which secrets there are is found out once the proxy asks for them (`give`). `trust` is what it
    is to verify others with.
    """

    def __init__(
        self,
        client: Client,
        *,
        dialect: Dialect,
        metrics: Metrics,
        monotonic: Callable[[], float],
        rejected: Callable[[Client, Rejected], None],
        seeks_secrets: bool = False,
        trust: Mapping[str, Resource] | None = None,
    ) -> None:
        self.client = client
        self.closed = False
        self._stream = dialect.machine()
        self._dialect, self._metrics, self._monotonic = dialect, metrics, monotonic
        self._rejected = rejected
        self._outbox: deque[bytes] = deque()
        self._wake = asyncio.Event()
        self._changed_at: float | None = None
        self._resources: Resources | None = None
        self._secrets: Mapping[str, Resource] = {}
        self._trust: Mapping[str, Resource] = trust or {}
        self._absent: frozenset[str] | None = frozenset() if seeks_secrets else None
        self._types: set[str] = set()
        self._bill = 0.0

    def update(self, resources: Resources, changed_at: float) -> bool:
        """What the proxy is to have, and when the change behind it was seen. Whether that makes a difference."""
        if resources is self._resources:
            return False
        self._resources = resources
        self._update()
        if self._stream.settled:
            return False
        if self._changed_at is None:
            self._changed_at = changed_at
        return True

    def receive(self, message: bytes) -> None:
        """A message of the proxy; WireError where it is none, or asks for more than one stream may."""
        request, _ = self._dialect.decode(message)
        self._bound(request)
        self._take(self._stream.handle(request))
        if self._changed_at is not None and self._stream.settled:
            self._metrics.converged(self._monotonic() - self._changed_at)
            self._changed_at = None

    def _bound(self, request: Request | FullRequest) -> None:
        """Refuse what would fill the memory: streams live long, and what is asked for is kept."""
        names = request.subscribe if isinstance(request, Request) else request.names
        self._types.add(request.type_url)
        if len(self._types) > _MOST_TYPES or len(request.type_url) > _LONGEST_TYPE:
            raise WireError(f"more than {_MOST_TYPES} types of resources, or none of ours")
        if not names:
            return
        if max(map(len, names)) > _LONGEST_NAME:
            raise WireError(f"a name of more than {_LONGEST_NAME} characters")
        before = self._stream.names(request.type_url) if isinstance(request, Request) else ()
        if len(names) + len(before) > _MOST_NAMES:
            raise WireError(f"more than {_MOST_NAMES} names of one type")

    def give(self, secrets: Mapping[str, Resource], absent: frozenset[str]) -> None:
        """The secrets that the proxy may have of those it asks for, and those that there are not."""
        if (secrets, absent) != (self._secrets, self._absent):
            self._secrets, self._absent = secrets, absent
            if self._resources is not None:
                self._update()

    def trust(self, trust: Mapping[str, Resource]) -> None:
        """What the proxy is to verify others with from now on."""
        self._trust = trust
        if self._resources is not None:
            self._update()

    @property
    def trusts(self) -> bool:
        """Whether the proxy has said that it verifies others with what it was told last."""
        return self._stream.confirmed(PROXY_CONFIG)

    @property
    def asked_secrets(self) -> frozenset[str]:
        """The names of the secrets that the proxy asks for."""
        return self._stream.names(SECRET)

    def _update(self) -> None:
        resources = self._resources or {}
        if self._secrets or self._trust:
            resources = {**resources, SECRET: self._secrets, PROXY_CONFIG: self._trust}
        self._take(self._stream.handle(Update(resources, self._absent)))

    def trouble(self, message: bytes) -> str | None:
        """What a report of health says is wrong; None if nothing. WireError where it is none."""
        self._bill += _DEAR  # it is written to the API server
        request, _ = self._dialect.decode(message)
        error: str | None = request.error
        return error

    def bill(self) -> float:
        """What the proxy has cost since the last bill: one for a message, more for dear ones and for answers."""
        cost, self._bill = 1 + self._bill, 0.0
        return cost

    def close(self) -> None:
        """Nothing more will be read or written."""
        self.closed = True
        self._wake.set()

    async def next_message(self) -> bytes | None:
        """The next response to write; None once the connection is closed."""
        while not self._outbox and not self.closed:
            self._wake.clear()
            await self._wake.wait()
        return None if self.closed else self._outbox.popleft()

    @property
    def settled(self) -> bool:
        """Whether the proxy has confirmed all it is to have."""
        return self._stream.settled

    def status(self) -> Mapping[str, TypeStatus]:
        """How each type stands."""
        return self._stream.status()

    def _take(self, effects: tuple[Any, ...]) -> None:
        for effect in effects:
            match effect:
                case Send() | FullSend():
                    encoded = self._dialect.encode(effect)
                    self._outbox.append(encoded)
                    self._bill += len(encoded) / _CHEAP_BYTES
                    self._wake.set()
                    self._metrics.pushes[SHORT.get(effect.type_url, "other")] += 1
                case Rejected():
                    self._bill += _DEAR
                    self._metrics.rejects[SHORT.get(effect.type_url, "other")] += 1
                    self._rejected(self.client, effect)
                case Acked():
                    pass
