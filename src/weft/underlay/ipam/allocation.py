"""What of a pool goes to whom: many requests at once become one new state of the pool.

Addresses that nobody had go first, from the lowest; then those whose owners left longest ago. So an address comes
back as late as can be, and the same state and requests always give the same answer.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from weft.underlay.addresses import NOTHING, Address, Ranges
from weft.underlay.ipam.pools import Pool


@dataclass(frozen=True, slots=True)
class Holder:
    """Who has an address: `pod` is namespace/name (a virtual machine's, for one), `interface` "" if not known."""

    pod: str
    uid: str
    interface: str = ""


@dataclass(frozen=True, slots=True)
class State:
    """What a pool's status says: who has which address, and since when others rest."""

    taken: Mapping[Address, Holder] = field(default_factory=dict)
    resting: Mapping[Address, datetime] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Want:
    """Somebody wants one address, and none of `avoid`.

    Who has one of this pool already keeps it. With `takes_over` (StatefulSets, virtual machines) that is so
    whatever the UID is: the name is what lasts. `only` is the address it has to be, where it is not for choice.
    """

    holder: Holder
    avoid: Ranges = NOTHING
    takes_over: bool = False
    only: Address | None = None


@dataclass(frozen=True, slots=True)
class Release:
    """Somebody gives back: all that a UID has, or one `address` of it, or what `interface` of it has."""

    uid: str
    address: Address | None = None
    interface: str = ""


Request = Want | Release


@dataclass(frozen=True, slots=True)
class Given:
    """The answer to a Want. `fresh`: it did not have it before."""

    address: Address
    fresh: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """There is none. `again` is when the first of those that rest is free."""

    why: str
    again: datetime | None = None


@dataclass(frozen=True, slots=True)
class Released:
    """The answer to a Release: what it had."""

    addresses: tuple[Address, ...]


Outcome = Given | Refused | Released


@dataclass(frozen=True, slots=True)
class Decision:
    """The pool's next state, and an outcome for each request in their order."""

    state: State
    outcomes: tuple[Outcome, ...]

    def changes(self, before: State) -> bool:
        """Whether there is anything to write."""
        return self.state != before


def decide(
    pool: Pool,
    reserved: Ranges,
    state: State,
    requests: Sequence[Request],
    now: datetime,
    rest: timedelta,
    most_resting: int = 2048,
) -> Decision:
    """Deal with all requests: what is given back first, so that those who wait have it once it has rested."""
    desk = _Desk(pool, reserved, state, now, rest)
    releases = {index: desk.release(each) for index, each in enumerate(requests) if isinstance(each, Release)}
    outcomes = tuple(
        desk.give(each) if isinstance(each, Want) else releases[index] for index, each in enumerate(requests)
    )
    return Decision(State(desk.taken, _newest(desk.resting, pool, most_resting)), outcomes)


class _Desk:
    """One batch at work."""

    def __init__(self, pool: Pool, reserved: Ranges, state: State, now: datetime, rest: timedelta) -> None:
        self._pool, self._reserved, self._now, self._rest = pool, reserved, now, rest
        self.taken, self.resting = dict(state.taken), dict(state.resting)
        self._by_uid: dict[str, list[Address]] = {}
        self._by_pod: dict[str, list[Address]] = {}
        for address, holder in state.taken.items():
            self._index(address, holder)
        self._queue: Iterator[Address] | None = None
        self._skipped: list[Address] = []

    def release(self, release: Release) -> Released:
        gone = tuple(
            address
            for address in self._by_uid.get(release.uid, ())
            if address in self.taken
            and self.taken[address].uid == release.uid
            and release.address in {None, address}
            and release.interface in {"", self.taken[address].interface}
        )
        for address in gone:
            del self.taken[address]
            self.resting[address] = self._now
        return Released(gone)

    def give(self, want: Want) -> Given | Refused:
        if (kept := self._kept(want)) is not None:
            self._take(kept, want.holder)
            return Given(kept, fresh=False)
        address = want.only if want.only is not None else self._next(want.avoid)
        if address is None:
            return self._refusal(want)
        if want.only is not None and (why := self._barred(address)):
            return Refused(why)
        self.resting.pop(address, None)
        self._take(address, want.holder)
        return Given(address, fresh=True)

    def _take(self, address: Address, holder: Holder) -> None:
        if self.taken.get(address) != holder:
            self.taken[address] = holder
            self._index(address, holder)

    def _index(self, address: Address, holder: Holder) -> None:
        self._by_uid.setdefault(holder.uid, []).append(address)
        self._by_pod.setdefault(holder.pod, []).append(address)

    def _kept(self, want: Want) -> Address | None:
        """What this interface has already: an answer that got lost, or an owner whose name lasts."""
        holder = want.holder
        listed = self._by_pod.get(holder.pod, ()) if want.takes_over else self._by_uid.get(holder.uid, ())
        for address in listed:
            known = self.taken.get(address)
            if known is None or known.pod != holder.pod or known.interface not in {"", holder.interface}:
                continue
            if known.interface == "" and address != want.only:
                continue  # whose it is of the pod's interfaces only its endpoint can tell
            is_own = want.takes_over or known.uid == holder.uid
            if is_own and want.only in {None, address} and address not in want.avoid:
                return address
        return None

    def _barred(self, address: Address) -> str:
        """Why this very address cannot be given; "" if it can. One that the same pod had need not rest."""
        if address in self.taken:
            return f"{address} is in use by {self.taken[address].pod}"
        if address not in self._pool.usable:
            return f"{address} is none of its addresses"
        return f"{address} is reserved" if address in self._reserved else ""

    def _next(self, avoid: Ranges) -> Address | None:
        for place, address in enumerate(self._skipped):
            if address not in avoid:
                return self._skipped.pop(place)
        if self._queue is None:
            self._queue = self._free()
        for address in self._queue:
            if address not in avoid:
                return address
            self._skipped.append(address)
        return None

    def _free(self) -> Iterator[Address]:
        """What can be given, in order. Made once for a batch: nothing becomes free while it is dealt with."""
        free = self._pool.usable - self._reserved - Ranges.of(self.taken)
        rested = sorted((since, address) for address, since in self.resting.items() if address in free)
        # as long as the queue is not begun nothing of it is taken; what `only` takes is looked at again here
        for address in free - Ranges.of(self.resting):
            if address not in self.taken:
                yield address
        for since, address in rested:
            if since + self._rest <= self._now and address not in self.taken:
                yield address

    def _refusal(self, want: Want) -> Refused:
        usable = self._pool.usable - self._reserved
        used, total = (usable & Ranges.of(self.taken)).size, usable.size
        if total == 0:
            return Refused("it has no addresses (spec.ips, less excludeIPs and reserved ones)")
        resting = [
            since for address, since in self.resting.items() if address in usable and address not in want.avoid
        ]
        conflicting = (usable & want.avoid - Ranges.of(self.taken)).size
        told = [f"exhausted: {used} of {total} in use"]
        if conflicting:
            told.append(f"{conflicting} used by others on the network")
        if not resting:
            return Refused(", ".join(told))
        again = min(resting) + self._rest
        told.append(f"{len(resting)} rest after use, the first until {again:%H:%M:%S}")
        return Refused(", ".join(told), again)


def _newest(resting: Mapping[Address, datetime], pool: Pool, most: int) -> Mapping[Address, datetime]:
    """What is remembered of addresses given back. The oldest are forgotten, and count as never used again."""
    ours = {address: since for address, since in resting.items() if address in pool.addresses}
    if len(ours) <= most:
        return ours
    return dict(sorted(ours.items(), key=lambda item: (item[1], int(item[0])))[-most:])


def holds(state: State, uids: Iterable[str]) -> Mapping[Address, Holder]:
    """What these UIDs have of a pool."""
    wanted = frozenset(uids)
    return {address: holder for address, holder in state.taken.items() if holder.uid in wanted}
