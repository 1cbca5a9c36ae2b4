"""How many pools and addresses there are, as metrics that are read when somebody asks."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from weft.processes.cni.metrics import Registry, sample, title
from weft.underlay.addresses import Ranges
from weft.underlay.ipam.allocation import State
from weft.underlay.ipam.pools import Pool

States = Callable[[], Iterable[tuple[Pool, State]]]


@dataclass(frozen=True, slots=True)
class _PerPool:
    """A number of each pool."""

    name: str
    about: str
    states: States
    number: Callable[[Pool, State], int]

    def lines(self) -> Iterator[str]:
        """In the exposition format."""
        yield from title(self.name, self.about, "gauge")
        for pool, state in self.states():
            yield sample(self.name, {"ippool": pool.name}, self.number(pool, state))


@dataclass(frozen=True, slots=True)
class _Pools:
    """How many there are."""

    states: States
    name: str = "spiderpool_total_ippool_counts"

    def lines(self) -> Iterator[str]:
        """In the exposition format."""
        yield from title(self.name, "SpiderIPPools.", "gauge")
        yield sample(self.name, {}, sum(1 for _ in self.states()))


def register(registry: Registry, states: States) -> None:
    """Add the metrics."""
    registry.include(_Pools(states))
    registry.include(
        _PerPool("spiderpool_ippool_total_ip_counts", "Addresses of a pool.", states, lambda pool, _: _total(pool))
    )
    registry.include(
        _PerPool("spiderpool_ippool_available_ip_counts", "Addresses of a pool that nobody has.", states, _free)
    )


def _total(pool: Pool) -> int:
    return pool.addresses.size


def _free(pool: Pool, state: State) -> int:
    return (pool.addresses - Ranges.of(state.taken)).size
