"""A request's path, read as Kubernetes reads it."""

from dataclasses import dataclass

# Namespaces have subresources of their own, so `/namespaces/x/status` is no list of "status" (RequestInfoFactory).
_OF_NAMESPACE = frozenset({"status", "finalize"})


@dataclass(frozen=True, slots=True)
class ResourcePath:
    """What a path under `/api` or `/apis` names. Empty strings stand for what it does not say.

    `rest` is what follows the subresource (the tail of a proxy request).
    """

    group: str
    version: str
    plural: str = ""
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    rest: str = ""
    deprecated_watch: bool = False


def parse(path: str) -> ResourcePath | None:
    """Read `/apis/apps/v1/namespaces/x/deployments/y/status`; None where it is no resource path at all."""
    parts = [part for part in path.split("/") if part]
    match parts:
        case ["api", version, *tail]:
            return _resource("", version, tail)
        case ["apis", group, version, *tail]:
            return _resource(group, version, tail)
        case _:
            return None


def _resource(group: str, version: str, tail: list[str]) -> ResourcePath:
    watch = tail[:1] == ["watch"]
    if watch:
        tail = tail[1:]
    namespace = ""
    if len(tail) >= 3 and tail[0] == "namespaces" and tail[2] not in _OF_NAMESPACE:
        namespace, tail = tail[1], tail[2:]
    plural, name, subresource, *rest = [*tail, "", "", ""][: max(3, len(tail))]
    return ResourcePath(group, version, plural, namespace, name, subresource, "/".join(rest), watch)
