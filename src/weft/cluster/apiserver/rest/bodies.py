"""What requests carry and what answers are wanted: JSON, YAML, protobuf; objects, lists, tables."""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import yaml
from aiohttp import web

from weft.cluster.apiserver import errors, protobuf
from weft.cluster.apiserver.tables.render import Include, Version

LARGEST = 3 * 1024 * 1024
"""Bytes of a body; the API server's own limit."""
_TABLE = re.compile(r"as=Table")
_TABLE_VERSION = re.compile(r"v=(v1beta1|v1)\b")
_JSON = frozenset({"", "application/json", "text/plain", "application/octet-stream"})
_DEPTH = 100
_NODES = 500_000
"""Values in one YAML body, with every alias counted as often as it is used."""


class _Loader(yaml.CSafeLoader):
    """YAML as JSON has it: dates stay strings."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


def media_type(request: web.Request) -> str:
    """The body's media type without parameters."""
    return request.headers.get("Content-Type", "").partition(";")[0].strip().lower()


async def read(request: web.Request) -> bytes:
    """The body, or 413."""
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise errors.StatusError(
            413, "RequestEntityTooLarge", f"Request entity too large: limit is {LARGEST}"
        ) from None


def parse(body: bytes, media: str) -> Any:
    """The value of a body; 400 where it is malformed, 415 where its form is not known."""
    try:
        match media:
            case "application/vnd.kubernetes.protobuf":
                value: Any = protobuf.decode(body)
            case "application/yaml" | "application/apply-patch+yaml" | "text/yaml":
                loaded = yaml.load(body, _Loader)  # noqa: S506 - a subclass of the safe loader
                value = _as_json(loaded, _DEPTH, iter(range(_NODES)))
            case _ if media in _JSON or media.endswith("+json"):
                value = msgspec.json.decode(body)
            case _:
                raise errors.StatusError(
                    415,
                    "UnsupportedMediaType",
                    "the body of the request was in an unknown format - accepted media types include:"
                    " application/json, application/yaml, application/vnd.kubernetes.protobuf",
                )
    except (msgspec.DecodeError, protobuf.ProtobufError, UnicodeDecodeError) as error:
        raise errors.bad_request(f"the body cannot be decoded: {error}") from error
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise errors.bad_request(f"error converting YAML to JSON: {error}") from error
    except RecursionError:
        raise errors.bad_request("the body is nested too deeply") from None
    if _too_deep(value, _DEPTH):
        raise errors.bad_request(f"the body is nested deeper than {_DEPTH} levels")
    return value


def repeated(body: bytes, media: str) -> list[str]:
    """The paths of fields that an object of a JSON body has more than once."""
    if media not in _JSON:
        return []
    try:
        value = json.loads(body, object_pairs_hook=_Pairs.of)
    except (ValueError, RecursionError):
        return []  # parse says what is wrong
    return [*_repeated(value, "")] if _Pairs.seen_twice(value) else []


class _Pairs(dict[str, Any]):
    """An object, and which of its keys came twice."""

    twice: tuple[str, ...] = ()

    @classmethod
    def of(cls, pairs: list[tuple[str, Any]]) -> "_Pairs":
        found = cls(pairs)
        if len(found) != len(pairs):
            keys = [key for key, _ in pairs]
            found.twice = tuple(dict.fromkeys(key for key in keys if keys.count(key) > 1))
        return found

    @staticmethod
    def seen_twice(value: Any) -> bool:
        if isinstance(value, _Pairs):
            return bool(value.twice) or any(map(_Pairs.seen_twice, value.values()))
        return isinstance(value, list) and any(map(_Pairs.seen_twice, value))


def _repeated(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, _Pairs):
        for key, item in value.items():
            where = f"{path}.{key}" if path else key
            if key in value.twice:
                yield where
            yield from _repeated(item, where)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _repeated(item, f"{path}[{index}]")


def _as_json(value: Any, left: int, budget: Iterator[int]) -> Any:
    """What YAML holds, as JSON would hold it: keys are strings, and aliases are copies (not too many of them)."""
    if next(budget, None) is None:
        raise errors.bad_request("error converting YAML to JSON: yaml: document contains excessive aliasing")
    if left == 0:
        raise errors.bad_request(f"the body is nested deeper than {_DEPTH} levels")
    match value:
        case dict():
            return {_key(key): _as_json(item, left - 1, budget) for key, item in value.items()}
        case list():
            return [_as_json(item, left - 1, budget) for item in value]
        case None | bool() | int() | str():
            return value
        case float() if math.isfinite(value):
            return value
        case _:
            raise errors.bad_request(f"error converting YAML to JSON: {value!r} has no form in JSON")


def _key(key: Any) -> str:
    match key:
        case str():
            return key
        case bool():
            return "true" if key else "false"
        case int() | float():
            return str(key)
        case _:
            raise errors.bad_request(f"error converting YAML to JSON: yaml: invalid map key: {key!r}")


def _too_deep(value: Any, left: int) -> bool:
    if left == 0:
        return True
    if isinstance(value, dict):
        return any(_too_deep(item, left - 1) for item in value.values())
    return isinstance(value, list) and any(_too_deep(item, left - 1) for item in value)


@dataclass(frozen=True, slots=True)
class Wanted:
    """The form an answer shall have."""

    table: bool = False
    version: Version = "v1"
    include: Include = "Metadata"


def wanted(accept: str, query: Mapping[str, str]) -> Wanted:
    """What Accept asks for: the first of its forms that is served."""
    first = next((part for part in accept.split(",") if "json" in part or "*/*" in part), "")
    if not _TABLE.search(first):
        return Wanted()
    found = _TABLE_VERSION.search(first)
    version: Literal["v1", "v1beta1"] = "v1beta1" if found and found[1] == "v1beta1" else "v1"
    include: Include = "Metadata"
    match query.get("includeObject"):
        case "None":
            include = "None"
        case "Object":
            include = "Object"
        case _:
            pass
    return Wanted(table=True, version=version, include=include)


def answer(obj: Mapping[str, Any] | bytes, code: int = 200, warnings: list[str] | None = None) -> web.Response:
    """A JSON answer, with its warnings."""
    body = obj if isinstance(obj, bytes) else msgspec.json.encode(obj)
    response = web.Response(body=body, status=code, content_type="application/json")
    warn(response, warnings or ())
    return response


def warn(response: web.StreamResponse, warnings: Sequence[str]) -> None:
    """Have an answer carry warnings, which kubectl prints."""
    for warning in warnings:
        quoted = warning.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ").replace("\r", " ")
        response.headers.add("Warning", f'299 - "{quoted}"')
