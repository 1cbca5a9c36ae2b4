"""What requests carry and what answers are wanted: JSON, YAML, protobuf; objects, lists, tables."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import yaml
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from weft.cluster.apiserver import errors, protobuf
from weft.cluster.apiserver.depth import DEEPEST, too_deep
from weft.cluster.apiserver.rest import syntax
from weft.cluster.apiserver.tables.render import Include, Version

LARGEST = 3 * 1024 * 1024
"""Bytes of a body; the API server's own limit."""
_TABLE = re.compile(r"as=Table\b")
_PARTIAL = re.compile(r"as=PartialObjectMetadata(List)?\b")
WARNING = web.RequestKey("WARNING", str)
"""Under this name a request keeps a warning for its answer."""
_TABLE_VERSION = re.compile(r"v=(v1beta1|v1)\b")
_JSON = ("", "application/json", "text/plain", "application/octet-stream")
_YAML = ("application/yaml", "application/apply-patch+yaml", "text/yaml")
_JSON_FAULT = "couldn't get version/kind; json parse error: "
_YAML_FAULT = "error converting YAML to JSON: "
_CONTROL = re.compile(r"[\x00-\x1f\x7f]|[\ud800-\udfff]")
_WARNED, _WARNING = 4096, 256
"""Characters of all warnings together, and of each where those are too many."""
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
    if (request.content_length or 0) > LARGEST:
        raise _too_large()
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise _too_large() from None
    except (web.RequestPayloadError, HttpProcessingError) as error:
        raise errors.bad_request(f"the body cannot be read: {error}") from error


def _too_large() -> errors.StatusError:
    return errors.StatusError(413, "RequestEntityTooLarge", f"Request entity too large: limit is {LARGEST}")


def parse(body: bytes, media: str, kind: str = "Object") -> Any:
    """The value of a body that shall be a `kind`; 400 where it is malformed, 415 where its form is not known."""
    try:
        if media == "application/vnd.kubernetes.protobuf":
            value: Any = protobuf.decode(body)
        elif media in _YAML:
            value = _as_json(yaml.load(body, _Loader), DEEPEST, iter(range(_NODES)))  # noqa: S506 - a subclass of the safe loader
        elif media in _JSON or media.endswith("+json"):
            value = syntax.decode(body)
        else:
            raise errors.StatusError(
                415,
                "UnsupportedMediaType",
                "the body of the request was in an unknown format - accepted media types include:"
                " application/json, application/yaml, application/vnd.kubernetes.protobuf",
            )
    except protobuf.ProtobufError as error:
        raise errors.bad_request(f"the body cannot be decoded: {error}") from error
    except msgspec.DecodeError as error:
        raise _malformed(_JSON_FAULT + syntax.json_fault(body), body, media, kind) from error
    except yaml.YAMLError as error:
        raise _malformed(_YAML_FAULT + syntax.yaml_fault(error), body, media, kind) from error
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        # the last two come of tags on what they do not fit, such as `!!timestamp` on nothing
        raise _malformed(f"{_YAML_FAULT}{error}", body, media, kind) from error
    except RecursionError:
        raise errors.bad_request("the body is nested too deeply") from None
    if too_deep(value):
        raise errors.bad_request(f"the body is nested deeper than {DEEPEST} levels")
    return value


def _malformed(why: str, body: bytes, media: str, kind: str) -> errors.StatusError:
    if "patch" in media:
        return errors.bad_request(f"error decoding patch: {why.removeprefix(_JSON_FAULT)}")
    what = f"the object provided is unrecognized (must be of type {kind})"
    return errors.bad_request(f"{what}: {why} ({syntax.shown(body)})")


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
        raise errors.bad_request(f"the body is nested deeper than {DEEPEST} levels")
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


@dataclass(frozen=True, slots=True)
class Wanted:
    """The form an answer shall have."""

    table: bool = False
    partial: bool = False
    version: Version = "v1"
    include: Include = "Metadata"


def wanted(accept: str, query: Mapping[str, str]) -> Wanted:
    """What Accept asks for: the first of its forms that is served."""
    first = next((part for part in accept.split(",") if _served(part)), "")
    if accept.strip() and not first:
        raise errors.StatusError(
            406,
            "NotAcceptable",
            "only the following media types are accepted: application/json, application/yaml,"
            " application/vnd.kubernetes.protobuf",
        )
    found = _TABLE_VERSION.search(first)
    version: Literal["v1", "v1beta1"] = "v1beta1" if found and found[1] == "v1beta1" else "v1"
    if _PARTIAL.search(first):
        return Wanted(partial=True, version=version)
    if not _TABLE.search(first):
        return Wanted()
    include: Include = "Metadata"
    match query.get("includeObject"):
        case "None":
            include = "None"
        case "Object":
            include = "Object"
        case "Metadata" | "" | None:
            pass
        case other:
            why = f"Invalid value: {other}: must be one of None, Metadata, Object"
            raise errors.bad_request(f"includeObject: {why}")
    return Wanted(table=True, version=version, include=include)


def _served(part: str) -> bool:
    """Whether one form of an Accept header is one that this server has; JSON stands in for protobuf."""
    media = part.partition(";")[0].strip().lower()
    return media in {"*/*", "application/*", "application/json", "application/yaml", "text/yaml"} or (
        media == "application/vnd.kubernetes.protobuf" and "as=" not in part
    )


def formed(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    """The answer as YAML where that is asked for first, or as JSON that people read (`pretty`, curl)."""
    body = response.body if isinstance(response, web.Response) else None
    if not isinstance(response, web.Response) or response.content_type != "application/json":
        return response
    if not isinstance(body, bytes) or not body:
        return response
    first = request.headers.get("Accept", "").partition(",")[0].partition(";")[0].strip().lower()
    if first in {"application/yaml", "text/yaml"}:
        response.body = yaml.dump(msgspec.json.decode(body), Dumper=yaml.CSafeDumper).encode()
        response.content_type = "application/yaml"
    elif _for_people(request):
        response.body = msgspec.json.format(body, indent=2)
    return response


def _for_people(request: web.Request) -> bool:
    said = request.query.get("pretty")
    if said is not None:
        return said.lower() in {"", "1", "t", "true"}
    return request.headers.get("User-Agent", "").startswith(("curl/", "Wget/", "Mozilla/5.0"))


def answer(obj: Mapping[str, Any] | bytes, code: int = 200, warnings: list[str] | None = None) -> web.Response:
    """A JSON answer, with its warnings."""
    body = obj if isinstance(obj, bytes) else msgspec.json.encode(obj)
    response = web.Response(body=body, status=code, content_type="application/json")
    for warning in _told(warnings or []):
        response.headers.add("Warning", warning)
    return response


def _told(warnings: list[str]) -> Iterator[str]:
    """Warnings as headers; where they are long together, each is cut, and those beyond the limit are left out."""
    long = sum(map(len, warnings)) > _WARNED
    left = _WARNED
    for warning in dict.fromkeys(warnings):
        text = warning[:_WARNING] if long else warning
        left -= len(text)
        if left < 0:
            return
        quoted = _CONTROL.sub(" ", text).replace("\\", "\\\\").replace('"', '\\"')
        yield f'299 - "{quoted}"'


async def warn(request: web.Request, response: web.StreamResponse) -> None:
    """Add what the request itself is warned of to its answer, whatever that is."""
    if warning := request.get(WARNING):
        for header in _told([warning]):
            response.headers.add("Warning", header)
