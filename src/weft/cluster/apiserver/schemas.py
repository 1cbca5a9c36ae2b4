"""The built-in kinds' schemas: the OpenAPI that the `kubernetes_validate` package bundles.

It carries Kubernetes' own marks (`x-kubernetes-patch-merge-key`, `-list-map-keys`, …), which patches read.
"""

from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec

from weft.cluster.apiserver.kinds import Kind

VERSION = "1.36.0"
Schema = dict[str, Any]


def _lean(node: Any) -> Any:
    """Without the prose, which is most of the weight; `properties` may well have a field named description."""
    if isinstance(node, list):
        return [_lean(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: {name: _lean(item) for name, item in value.items()} if key == "properties" else _lean(value)
        for key, value in node.items()
        if not (key == "description" and isinstance(value, str))
    }


class Schemas:
    """Definitions by name, and by kind. `definitions` is the `$defs` object of the bundled file."""

    def __init__(self, definitions: dict[str, Schema]) -> None:
        self._definitions = definitions

    @classmethod
    def bundled(cls) -> "Schemas":
        """Read the bundled file: 20 ms, once per process."""
        # not imported: with the package come jsonschema and YAML, which nobody needs for reading a file
        spec = find_spec("kubernetes_validate")
        if spec is None or spec.origin is None:
            raise FileNotFoundError("the package kubernetes-validate is missing; install weft's dependencies")
        path = Path(spec.origin).parent / "kubernetes-json-schema" / f"v{VERSION}-local" / "_definitions.json"
        return cls(_lean(msgspec.json.decode(path.read_bytes())["$defs"]))

    @cached_property
    def _by_kind(self) -> dict[tuple[str, str, str], str]:
        return {
            (mark["group"], mark["version"], mark["kind"]): name
            for name, schema in self._definitions.items()
            for mark in schema.get("x-kubernetes-group-version-kind", ())
        }

    def name_of(self, group: str, version: str, kind: str) -> str | None:
        """The definition's name, such as `io.k8s.api.core.v1.Pod`."""
        return self._by_kind.get((group, version, kind))

    def of(self, kind: Kind) -> Schema | None:
        """The schema of a built-in kind; None for kinds it does not know (custom resources)."""
        return self.of_type(kind.group, kind.version, kind.kind)

    def of_type(self, group: str, version: str, kind: str) -> Schema | None:
        """The schema of an object type that may be no resource, such as `Scale`."""
        name = self.name_of(group, version, kind)
        return self._definitions[name] if name else None

    def resolve(self, schema: Schema) -> Schema:
        """Follow `$ref`; marks beside the reference win over the target's."""
        reference = schema.get("$ref")
        if reference is None:
            return schema
        target = self._definitions[reference.rpartition("/")[2]]
        return {**target, **schema} if len(schema) > 1 else target

    def type_name(self, schema: Schema) -> str:
        """The last part of what a schema refers to, such as `PodSpec`; empty for inline schemas."""
        reference: str = schema.get("$ref", "")
        return reference.rpartition(".")[2]

    def metadata(self) -> Schema:
        """The schema of an object that has metadata and nothing else of a known form."""
        reference = "#/$defs/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
        return {"type": "object", "properties": {"metadata": {"$ref": reference}}}
