"""Names of images as registries have them: `nginx` is `docker.io/library/nginx:latest`. Pure."""

import re

_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_HOST = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_NAME = re.compile(
    rf"(?P<name>{_HOST}(?:\.{_HOST})*(?::[0-9]+)?/{_PART}(?:/{_PART})*)"
    r"(?::(?P<tag>[\w][\w.-]{0,127}))?"
    r"(?:@(?P<digest>[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}))?\Z",
    re.ASCII,
)
_ONLY_ID = re.compile(r"[a-f0-9]{64}\Z", re.ASCII)


def full(image: str) -> str:
    """The whole name, tag or digest included; ValueError says what is wrong with it, in Docker's words."""
    if _ONLY_ID.match(image):
        raise ValueError(f"invalid repository name ({image}), cannot specify 64-byte hexadecimal strings")
    first, slash, rest = image.partition("/")
    named = bool(slash) and (any(mark in first for mark in ".:") or first == "localhost" or first != first.lower())
    host, path = (first, rest) if named else ("docker.io", image)
    if host == "index.docker.io":
        host = "docker.io"
    if host == "docker.io" and "/" not in path:
        path = f"library/{path}"
    bare = re.split(r"[:@]", path, maxsplit=1)[0]
    if bare != bare.lower():
        raise ValueError(f"invalid reference format: repository name ({bare}) must be lowercase")
    match = _NAME.match(f"{host}/{path}")
    if match is None:
        raise ValueError("invalid reference format")
    tag = f":{match['tag']}" if match["tag"] else ""
    if match["digest"]:
        return f"{match['name']}{tag}@{match['digest']}"
    return f"{match['name']}{tag or ':latest'}"


def shown(image: str) -> str:
    """The name as a status has it: the whole name, or what the user wrote where that is none."""
    try:
        return full(image)
    except ValueError:
        return image
