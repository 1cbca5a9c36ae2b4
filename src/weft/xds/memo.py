"""A bounded memory of what was built from which input."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Input = TypeVar("Input")
Output = TypeVar("Output")


class Memo(Generic[Input, Output]):
    """Remembers outputs by their whole input.

    A label (a hostname, a cluster's name) says where to look; the input itself is compared. Comparing frozen
    values costs next to nothing while they share their parts, whereas hashing would walk all of them each time.

    Args:
        build: makes an output from an input, and from nothing else.
        depth: how many recent inputs are kept for one label.
        capacity: how many labels are kept; the one unused for longest goes first.
    """

    def __init__(self, build: Callable[[Input], Output], *, depth: int = 2, capacity: int = 65_536) -> None:
        self._build = build
        self._depth = depth
        self._capacity = capacity
        self._recent: OrderedDict[Hashable, list[tuple[Input, Output]]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._recent)

    def __call__(self, label: Hashable, value: Input) -> Output:
        """The output for `value`, built now if it is not remembered under `label`."""
        recent = self._recent.get(label)
        if recent is None:
            recent = self._recent[label] = []
            if len(self._recent) > self._capacity:
                self._recent.popitem(last=False)
        else:
            self._recent.move_to_end(label)
        for position, (known, output) in enumerate(recent):
            if known is value or known == value:
                recent.insert(0, recent.pop(position))
                return output
        output = self._build(value)
        recent.insert(0, (value, output))
        del recent[self._depth :]
        return output
