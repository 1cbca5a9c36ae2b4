"""The node process's metrics, in Prometheus' text format: each part registers its own."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Protocol

_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Seconds."""


class Family(Protocol):
    """Metrics of one name."""

    @property
    def name(self) -> str:
        """What they are called."""

    def lines(self) -> Iterator[str]:
        """In the exposition format."""


class Counter:
    """What has happened, by the values of its labels."""

    def __init__(self, name: str, text: str, *labels: str) -> None:
        self.name, self._text, self._labels = name, text, labels
        self._counts: dict[tuple[str, ...], int] = {} if labels else {(): 0}

    def add(self, *values: str) -> None:
        """Once more, with these values of the labels."""
        self._counts[values] = self._counts.get(values, 0) + 1

    def lines(self) -> Iterator[str]:
        """In the exposition format."""
        yield from title(self.name, self._text, "counter")
        for values, count in sorted(self._counts.items()):
            yield f"{self.name}{_labelled(self._labels, values)} {count}"


class Gauge:
    """A value as it is now."""

    def __init__(self, name: str, text: str, value: float = 0) -> None:
        self.name, self._text, self.value = name, text, value

    def lines(self) -> Iterator[str]:
        """In the exposition format."""
        yield from title(self.name, self._text, "gauge")
        yield f"{self.name} {self.value:g}"


class Histogram:
    """How long something takes, in seconds, by the values of its labels."""

    def __init__(self, name: str, text: str, *labels: str) -> None:
        self.name, self._text, self._labels = name, text, labels
        self._counts: dict[tuple[str, ...], list[int]] = {}
        self._sums: dict[tuple[str, ...], float] = {}

    def took(self, seconds: float, *values: str) -> None:
        """One has taken this long."""
        counts = self._counts.setdefault(values, [0] * (len(_BUCKETS) + 1))
        counts[bisect_left(_BUCKETS, seconds)] += 1
        self._sums[values] = self._sums.get(values, 0.0) + seconds

    def lines(self) -> Iterator[str]:
        """In the exposition format."""
        yield from title(self.name, self._text, "histogram")
        for values, counts in sorted(self._counts.items()):
            total = 0
            for bound, count in zip((*(f"{one:g}" for one in _BUCKETS), "+Inf"), counts, strict=True):
                total += count
                labels = _labelled((*self._labels, "le"), (*values, bound))
                yield f"{self.name}_bucket{labels} {total}"
            labels = _labelled(self._labels, values)
            yield f"{self.name}_sum{labels} {self._sums[values]:.6f}"
            yield f"{self.name}_count{labels} {total}"


class Registry:
    """All metrics of the process."""

    def __init__(self) -> None:
        self._families: dict[str, Family] = {}

    def counter(self, name: str, text: str, *labels: str) -> Counter:
        """A new counter."""
        made = Counter(name, text, *labels)
        self.include(made)
        return made

    def gauge(self, name: str, text: str, value: float = 0) -> Gauge:
        """A new gauge."""
        made = Gauge(name, text, value)
        self.include(made)
        return made

    def histogram(self, name: str, text: str, *labels: str) -> Histogram:
        """A new histogram."""
        made = Histogram(name, text, *labels)
        self.include(made)
        return made

    def text(self) -> str:
        """Everything, in the exposition format."""
        return "".join(f"{line}\n" for family in self._families.values() for line in family.lines())

    def include(self, family: Family) -> None:
        """Add metrics that are not counted here but read elsewhere."""
        if family.name in self._families:
            raise ValueError(f"two metrics are named {family.name}")
        self._families[family.name] = family


def title(name: str, text: str, kind: str) -> tuple[str, str]:
    """What goes before the samples of a name."""
    return f"# HELP {name} {text}", f"# TYPE {name} {kind}"


def sample(name: str, labels: Mapping[str, str], value: float) -> str:
    """One line. Whole numbers are written as such, however large."""
    number = str(value) if isinstance(value, int) else f"{value:g}"
    return f"{name}{_labelled(tuple(labels), tuple(labels.values()))} {number}"


def _labelled(labels: Sequence[str], values: Sequence[str]) -> str:
    pairs = ",".join(f'{label}="{_escaped(value)}"' for label, value in zip(labels, values, strict=True))
    return f"{{{pairs}}}" if pairs else ""


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
