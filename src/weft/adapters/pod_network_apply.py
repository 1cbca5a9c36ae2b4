"""Lines of a plan done in a pod's and its node's network namespaces, by rtnetlink in process.

All or nothing: where one fails, those before it are taken back on both sides.
"""

import contextlib
import errno
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from weft.adapters import libnftables, netns, pod_network, rtnetlink
from weft.adapters.pod_network import Kernel
from weft.adapters.rtnetlink_writing import Verb, Writer
from weft.underlay.coordinator import changes as coordinator_changes
from weft.underlay.coordinator import marking
from weft.underlay.coordinator.lines import (
    Address,
    Gone,
    Line,
    Mac,
    Marks,
    Pair,
    Queue,
    Side,
    Sysctl,
    Thing,
    Up,
)
from weft.underlay.observed import Neighbour, Observed, Route, Rule, Version

T = TypeVar("T")

_HERE: Final = "/proc/self/ns/net"
_SCOPE_HOST: Final = 254
_ABSENT: Final = frozenset({errno.ENOENT, errno.ESRCH, errno.ENODEV, errno.EADDRNOTAVAIL})


class ApplyError(RuntimeError):
    """The kernel refused a line; what was done before it is taken back. The message has line and reason."""


@dataclass(frozen=True, slots=True)
class _Sockets:
    kernel: Kernel
    writer: Writer


class Both:
    """A pod's namespace and its node's, for one thread. `pod` is "" where it is gone: it shows nothing then."""

    def __init__(self, pod: str, on_node: _Sockets, in_pod: _Sockets | None) -> None:
        self._sides: dict[Side, _Side] = {"node": _Side("", on_node, pod)}
        if in_pod:
            self._sides["pod"] = _Side(pod, in_pod, pod)

    def look_at_pod(self) -> Observed:
        """All of the pod."""
        side = self._sides.get("pod")
        return side.here(lambda: pod_network.look_by(side.kernel)) if side else Observed()

    def look_at_node(self) -> Observed:
        """All of the node."""
        return pod_network.look_by(self._sides["node"].kernel)

    def glance_at_node(self, devices: Iterable[str | int], table: int) -> Observed:
        """Some links of the node, and what is about them, with the routes of one table."""
        return pod_network.glance_by(self._sides["node"].kernel, frozenset(devices), table)

    def versions_in_table_of_node(self, number: int) -> frozenset[Version]:
        """The IP versions of which a table of the node's has routes."""
        return frozenset(6 if route.destination.version == 6 else 4 for route in rtnetlink.table(number))

    def apply(self, lines: Sequence[Line], pod: Observed, node: Observed) -> None:
        """Do the lines, all or (ApplyError) none. `pod` and `node` are what there is."""
        done: list[Line] = []
        for line in lines:
            try:
                self._sides[line.side].do(line.thing)
            except _errors() as error:
                left = self._undo(done, pod, node)
                more = f" Not undone: {'; '.join(left)}." if left else ""
                raise ApplyError(f"{line}: {_reason(error)}.{more}") from error
            done.append(line)

    def _undo(self, done: Sequence[Line], pod: Observed, node: Observed) -> list[str]:
        """What could not be taken back."""
        left: list[str] = []
        for line in reversed(done):
            back = coordinator_changes.undoing(line, pod, node)
            if back is not None:
                try:
                    self._sides[back.side].do(back.thing)
                except _errors() as error:
                    left.append(f"{back}: {_reason(error)}")
        return left


def between(pod: str, node: str, work: Callable[[Both], T]) -> T:
    """Run `work` on a pod and its node, namespaces by name or path; "" for the node is where we are. Blocks."""

    def run() -> T:
        with _opened(pod) as both:
            return work(both)

    return netns.inside(node or _HERE, run)


@contextmanager
def _opened(pod: str) -> Iterator[Both]:
    with contextlib.ExitStack() as stack:

        def sockets() -> _Sockets:
            writer = stack.enter_context(contextlib.closing(Writer()))
            return _Sockets(stack.enter_context(pod_network.opened()), writer)

        # a socket stays with the namespace that it was made in
        yield Both(pod, sockets(), netns.visit(pod, sockets) if pod else None)


