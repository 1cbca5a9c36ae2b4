"""Which of a pod's pull secrets a registry is shown: pure."""

import base64
import binascii
import fnmatch
import json
from collections.abc import Iterator, Mapping
from typing import Any

from weft.adapters.cri.types import Login
from weft.cluster.kubelet.objects import Objects, data_of

_DOCKER_HUB = "docker.io"
_HUB_NAMES = {"index.docker.io", "registry-1.docker.io", "docker.io"}


def logins(pod: Mapping[str, Any], image: str, objects: Objects) -> list[Login]:
    """The logins of the pod's `imagePullSecrets` that are for the image, the most specific first.

    A secret that is missing, or that cannot be read, is as if it were not named: pulling tells what comes of it.
    """
    found: list[tuple[int, Login]] = []
    for reference in pod["spec"].get("imagePullSecrets") or ():
        secret = objects.get("Secret", pod["metadata"]["namespace"], reference.get("name", ""))
        for place, entry in _entries(secret or {}):
            if _matches(place, image) and (login := _login(entry)) is not None:
                found.append((len(place), login))
    return [login for _, login in sorted(found, key=lambda each: -each[0])]


def missing(pod: Mapping[str, Any], objects: Objects) -> list[str]:
    """The pull secrets that the pod names and that do not exist."""
    names = [str(each.get("name", "")) for each in pod["spec"].get("imagePullSecrets") or ()]
    return [name for name in names if objects.get("Secret", pod["metadata"]["namespace"], name) is None]


def _entries(secret: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    data = data_of(secret)
    try:
        if ".dockerconfigjson" in data:
            entries = json.loads(data[".dockerconfigjson"]).get("auths") or {}
        else:
            entries = json.loads(data.get(".dockercfg") or b"{}")
        yield from ((_place(key), entry) for key, entry in entries.items() if isinstance(entry, dict))
    except (ValueError, AttributeError):
        return


def _place(key: str) -> str:
    """`HOST[:PORT][/PATH]` of an entry's name, which may be a URL with an API version."""
    bare = key.removeprefix("https://").removeprefix("http://").rstrip("/")
    host, _, path = bare.partition("/")
    path = "" if path in {"v1", "v2"} else path
    host = _DOCKER_HUB if host in _HUB_NAMES else host
    return f"{host}/{path}" if path else host


def _matches(place: str, image: str) -> bool:
    host, _, path = place.partition("/")
    first, slash, rest = image.partition("/")
    if not slash or not ("." in first or ":" in first or first == "localhost"):
        first, rest = _DOCKER_HUB, image
    first = _DOCKER_HUB if first in _HUB_NAMES else first
    # a star stands within one part of a host's name (images: config.json)
    parts, wanted = first.split("."), host.split(".")
    same = len(parts) == len(wanted) and all(map(fnmatch.fnmatchcase, parts, wanted))
    return same and (not path or f"{rest}/".startswith(f"{path}/"))


def _login(entry: Mapping[str, Any]) -> Login | None:
    user, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    if entry.get("auth"):
        try:
            user, _, password = base64.b64decode(entry["auth"], validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
    token = str(entry.get("identitytoken") or "")
    return Login(user, password.rstrip("\0"), token) if user or token else None
