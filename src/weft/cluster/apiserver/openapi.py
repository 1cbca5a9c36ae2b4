"""The server's OpenAPI documents, built when asked for and kept as bytes.

kubectl since 1.27 reads v3, one document per API version: it looks into `paths` for the kind of a path and for the
parameter `fieldValidation` of its PATCH (then the server checks fields, otherwise kubectl does), and into the
schemas for `explain` and for merge keys. kubectl before reads v2 as protobuf.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from weft.cluster.apiserver import openapi_v2
from weft.cluster.apiserver.kinds import Kind
from weft.cluster.apiserver.openapi_schema import Schemas, definitions

_METHODS = {
    "get": ("get", "get"),
    "put": ("update", "put"),
    "patch": ("patch", "patch"),
    "delete": ("delete", "delete"),
}
_WRITING = ("post", "put", "patch")


@dataclass(slots=True)
class Documents:
    """The built documents, each beside the hash of what it was built from: a changed CRD builds its own anew.

    Nothing parsed is kept. Building one takes some 50 ms, v2 about 0.2 s.
    """

    _built: dict[str, tuple[str, bytes]] = field(default_factory=dict)

    def v3_index(self, kinds: Iterable[Kind], schemas: Schemas) -> dict[str, Any]:
        """The answer to `/openapi/v3`: where each API version's document is, with its hash."""
        paths = {}
        for (group, version), listed in _by_version(kinds).items():
            path = _path(group, version)
            url = f"/openapi/v3/{path}?hash={_fingerprint(listed, schemas)}"
            paths[path] = {"serverRelativeURL": url}
        return {"paths": paths}

    def v3(self, group: str, version: str, kinds: Iterable[Kind], schemas: Schemas) -> bytes:
        """The JSON of `/openapi/v3/api/v1` or `/openapi/v3/apis/GROUP/VERSION`; empty if it has no kinds."""
        listed = _by_version(kinds).get((group, version), [])
        if not listed:
            return b""
        key, mark = f"v3/{_path(group, version)}", _fingerprint(listed, schemas)
        return self._kept(key, mark) or self._keep(key, mark, msgspec.json.encode(v3_document(listed, schemas)))

    def v2(self, kinds: Iterable[Kind], schemas: Schemas) -> bytes:
        """The answer to `/openapi/v2` in protobuf (`openapi_v2.MEDIA_TYPE`)."""
        listed = list(kinds)
        mark = _fingerprint(listed, schemas)
        return self._kept("v2", mark) or self._keep("v2", mark, v2_protobuf(listed, schemas))

    def swagger(self, kinds: Iterable[Kind], schemas: Schemas) -> bytes:
        """The answer to `/openapi/v2` in JSON."""
        listed = list(kinds)
        mark = _fingerprint(listed, schemas)
        found = self._kept("swagger", mark)
        return found or self._keep("swagger", mark, msgspec.json.encode(v2_document(listed, schemas)))

    def _kept(self, key: str, mark: str) -> bytes:
        found, document = self._built.get(key, ("", b""))
        return document if found == mark else b""

    def _keep(self, key: str, mark: str, document: bytes) -> bytes:
        self._built[key] = mark, document
        return document


def v2_protobuf(kinds: Iterable[Kind], schemas: Schemas) -> bytes:
    """All kinds in one gnostic document."""
    listed = list(kinds)
    return openapi_v2.encode(definitions(listed, schemas, "v2"), listed)


def v2_document(kinds: Iterable[Kind], schemas: Schemas) -> dict[str, Any]:
    """The same as a Swagger 2.0 document."""
    listed = list(kinds)
    return {
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": "v1.36.0"},
        "paths": {path: _swagger(item) for kind in listed for path, item in _paths(kind)},
        "definitions": definitions(listed, schemas, "v2"),
    }


def _swagger(item: dict[str, Any]) -> dict[str, Any]:
    """A path as Swagger writes it: what a parameter is stands in it, not in a schema below."""
    found: dict[str, Any] = {}
    for method, operation in item.items():
        if method == "parameters":
            found[method] = [_flat(one) for one in operation]
        else:
            found[method] = {**operation, "parameters": [_flat(one) for one in operation["parameters"]]}
    return found


def _flat(parameter: dict[str, Any]) -> dict[str, Any]:
    rest = {key: value for key, value in parameter.items() if key != "schema"}
    return {**rest, **parameter["schema"]}


def v3_document(kinds: Iterable[Kind], schemas: Schemas) -> dict[str, Any]:
    """The OpenAPI v3 document of the kinds of one API version."""
    listed = list(kinds)
    paths = {path: item for kind in listed for path, item in _paths(kind)}
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "v1.36.0"},
        "paths": paths,
        "components": {"schemas": definitions(listed, schemas, "v3")},
    }


def _by_version(kinds: Iterable[Kind]) -> dict[tuple[str, str], list[Kind]]:
    found: dict[tuple[str, str], list[Kind]] = {}
    for kind in kinds:
        found.setdefault((kind.group, kind.version), []).append(kind)
    return found


def _path(group: str, version: str) -> str:
    return f"apis/{group}/{version}" if group else f"api/{version}"


def _fingerprint(kinds: Iterable[Kind], schemas: Schemas) -> str:
    digest = hashlib.sha256()
    for kind in kinds:
        digest.update(repr(kind).encode())
        if schema := schemas.get((kind.group, kind.version, kind.kind)):
            digest.update(msgspec.json.encode(schema))
    return digest.hexdigest()[:32].upper()


def _paths(kind: Kind) -> Iterator[tuple[str, dict[str, Any]]]:
    """The collection's path and the object's, as Kubernetes writes them."""
    base = f"/{_path(kind.group, kind.version)}"
    scope = f"{base}/namespaces/{{namespace}}" if kind.namespaced else base
    collection = _item(kind, {"get": ("list", "list"), "post": ("create", "post")}, named=False)
    if collection:
        yield f"{scope}/{kind.plural}", collection
    if one := _item(kind, _METHODS, named=True):
        yield f"{scope}/{kind.plural}/{{name}}", one
    if kind.namespaced and "list" in kind.verbs:
        everywhere = _operation(kind, "get", "list") | {"operationId": f"list{kind.kind}ForAllNamespaces"}
        yield f"{base}/{kind.plural}", {"get": everywhere}


def _item(kind: Kind, methods: dict[str, tuple[str, str]], *, named: bool) -> dict[str, Any]:
    item: dict[str, Any] = {
        method: _operation(kind, method, action)
        for method, (verb, action) in methods.items()
        if verb in kind.verbs
    }
    if item:
        names = (["namespace"] if kind.namespaced else []) + (["name"] if named else [])
        item["parameters"] = [_parameter(name, "path") | {"required": True} for name in names]
    return item


def _operation(kind: Kind, method: str, action: str) -> dict[str, Any]:
    group = "".join(part.capitalize() for part in (kind.group.partition(".")[0] or "core", kind.version))
    scope = "Namespaced" if kind.namespaced else ""
    parameters = ["pretty"]
    if method in _WRITING:
        parameters += ["dryRun", "fieldManager", "fieldValidation"] + (["force"] if method == "patch" else [])
    return {
        "operationId": f"{action}{group}{scope}{kind.kind}",
        "parameters": [_parameter(name, "query") for name in parameters],
        "responses": {"200": {"description": "OK"}},
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": {"group": kind.group, "kind": kind.kind, "version": kind.version},
    }


def _parameter(name: str, place: str) -> dict[str, Any]:
    kind = "boolean" if name == "force" else "string"
    return {"name": name, "in": place, "schema": {"type": kind, "uniqueItems": True}}