class _Side:
    """One namespace. `here` runs what does not go by its socket."""

    def __init__(self, namespace: str, sockets: _Sockets, pod: str) -> None:
        self.kernel, self._writer = sockets.kernel, sockets.writer
        self._namespace, self._pod = namespace, pod
        self._indexes: dict[str, int] = {}

    def here(self, work: Callable[[], T]) -> T:
        return netns.visit(self._namespace, work) if self._namespace else work()

    def do(self, thing: Thing | Gone) -> None:
        match thing:
            case Gone(what):
                with _tolerated(_ABSENT):
                    self._remove(what)
            case Route() | Rule() | Neighbour():
                self._write("add", thing)
            case Sysctl(path, value):
                self.here(lambda: _set(path, value))
            case Marks():
                self.here(lambda: _mark(thing))
            case _:
                self._link(thing)

    def _link(self, thing: Pair | Up | Address | Mac | Queue) -> None:
        match thing:
            case Pair():
                self._pair(thing)
            case Up(device):
                self.kernel.link("set", index=self._index(device), state="up")
            case Address(device, address):
                ip, _, length = address.partition("/")
                # of scope host: what leaves by the link is never sent from an address that only the link knows
                scope = {} if ":" in ip else {"scope": _SCOPE_HOST}
                self.kernel.addr("add", index=self._index(device), address=ip, prefixlen=int(length), **scope)
            case Mac(device, mac):
                self.kernel.link("set", index=self._index(device), address=mac)
            case Queue(device, length):
                self.kernel.link("set", index=self._index(device), txqlen=length)

    def _pair(self, pair: Pair) -> None:
        with Path(netns.NETNS / self._pod).open("rb") as pod:
            peer = {
                "ifname": pair.in_pod,
                "address": pair.mac_in_pod,
                "mtu": pair.mtu,
                "net_ns_fd": pod.fileno(),
            }
            self.kernel.link(
                "add", ifname=pair.on_node, kind="veth", address=pair.mac_on_node, mtu=pair.mtu, peer=peer
            )
        self.kernel.link("set", index=self._index(pair.on_node), ifalias=pair.alias, state="up")

    def _remove(self, thing: Pair | Address | Neighbour | Route | Rule) -> None:
        match thing:
            case Pair():
                self.kernel.link("del", index=self._index(thing.on_node))
            case Address(device, address):
                ip, _, length = address.partition("/")
                self.kernel.addr("del", index=self._index(device), address=ip, prefixlen=int(length))
            case Route() | Rule() | Neighbour():
                self._write("del", thing)

    def _write(self, verb: Verb, thing: Route | Rule | Neighbour) -> None:
        match thing:
            case Route(device=device):
                self._writer.route(verb, thing, self._index(device) if device else 0)
            case Rule():
                self._writer.rule(verb, thing)
            case Neighbour(device=device):
                self._writer.neighbour(verb, thing, self._index(device))

    def _index(self, device: str) -> int:
        if device not in self._indexes:
            found = self.kernel.link_lookup(ifname=device)
            if not found:
                raise OSError(errno.ENODEV, f"there is no link {device}")
            self._indexes[device] = found[0]
        return self._indexes[device]


def _set(path: str, value: int) -> None:
    (pod_network.SYSCTLS / path).write_text(f"{value}\n", encoding="utf-8")


def _mark(marks: Marks) -> None:
    replacing = bool(libnftables.table(marking.FAMILY, marking.TABLE))
    if commands := marking.transaction(marks.marks, replacing=replacing):
        libnftables.apply(commands)


def _errors() -> tuple[type[Exception], ...]:
    from pyroute2.netlink.exceptions import NetlinkError

    return (NetlinkError, OSError, libnftables.LibnftablesError)


def _reason(error: BaseException) -> str:
    return str(error.args[1]) if len(error.args) > 1 else str(error)


@contextmanager
def _tolerated(codes: frozenset[int]) -> Iterator[None]:
    try:
        yield
    except _errors() as error:
        if getattr(error, "code", getattr(error, "errno", None)) not in codes:
            raise
