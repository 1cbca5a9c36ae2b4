"""What somebody wants to do, as authorizers see it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Action:
    """What is asked for: a verb on a resource (`plural/subresource`) or, if `path` is set, on a plain path.

    `fields` is the field selector of a list or watch.
    """

    verb: str
    group: str = ""
    resource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""
    fields: str = ""
