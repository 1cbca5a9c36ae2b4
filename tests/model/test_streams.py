"""Matches of connections as Envoy can take them."""

from ipaddress import ip_address, ip_network
from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from weft.base.names import host_matches
from weft.model.streams import StreamMatch, disjoint

NAMES = ("a.x.org", "b.x.org", "*.x.org")
BLOCKS = ("10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "192.0.2.0/24")
some_matches = st.lists(
    st.builds(
        StreamMatch,
        st.lists(st.sampled_from(NAMES), max_size=2, unique=True).map(tuple),
        st.lists(st.sampled_from(BLOCKS), max_size=2, unique=True).map(tuple),
        st.lists(st.sampled_from(BLOCKS), max_size=2, unique=True).map(tuple),
    ),
    max_size=6,
)


def parts(match: StreamMatch) -> list[tuple[str, str, str]]:
    return list(product(match.server_names or ("",), match.destinations or ("",), match.sources or ("",)))


def ranks(match: StreamMatch, name: str, dialled: str, source: str) -> tuple[int, int, int] | None:
    """How telling a match is for a connection, None if it does not take it."""

    def block(blocks: tuple[str, ...], address: str) -> int | None:
        lengths = [ip_network(each).prefixlen for each in blocks if ip_address(address) in ip_network(each)]
        return max(lengths, default=None) if blocks else 0

    named = [len(each) for each in match.server_names if host_matches(each, name)]
    found = (
        block(match.destinations, dialled),
        max(named, default=None) if match.server_names else 0,
        block(match.sources, source),
    )
    return None if None in found else found  # type: ignore[return-value]  # none of them is None then


def by_envoy(matches: list[StreamMatch], name: str, dialled: str, source: str) -> int | None:
    """The chain that Envoy takes: narrowed by one criterion after the other, without going back."""
    left = [(index, match) for index, match in enumerate(matches) if match != StreamMatch()]
    for criterion in range(3):
        probe = []
        for index, match in left:
            alone = StreamMatch(
                *(
                    (getattr(match, field) if at == criterion else ())
                    for at, field in ((1, "server_names"), (0, "destinations"), (2, "sources"))
                )
            )
            rank = ranks(alone, name, dialled, source)
            if rank is not None:
                probe.append((rank[criterion], index, match))
        best = max((rank for rank, *_ in probe), default=0)
        left = [(index, match) for rank, index, match in probe if rank == best]
    return left[0][0] if left else next((i for i, match in enumerate(matches) if match == StreamMatch()), None)


@given(some_matches)
def test_no_two_matches_are_the_same(matches: list[StreamMatch]) -> None:
    found = [part for _, match in disjoint(matches) for part in parts(match)]
    assert len(found) == len(set(found))


@given(
    some_matches,
    st.sampled_from(("a.x.org", "c.x.org", "y.org")),
    st.sampled_from(("10.9.9.9", "10.1.9.9", "10.1.2.9", "192.0.2.9", "172.16.0.1")),
    st.sampled_from(("10.9.9.9", "10.1.2.9", "172.16.0.1")),
)
def test_whoever_matches_at_all_is_not_hidden_by_a_narrower_block(
    matches: list[StreamMatch], name: str, dialled: str, source: str
) -> None:
    """Where the addresses that clients have are of no account, Envoy finds a chain whenever one fits."""
    matches = [StreamMatch(each.server_names, each.destinations) for each in matches]
    given_out = list(disjoint(matches))
    taken = by_envoy([match for _, match in given_out], name, dialled, source)
    fits = [index for index, match in enumerate(matches) if ranks(match, name, dialled, source) is not None]
    assert (taken is None) == (not fits)
    if taken is not None:
        assert given_out[taken][0] in fits
