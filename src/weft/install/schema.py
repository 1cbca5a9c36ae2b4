"""From the shapes of resources to structural schemas (Kubernetes, CustomResourceDefinition validation).

A structural schema has no `$ref`, no `additionalProperties: false` beside properties, and no alternatives of null.
Fields it does not list are unknown: kubectl's strict validation names them, and `kubectl explain` shows the rest.
"""

from typing import Any

import msgspec

_KEPT = ("type", "enum", "minimum", "maximum", "description", "required")


def structural(shape: type[msgspec.Struct]) -> dict[str, Any]:
    """The schema of one shape, whole. Shapes must not contain themselves."""
    (schema,), parts = msgspec.json.schema_components([shape], ref_template="{name}")
    return _flattened(schema, parts)


def _flattened(schema: dict[str, Any], parts: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        # what is said where a part is used goes before what the part says of itself
        return {**_flattened(parts[schema["$ref"]], parts), **_own(schema)}
    if "anyOf" in schema:
        choices = [each for each in schema["anyOf"] if each.get("type") != "null"]
        return {**_flattened(choices[0], parts), **_own(schema)}
    flat = _own(schema)
    if "enum" in flat:
        flat["enum"] = [each for each in flat["enum"] if each is not None]
        flat["type"] = "integer" if all(isinstance(each, int) for each in flat["enum"]) else "string"
    if flat.get("type") == "integer":
        flat["format"] = "int64"
    if flat.get("type") == "object" and not {"properties", "additionalProperties"} & schema.keys():
        flat["x-kubernetes-preserve-unknown-fields"] = True  # an object of any kind: Envoy's own messages
    if "properties" in schema:
        flat["properties"] = {name: _flattened(each, parts) for name, each in schema["properties"].items()}
    if isinstance(schema.get("additionalProperties"), dict):
        flat["additionalProperties"] = _flattened(schema["additionalProperties"], parts)
    if "items" in schema:
        flat["items"] = _flattened(schema["items"], parts)
    return flat


def _own(schema: dict[str, Any]) -> dict[str, Any]:
    own = {key: schema[key] for key in _KEPT if key in schema}
    if own.get("required") == []:
        del own["required"]
    return own
