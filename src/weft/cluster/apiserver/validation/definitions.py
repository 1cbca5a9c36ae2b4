"""CustomResourceDefinitions."""

from typing import Any

from weft.cluster.apiserver.errors import FieldError, invalid_value, required, unsupported

Obj = dict[str, Any]


def custom_resource_definition(obj: Obj) -> list[FieldError]:
    """A definition is named after its plural and group, and stores exactly one version."""
    spec = obj.get("spec") or {}
    plural, group = (spec.get("names") or {}).get("plural", ""), spec.get("group", "")
    found = []
    name = obj["metadata"].get("name", "")
    if name != f"{plural}.{group}":
        found.append(invalid_value("metadata.name", name, 'must be spec.names.plural+"."+spec.group'))
    if spec.get("scope") not in {"Namespaced", "Cluster"}:
        found.append(unsupported("spec.scope", spec.get("scope"), ("Cluster", "Namespaced")))
    versions = spec.get("versions") or []
    if sum(bool(version.get("storage")) for version in versions) != 1:
        found.append(
            invalid_value("spec.versions", versions, "must have exactly one version marked as storage version")
        )
    for index, version in enumerate(versions):
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        if schema is None:
            found.append(required(f"spec.versions[{index}].schema.openAPIV3Schema", "schemas are required"))
        elif schema.get("type") != "object":
            path = f"spec.versions[{index}].schema.openAPIV3Schema.type"
            found.append(required(path, "must be object at the root"))
    return found
