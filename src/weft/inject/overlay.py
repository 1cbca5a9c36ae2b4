"""A user's own wishes for a container that injection makes, laid over what injection has."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

AUTO: Final = "auto"
"""The image name that asks for the mesh's own."""

# what Kubernetes' strategic merge takes the entries of a list to be known by; other lists are whole values
_KEYS: Final[Mapping[str, str]] = {
    "containers": "name",
    "env": "name",
    "imagePullSecrets": "name",
    "initContainers": "name",
    "ports": "containerPort",
    "sysctls": "name",
    "volumeDevices": "devicePath",
    "volumeMounts": "mountPath",
    "volumes": "name",
}


def overlaid(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the fields of `own` over it, as a strategic merge patch of Kubernetes would have it."""
    return {**base, **{name: _field(name, base.get(name), value) for name, value in own.items()}}


def _field(name: str, base: Any, own: Any) -> Any:
    if isinstance(base, Mapping) and isinstance(own, Mapping):
        # a source other than the base's takes its place: a variable has one of value and valueFrom
        return overlaid(base, own)
    if isinstance(base, Sequence) and isinstance(own, Sequence) and name in _KEYS:
        return _list(_KEYS[name], base, own, whole=name == "volumes")
    return own


def _list(key: str, base: Sequence[Any], own: Sequence[Any], *, whole: bool) -> list[Any]:
    """The base's entries first, each with what the user has for it, or just that; then the user's others."""
    wanted = {entry.get(key): entry for entry in own}
    known = {entry.get(key) for entry in base}

    def merge(entry: Mapping[str, Any]) -> Mapping[str, Any]:
        found = wanted.get(entry.get(key))
        return entry if found is None else dict(found) if whole else _entry(entry, found)

    merged = [merge(entry) for entry in base]
    return [*merged, *(entry for entry in own if entry.get(key) not in known)]


def _entry(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    if "value" in own or "valueFrom" in own:
        return dict(own)  # a variable has one source
    return overlaid(base, own)


def without_auto(container: Mapping[str, Any]) -> dict[str, Any]:
    """The wishes of a container, without the image that says it has none."""
    return {name: value for name, value in container.items() if (name, value) != ("image", AUTO)}
