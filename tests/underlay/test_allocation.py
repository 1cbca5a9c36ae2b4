"""What of a pool goes to whom, by tables, and by nodes that race, crash and collect at random."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from weft.api.spider_ippool import IPPoolStatus
from weft.underlay.addresses import NOTHING, Ranges
from weft.underlay.ipam import allocation, pool_status
from weft.underlay.ipam.allocation import Given, Holder, Refused, Release, Released, Request, State, Want
from weft.underlay.ipam.pool_status import UnreadableStatusError
from weft.underlay.ipam.pools import Pool

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
REST = timedelta(seconds=5)
POOL = Pool("p", 4, ip_network("10.6.0.0/24"), Ranges.parse(["10.6.0.2-10.6.0.5"]), ip_address("10.6.0.2"))


def ip(last: int) -> IPv4Address | IPv6Address:
    return ip_address(f"10.6.0.{last}")


def holder(uid: str, interface: str = "eth0") -> Holder:
    return Holder(f"default/{uid}", uid, interface)


def ask(
    state: State, *requests: Request, at: float = 0, reserved: Ranges = NOTHING, pool: Pool = POOL
) -> allocation.Decision:
    return allocation.decide(pool, reserved, state, requests, NOW + timedelta(seconds=at), REST)


def test_the_lowest_that_nobody_had_goes_first_and_never_the_gateways_own() -> None:
    found = ask(State(), *(Want(holder(each)) for each in "abcd"))
    assert found.outcomes == (
        Given(ip(3), fresh=True),
        Given(ip(4), fresh=True),
        Given(ip(5), fresh=True),
        Refused("exhausted: 3 of 3 in use"),
    )


def test_who_asks_again_keeps_what_it_has_by_its_interface() -> None:
    first = ask(State(), Want(holder("a")), Want(holder("a", "net1")))
    again = ask(first.state, Want(holder("a", "net1")), Want(holder("a")))
    assert again.outcomes == (Given(ip(4), fresh=False), Given(ip(3), fresh=False))
    assert not again.changes(first.state)


def test_only_the_owners_uid_gives_back_and_addresses_rest_before_they_are_used_again() -> None:
    first = ask(State(), *(Want(holder(each)) for each in "abc"))
    assert ask(first.state, Release("z")).outcomes == (Released(()),)
    second = ask(first.state, Release("b"), Want(holder("d")))
    assert second.outcomes == (
        Released((ip(4),)),
        Refused("exhausted: 2 of 3 in use, 1 rest after use, the first until 12:00:05", NOW + REST),
    )
    third = ask(second.state, Release("a"), at=2)
    # the one that has been free for longest, not the lowest
    assert ask(third.state, Want(holder("d")), at=7).outcomes == (Given(ip(4), fresh=True),)


def test_what_is_reserved_or_used_by_others_on_the_network_is_passed_over() -> None:
    reserved = Ranges.parse(["10.6.0.0/30"])
    others = Want(holder("a"), avoid=Ranges.of((ip(4),)))
    found = ask(State(), others, Want(holder("b")), Want(holder("c")), reserved=reserved)
    assert found.outcomes[:2] == (Given(ip(5), fresh=True), Given(ip(4), fresh=True))
    assert ask(State(), replace(others, avoid=POOL.addresses), reserved=reserved).outcomes == (
        Refused("exhausted: 0 of 2 in use, 2 used by others on the network"),
    )


def test_a_name_that_lasts_takes_over_what_it_had() -> None:
    old, new = Holder("default/db-0", "1", "eth0"), Holder("default/db-0", "2", "eth0")
    first = ask(State(), Want(old))
    second = ask(first.state, Want(new, takes_over=True, only=ip(3)))
    assert second.outcomes == (Given(ip(3), fresh=False),)
    assert second.state.taken == {ip(3): new}
    assert ask(second.state, Release("1")).outcomes == (Released(()),)
    taken = ask(first.state, Want(holder("x"), only=ip(3)))
    assert taken.outcomes == (Refused("10.6.0.3 is in use by default/db-0"),)


def test_one_address_or_interface_of_a_pod_is_given_back_by_itself() -> None:
    first = ask(State(), Want(holder("a")), Want(holder("a", "net1")))
    assert ask(first.state, Release("a", interface="net1")).outcomes == (Released((ip(4),)),)
    assert ask(first.state, Release("a", address=ip(3))).outcomes == (Released((ip(3),)),)
    assert ask(first.state, Release("a", address=ip(3), interface="net1")).outcomes == (Released(()),)


def test_a_pool_as_large_as_a_64_gives_at_once() -> None:
    large = Pool("p", 6, ip_network("fd00::/64"), Ranges.parse(["fd00::/64"]))
    found = ask(State(), *(Want(holder(str(each))) for each in range(1000)), pool=large)
    assert found.outcomes[-1] == Given(ip_address("fd00::3e8"), fresh=True)
    assert pool_status.patch(large, found.state)["totalIPCount"] == (1 << 63) - 1


def test_what_is_remembered_of_addresses_given_back_is_bounded() -> None:
    large = Pool("p", 6, ip_network("fd00::/64"), Ranges.parse(["fd00::/64"]))
    state = State({}, {ip_address(f"fd00::{each:x}"): NOW + timedelta(seconds=each) for each in range(9)})
    found = allocation.decide(large, NOTHING, state, (), NOW, REST, most_resting=4)
    assert [str(each) for each in found.state.resting] == ["fd00::5", "fd00::6", "fd00::7", "fd00::8"]


def test_a_status_is_read_as_it_was_written() -> None:
    state = ask(ask(State(), *(Want(holder(each)) for each in "abc")).state, Release("b")).state
    written = pool_status.patch(POOL, state)
    assert written["allocatedIPCount"] == 2
    assert written["totalIPCount"] == 4
    status = IPPoolStatus(allocated_ips=written["allocatedIPs"], released_ips=written["releasedIPs"])
    assert pool_status.read("p", status) == state
    assert pool_status.patch(POOL, State()) == {
        "allocatedIPs": None,
        "releasedIPs": None,
        "allocatedIPCount": 0,
        "totalIPCount": 4,
    }


@pytest.mark.parametrize("text", ["{", "[]", '{"x":{"pod":"a/b"}}', '{"10.6.0.2":{}}'])
def test_nothing_is_given_where_it_cannot_be_told_who_has_what(text: str) -> None:
    with pytest.raises(UnreadableStatusError, match="SpiderIPPool p cannot be read"):
        pool_status.read("p", IPPoolStatus(allocated_ips=text))
    assert pool_status.read("p", IPPoolStatus(released_ips=text)).resting == {}


NODES, PODS = ("n1", "n2", "n3"), [f"pod-{number}" for number in range(8)]


class Racing(RuleBasedStateMachine):
    """Nodes read a pool, decide, and write it if nobody has since; any of them may die before it writes."""

    def __init__(self) -> None:
        super().__init__()
        self.stored, self.version = State(), 0
        self.now = NOW
        self.read: dict[str, tuple[State, int]] = {}
        self.living: dict[str, str] = {}  # a pod and its UID
        self.has: dict[str, IPv4Address | IPv6Address] = {}  # what a UID was told that it has
        self.used_until: dict[IPv4Address | IPv6Address, datetime] = {}
        self.uids = 0

    @rule(pod=st.sampled_from(PODS))
    def create(self, pod: str) -> None:
        if pod not in self.living:
            self.uids += 1
            self.living[pod] = f"uid-{self.uids}"

    @rule(pod=st.sampled_from(PODS))
    def delete_without_a_word(self, pod: str) -> None:
        """The pod goes, and its node does not get to give back what it had."""
        if uid := self.living.pop(pod, ""):
            self.gone(uid)

    @rule(node=st.sampled_from(NODES))
    def look(self, node: str) -> None:
        self.read[node] = self.stored, self.version

    @rule(
        node=st.sampled_from(NODES),
        adds=st.lists(st.sampled_from(PODS), max_size=4, unique=True),
        deletes=st.lists(st.sampled_from(PODS), max_size=4, unique=True),
        conflict=st.integers(3, 6),
        dies=st.booleans(),
        lost=st.booleans(),
    )
    def work(
        self, node: str, adds: list[str], deletes: list[str], conflict: int, *, dies: bool, lost: bool
    ) -> None:
        state, version = self.read.get(node, (State(), -1))
        releases = [Release(self.living[pod]) for pod in deletes if pod in self.living]
        going = {each.uid for each in releases}
        wants = [
            Want(Holder(f"default/{pod}", self.living[pod], "eth0"), Ranges.of((ip(conflict),)))
            for pod in adds
            if pod in self.living and self.living[pod] not in going
        ]
        found = allocation.decide(POOL, NOTHING, state, [*releases, *wants], self.now, REST)
        if dies or version != self.version:
            return
        self.write(found.state)
        for pod in [pod for pod, uid in self.living.items() if uid in going]:
            self.gone(self.living.pop(pod))
        for want, outcome in zip(wants, found.outcomes[len(releases) :], strict=True):
            if isinstance(outcome, Given) and not lost:
                assert outcome.address != ip(conflict)
                assert outcome.fresh or self.has.get(want.holder.uid, outcome.address) == outcome.address
                if outcome.fresh and outcome.address in self.used_until:
                    assert self.now >= self.used_until[outcome.address], "used again before it has rested"
                self.has[want.holder.uid] = outcome.address

    @rule()
    def collect(self) -> None:
        living = set(self.living.values())
        gone = [Release(each.uid) for each in self.stored.taken.values() if each.uid not in living]
        self.write(allocation.decide(POOL, NOTHING, self.stored, gone, self.now, REST).state)

    @rule(seconds=st.integers(1, 6))
    def wait(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @precondition(lambda self: self.stored.taken)
    @rule()
    def all_come_back(self) -> None:
        for uid in [*self.living.values()]:
            self.gone(uid)
        self.living.clear()
        self.collect()
        assert self.stored.taken == {}
        self.now += REST
        wants = [Want(holder(f"new-{number}")) for number in range(3)]
        found = allocation.decide(POOL, NOTHING, self.stored, wants, self.now, REST)
        assert {each.address for each in found.outcomes if isinstance(each, Given)} == {ip(3), ip(4), ip(5)}

    def gone(self, uid: str) -> None:
        if address := self.has.pop(uid, None):
            self.used_until.pop(address, None)

    def write(self, state: State) -> None:
        for address in self.stored.taken.keys() - state.taken.keys():
            self.used_until[address] = self.now + REST
        status = pool_status.patch(POOL, state)
        text = IPPoolStatus(allocated_ips=status["allocatedIPs"], released_ips=status["releasedIPs"])
        self.stored, self.version = pool_status.read("p", text), self.version + 1

    @invariant()
    def no_address_twice_and_none_lost(self) -> None:
        assert len(set(self.has.values())) == len(self.has)
        for uid, address in self.has.items():
            assert self.stored.taken[address].uid == uid


Racing.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestRacing = Racing.TestCase
