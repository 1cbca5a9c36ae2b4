"""PeerAuthentications, translated once, and what they make a workload ask of its callers."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from weft.api.peer_authentication import PeerAuthentication, PeerMutualTls
from weft.model.clients import sorted_labels
from weft.model.rule import Rule
from weft.model.services import Labels


class PeerMode(StrEnum):
    """What callers may speak: mTLS only, mTLS or plaintext, plaintext only."""

    STRICT = "STRICT"
    PERMISSIVE = "PERMISSIVE"
    DISABLE = "DISABLE"


@dataclass(frozen=True, slots=True)
class PeerModes:
    """What a workload asks of its callers; `ports` are its ports where that is written for them, sorted."""

    mode: PeerMode = PeerMode.PERMISSIVE
    ports: tuple[tuple[int, PeerMode], ...] = ()

    def at(self, port: int) -> PeerMode:
        """What it asks at one of its ports."""
        return next((mode for number, mode in self.ports if number == port), self.mode)


PERMISSIVE: Final = PeerModes()
"""What a workload asks without any policy."""


@dataclass(frozen=True, slots=True)
class PeerRule(Rule):
    """A PeerAuthentication. Without `selector` it is for its namespace, the root namespace's for the mesh.

    `mode` None, here and at a port: as the next wider rule has it.
    """

    selector: Labels | None
    mode: PeerMode | None
    ports: tuple[tuple[int, PeerMode | None], ...] = ()

    @property
    def modes(self) -> Iterator[PeerMode | None]:
        """All that it asks, somewhere."""
        yield self.mode
        yield from (mode for _, mode in self.ports)

    def says(self, port: int) -> PeerMode | None:
        """What it asks at a port; None: nothing of its own."""
        return next((mode for number, mode in self.ports if number == port and mode is not None), self.mode)


class PeerAuthentications:
    """The PeerAuthentications, found by workload. Not changed once made."""

    def __init__(self, rules: Iterable[PeerRule], root_namespace: str) -> None:
        self.rules = tuple(sorted(rules, key=lambda rule: rule.precedence))
        self.root = root_namespace
        self.disables = any(PeerMode.DISABLE in rule.modes for rule in self.rules)
        """Whether some workload may take no mTLS."""
        self._defaults: dict[str, PeerRule] = {}
        self._selecting: dict[str, list[PeerRule]] = {}
        for rule in self.rules:
            if rule.selector is None:
                self._defaults.setdefault(rule.namespace, rule)
            elif rule.namespace != root_namespace:
                self._selecting.setdefault(rule.namespace, []).append(rule)

    def modes(self, namespace: str, labels: Labels) -> PeerModes:
        """What a workload asks: each rule goes over the wider ones where it says something."""
        found = self.in_force(namespace, labels)
        if not found:
            return PERMISSIVE
        mode = next((rule.mode for rule in reversed(found) if rule.mode is not None), PeerMode.PERMISSIVE)
        # only rules with a selector have ports, and at most one of these is in force
        return PeerModes(mode, tuple((number, own or mode) for number, own in found[-1].ports))

    def in_force(self, namespace: str, labels: Labels) -> tuple[PeerRule, ...]:
        """The rules for a workload, the widest first: the mesh's, its namespace's, the oldest that selects it."""
        defaults = (self._defaults.get(each) for each in dict.fromkeys((self.root, namespace)))
        selecting = self._selecting.get(namespace, ())
        own = next((rule for rule in selecting if set(rule.selector or ()) <= set(labels)), None)
        return tuple(rule for rule in (*defaults, own) if rule is not None)

    def deciding(self, namespace: str, labels: Labels, port: int) -> PeerRule | None:
        """The rule by which a workload asks what it asks at a port; None: no rule says anything."""
        found = reversed(self.in_force(namespace, labels))
        return next((rule for rule in found if rule.says(port) is not None), None)

    def default(self, namespace: str) -> PeerRule | None:
        """The one of a namespace without a selector."""
        return self._defaults.get(namespace)

    def touched(self, before: "PeerAuthentications") -> frozenset[str] | None:
        """The namespaces where workloads may take mTLS now and did not before, or the reverse; None: all."""
        if not (self.disables or before.disables):
            return frozenset()
        changed = {rule.namespace for rule in {*self.rules} ^ {*before.rules}}
        return None if self.root != before.root or self.root in changed else frozenset(changed)


def peer_rule(source: PeerAuthentication, _: str) -> PeerRule:
    """Translate a PeerAuthentication that has passed its checks."""
    meta, spec = source.metadata, source.spec
    labels = spec.selector.match_labels if spec.selector is not None else {}
    ports = ((int(port), _mode(written)) for port, written in (spec.port_level_mtls or {}).items())
    return PeerRule(
        name=meta.name,
        namespace=meta.namespace,
        created=meta.creation_timestamp or "",
        selector=sorted_labels(labels) if labels else None,
        mode=_mode(spec.mtls),
        ports=tuple(sorted(ports, key=lambda each: each[0])),
    )


def _mode(written: PeerMutualTls | None) -> PeerMode | None:
    return None if written is None or written.mode == "UNSET" else PeerMode(written.mode)
