"""Amounts of resources, added up as Kubernetes adds quantities: the sum keeps the suffixes of its parts."""

from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any, NamedTuple

from weft.cluster.apiserver import quantities

Obj = dict[str, Any]


class Amount(NamedTuple):
    """A number, and whether it is written with binary suffixes."""

    value: Fraction = Fraction(0)
    binary: bool = False

    @classmethod
    def read(cls, text: Any) -> "Amount":
        """A quantity; ValueError where it is none."""
        written = str(text)
        return cls(quantities.parse(written), written.endswith("i"))

    def plus(self, other: "Amount") -> "Amount":
        """The sum, in the form of the first part that is not zero."""
        return Amount(self.value + other.value, self.binary if self.value else other.binary)

    def minus(self, other: "Amount") -> "Amount":
        """The difference."""
        return Amount(self.value - other.value, self.binary)

    def __str__(self) -> str:
        return quantities.shown(self.value, binary=self.binary)


Amounts = dict[str, Amount]


def read(resources: Mapping[str, Any] | None) -> Amounts:
    """A map of quantities, as `requests` and `limits` have it."""
    return {name: Amount.read(text) for name, text in (resources or {}).items()}


def added(*parts: Mapping[str, Amount]) -> Amounts:
    """The sum, name by name."""
    total: Amounts = {}
    for part in parts:
        for name, amount in part.items():
            total[name] = total[name].plus(amount) if name in total else amount
    return total


def largest(*parts: Mapping[str, Amount]) -> Amounts:
    """The most of each name."""
    most: Amounts = {}
    for part in parts:
        for name, amount in part.items():
            if name not in most or amount.value > most[name].value:
                most[name] = amount
    return most


def written(amounts: Mapping[str, Amount]) -> dict[str, str]:
    """The amounts as objects carry them."""
    return {name: str(amount) for name, amount in amounts.items()}


def listed(amounts: Mapping[str, Amount], names: Iterable[str]) -> str:
    """`cpu=1,memory=1Gi`, as refusals list it."""
    return ",".join(f"{name}={amounts.get(name, Amount())}" for name in sorted(names))


def of_pod(pod: Obj, side: str) -> Amounts:
    """What a pod requests or is limited to (`side`): its containers together, or the most any init step needs."""
    spec = pod.get("spec") or {}
    running = added(*(_of(container, side) for container in spec.get("containers") or ()))
    peak: Amounts = {}
    beside: Amounts = {}
    for container in spec.get("initContainers") or ():
        own = _of(container, side)
        if container.get("restartPolicy") == "Always":  # runs beside all that come later
            running, beside = added(running, own), added(beside, own)
            peak = largest(peak, beside)
        else:
            peak = largest(peak, added(beside, own))
    found = largest(running, peak) | read((spec.get("resources") or {}).get(side))
    overhead = read(spec.get("overhead"))
    if side == "limits":
        overhead = {name: amount for name, amount in overhead.items() if name in found}
    return added(found, overhead)


def _of(container: Obj, side: str) -> Amounts:
    return read((container.get("resources") or {}).get(side))
