"""Network configurations as container runtimes read them (CNI spec, section 1; libcni), and our entry in one."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

Json = dict[str, Any]

TYPE: Final = "istio-cni"
"""The plugin's type, which is the name of its program too."""

_LIST: Final = ".conflist"
_SINGLE: Final = (".conf", ".json")
_USUAL_NAME: Final = "k8s-pod-network"
_USUAL_VERSION: Final = "0.3.1"
_FIRST_WITH_LISTS: Final = (0, 3, 0)


@dataclass(frozen=True, slots=True)
class File:
    """A file of the folder. `link` is what a symbolic link says, `trouble` why there is no content."""

    content: bytes
    mode: int = 0o644
    link: str = ""
    trouble: str = ""


Listing = Mapping[str, File]
"""Names of one folder and what is there."""


class InvalidError(ValueError):
    """A file that no runtime takes for a network; the message says why."""


def is_network(name: str) -> bool:
    """Whether runtimes look at a file of this name."""
    return name.endswith((_LIST, *_SINGLE))


def is_list(name: str) -> bool:
    """Whether it is a list of plugins by its name."""
    return name.endswith(_LIST)


def stem(name: str) -> str:
    """The name without what says its kind."""
    return name.removesuffix(_LIST).removesuffix(".conf").removesuffix(".json")


def candidates(name: str) -> tuple[str, ...]:
    """Names that a single plugin's file may have as a list: the usual one, and one that stays in its place."""
    return (name,) if is_list(name) else (f"{stem(name)}{_LIST}", f"{name}{_LIST}")


def read(name: str, file: File) -> Json:
    """The list that a runtime makes of a file, or InvalidError.

    Name and version go from a single plugin to its list, whence every plugin gets them.
    """
    if file.trouble:
        raise InvalidError(file.trouble)
    if not file.content.strip():
        raise InvalidError("it is empty")
    try:
        found = msgspec.json.decode(file.content)
        msgspec.json.encode([[found]])  # as deep as it becomes, it can be written
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidError(f"it is no JSON ({error})") from None
    if not isinstance(found, dict):
        raise InvalidError("it is no JSON object")
    for key in ("cniVersion", "name"):
        if not isinstance(found.get(key, ""), str):
            raise InvalidError(f'"{key}" is no text')
    if is_list(name):
        _is_list(found)
        return found
    _is_single(found)
    plugin = {key: value for key, value in found.items() if key not in {"name", "cniVersion"}}
    version = {"cniVersion": found["cniVersion"]} if "cniVersion" in found else {}
    return {**version, "name": found.get("name") or _USUAL_NAME, "plugins": [plugin]}


def _is_list(found: Json) -> None:
    if not found.get("name"):
        raise InvalidError('a list needs a "name"')
    plugins = found.get("plugins")
    if not isinstance(plugins, list) or not plugins:
        raise InvalidError('a list needs "plugins"')
    if not all(isinstance(each, dict) and each.get("type") and isinstance(each["type"], str) for each in plugins):
        raise InvalidError('every plugin needs a "type"')


def _is_single(found: Json) -> None:
    if not isinstance(found.get("type"), str) or not found["type"]:
        raise InvalidError('it has no "type" (a list is to be named .conflist)')


def networks(listing: Listing) -> Iterator[tuple[str, Json | InvalidError]]:
    """The files that runtimes look at, in their order, and what they are."""
    for name in sorted(each for each in listing if is_network(each)):
        try:
            yield name, read(name, listing[name])
        except InvalidError as error:
            yield name, error


def is_ours_alone(found: Json) -> bool:
    """Whether nothing but our plugin is in it: it gives a pod no network."""
    return all(each["type"] == TYPE for each in found["plugins"])


def has_us(found: Json) -> bool:
    """Whether our plugin is in it."""
    return any(each["type"] == TYPE for each in found["plugins"])


def alone(name: str, entry: Json) -> Json:
    """What a file of this name is with our plugin alone."""
    if is_list(name):
        return {"cniVersion": _USUAL_VERSION, "name": TYPE, "plugins": [entry]}
    return {"cniVersion": _USUAL_VERSION, **entry}


def without_us(found: Json) -> Json:
    """The list less our entries."""
    listed = _with_lists(found)
    return {**listed, "plugins": [each for each in listed["plugins"] if each["type"] != TYPE]}


def with_us(found: Json, entry: Json) -> Json:
    """The list with one entry of ours: the last one, or where it is if that is not the first place.

    Where others put theirs after ours, that is left so: two who both want to be the last never end.
    """
    listed = _with_lists(found)
    ours = [place for place, each in enumerate(listed["plugins"]) if each["type"] == TYPE]
    if len(ours) == 1 and ours[0] > 0:
        plugins = [entry if each["type"] == TYPE else each for each in listed["plugins"]]
        return {**listed, "plugins": plugins}
    others = without_us(listed)
    return {**others, "plugins": [*others["plugins"], entry]}


def _with_lists(found: Json) -> Json:
    """The same in a version that knows lists."""
    if _version(found.get("cniVersion")) >= _FIRST_WITH_LISTS:
        return found
    return {"cniVersion": _USUAL_VERSION, **{key: found[key] for key in found if key != "cniVersion"}}


def _version(written: object) -> tuple[int, ...]:
    parts = str(written or "").split("-")[0].split(".")
    return tuple(int(each) for each in parts) if all(each.isdecimal() for each in parts) else (0,)


def text(found: Json) -> bytes:
    """As we write it."""
    return msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n"
