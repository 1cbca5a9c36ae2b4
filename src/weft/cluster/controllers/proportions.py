"""How a Deployment that is scaled in mid-rollout divides its new size among its ReplicaSets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Part:
    """One ReplicaSet: its size, and the most pods that the Deployment could have when it was set."""

    name: str
    size: int
    most: int
    born: str


def shares(allowed: int, replicas: int, parts: Sequence[Part]) -> Mapping[str, int]:
    """The new sizes: each part grows or shrinks with the whole, what rounding leaves over goes to the largest.

    `allowed` is the most pods that there may be now, with the surge; `replicas` how many are wanted.
    """
    left = allowed - sum(part.size for part in parts)
    # growing favours the newer of equals, shrinking takes from the older
    ordered = sorted(parts, key=lambda part: part.born, reverse=left > 0)
    ordered.sort(key=lambda part: part.size, reverse=True)
    sizes: dict[str, int] = {}
    for part in ordered:
        change = 0
        if left:
            fair = round(part.size * allowed / part.most) - part.size if part.most and replicas else -part.size
            change = max(0, min(fair, left)) if left > 0 else min(0, max(fair, left))
        sizes[part.name] = part.size + change
        left -= change
    if ordered and left:
        sizes[ordered[0].name] = max(0, sizes[ordered[0].name] + left)
    return sizes
