from ipaddress import IPv4Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.underlay.addresses import NotAddressesError, Ranges, parse_network

# few numbers, so that ranges touch, overlap and end at both ends of the version
NUMBERS = st.one_of(st.integers(0, 24), st.integers(2**32 - 8, 2**32 - 1))
SPANS = st.lists(st.tuples(NUMBERS, NUMBERS).map(sorted), max_size=6)


def test_texts_are_read_in_every_form_and_written_in_one() -> None:
    texts = ["fd00::3", "10.6.0.9", "10.6.0.2-10.6.0.8", "10.6.0.4/30", "fd00::1-fd00::2", "10.6.1.0/31"]
    found = Ranges.parse(texts)
    assert found.texts() == ("10.6.0.2-10.6.0.9", "10.6.1.0-10.6.1.1", "fd00::1-fd00::3")
    assert Ranges.parse(found.texts()) == found
    assert found.versions == {4, 6}
    assert found.of_version(6).texts() == ("fd00::1-fd00::3",)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("10.6.0", '"10.6.0" is no IP address'),
        ("", '"" is no IP address'),
        ("10.6.0.1-", '"" is no IP address'),
        ("10.6.0.1-fd00::1", "begins in IPv4 and ends in IPv6"),
        ("10.6.0.9-10.6.0.2", "write 10.6.0.2-10.6.0.9"),
        ("10.6.0.9/16", "within 10.6.0.0/16: write the one or the other"),
        ("10.6.0.0/33", "is no network"),
        ("fe80::1%eth0", "has a zone"),
        ("fe80::1%eth0/64", "has a zone"),
        ("010.6.0.1", "is no IP address"),
    ],
)
def test_what_names_no_addresses_is_refused_with_the_way_out(text: str, why: str) -> None:
    with pytest.raises(NotAddressesError, match=why.replace(".", r"\.")):
        Ranges.parse([text])


def test_a_network_as_large_as_ipv6_costs_nothing() -> None:
    whole = Ranges.parse(["::/0"])
    used = Ranges.parse(["::-::ff", "fd00::1"])
    free = whole - used
    assert free.size == 2**128 - 257
    assert free.lowest() == ip_address("::100")
    assert free.nth(10**30) == ip_address(256 + 10**30)
    assert free.after(ip_address("fd00::")) == ip_address("fd00::2")
    assert free.highest() == ip_address("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")
    assert Ranges.network(parse_network("fd00::/64")) <= whole
    assert [str(one) for one, _ in zip(free, range(2), strict=False)] == ["::100", "::101"]


@given(SPANS, SPANS, NUMBERS)
def test_sets_are_as_pythons(one: list[list[int]], other: list[list[int]], number: int) -> None:
    a, b = (
        Ranges.parse(f"{IPv4Address(x)}-{IPv4Address(y)}" for x, y in each if y - x < 64) for each in (one, other)
    )
    x, y = ({int(address) for address in each} for each in (a, b))
    for found, wanted in ((a | b, x | y), (a - b, x - y), (a & b, x & y)):
        assert [int(address) for address in found] == sorted(wanted)
        assert found == Ranges.of(IPv4Address(each) for each in wanted)
        assert found.size == len(wanted)
        assert found.nth(number) == next(
            (IPv4Address(n) for i, n in enumerate(sorted(wanted)) if i == number), None
        )
        assert (IPv4Address(number) in found) == (number in wanted)
        above = [each for each in wanted if each > number]
        assert found.after(IPv4Address(number)) == (IPv4Address(min(above)) if above else None)
        assert Ranges.parse(found.texts()) == found
    assert (a <= b) == (x <= y)


def test_versions_stay_apart() -> None:
    both = Ranges.parse(["255.255.255.255", "::"])
    assert both.size == 2
    assert both.after(ip_address("255.255.255.255")) == ip_address("::")
    assert ip_address("::1") not in both
    assert Ranges.network(ip_network("10.6.0.0/30")).texts() == ("10.6.0.0-10.6.0.3",)
