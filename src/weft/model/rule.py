"""What the rules of users have in common, whatever they rule."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rule:
    """Whose it is and how old. `created` is the API server's time stamp."""

    name: str
    namespace: str
    created: str

    @property
    def full_name(self) -> str:
        """`name.namespace`."""
        return f"{self.name}.{self.namespace}"

    @property
    def precedence(self) -> tuple[str, str, str]:
        """The oldest rule wins; rules of the same second go by namespace and name."""
        return (self.created, self.namespace, self.name)

    @property
    def client_labels(self) -> frozenset[str]:
        """The labels of a client that decide whether the rule, or a part of it, is in force for it."""
        return frozenset()
