"""Who asks: what is known of a client when rules are resolved for it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from weft.model.imports import Imports
from weft.model.services import Labels

EVERYWHERE: Final = "*"
_OWN: Final = "."


@dataclass(frozen=True, slots=True)
class Client:
    """A class of proxies for which rules resolve alike: a namespace, and the labels that some rule asks about.

    `imports` is what they see of all that is exported to them; None is all of it.
    """

    namespace: str
    labels: Labels = ()
    imports: Imports | None = None

    def narrowed(self, keys: frozenset[str]) -> "Client":
        """The same client with only the labels named by `keys`."""
        kept = tuple(pair for pair in self.labels if pair[0] in keys)
        return self if len(kept) == len(self.labels) else replace(self, labels=kept)

    def has(self, labels: Labels) -> bool:
        """Whether the client carries all these labels."""
        return set(labels) <= set(self.labels)


def sorted_labels(labels: Mapping[str, str] | None) -> Labels:
    """Labels as a value."""
    return tuple(sorted(labels.items())) if labels else ()


def exported_to(written: Iterable[str], namespace: str) -> frozenset[str]:
    """Namespaces that an `exportTo` list names, `*` for all; the list is that of an object in `namespace`.

    Empty where nothing is written: then the mesh's default holds.
    """
    return frozenset(namespace if each == _OWN else each for each in written)


def is_visible(export_to: frozenset[str], namespace: str) -> bool:
    """Whether something exported so is seen by clients in `namespace`."""
    return not export_to or EVERYWHERE in export_to or namespace in export_to
