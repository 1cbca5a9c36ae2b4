"""CustomResourceDefinitions: what Kubernetes refuses of them (`apiextensions/validation/validation.go`).

Fields are named as they are inside the API server, where what all versions share stands once: `spec.validation`.
"""

from collections.abc import Callable, Iterator
from typing import Any

from weft.cluster.apiserver import names
from weft.cluster.apiserver.cel.engine import Engine
from weft.cluster.apiserver.crds import APPROVED, protected
from weft.cluster.apiserver.errors import FieldError, forbidden_field, invalid_value, required, unsupported
from weft.cluster.apiserver.validation import rule_texts, structural_schemas

Obj = dict[str, Any]
KIND = ("apiextensions.k8s.io", "CustomResourceDefinition")
_COLUMNS = ("boolean", "date", "integer", "number", "string")
_REVIEWS = ("v1", "v1beta1")
_POLICY = (
    f'protected groups must have approval annotation "{APPROVED}", see'
    " https://github.com/kubernetes/enhancements/pull/1111"
)


def definition(obj: Obj) -> list[FieldError]:
    """What is wrong with a definition by itself; `rules` says the rest."""
    spec = obj.get("spec") or {}
    wanted = f"{(spec.get('names') or {}).get('plural', '')}.{spec.get('group', '')}"
    found = []
    if obj["metadata"].get("name", "") != wanted:
        found.append(
            invalid_value(
                "metadata.name", obj["metadata"].get("name", ""), 'must be spec.names.plural+"."+spec.group'
            )
        )
    found += [*_group(obj, spec), *_versions(spec), *_names(spec.get("names") or {}), *_conversion(spec)]
    for path, version in _shared(spec, "schema", "validation"):
        found += _schema(version, path)
    for path, version in _shared(spec, "subresources", "subresources"):
        found += _subresources(version.get("subresources") or {}, path)
    for path, version in _shared(spec, "additionalPrinterColumns", "additionalPrinterColumns"):
        found += _columns(version.get("additionalPrinterColumns") or [], path)
    for path, version in _shared(spec, "selectableFields", "selectableFields"):
        found += _selectable(version, path)
    return found


def rules(obj: Obj, before: Obj | None, engine: Engine) -> list[FieldError]:
    """The CEL rules of a definition that does not compile. What did before, is not asked again."""
    found = []
    spec = obj.get("spec") or {}
    known = {version.get("name"): version for version in ((before or {}).get("spec") or {}).get("versions") or ()}
    for path, version in _shared(spec, "schema", "validation"):
        if known.get(version.get("name"), {}).get("schema") != version.get("schema"):
            schema = (version.get("schema") or {}).get("openAPIV3Schema") or {}
            found += rule_texts.wrong(schema, _schema_path(path), engine)
    return found


def changed(obj: Obj, before: Obj) -> list[FieldError]:
    """What a definition may not become."""
    new, old, found = obj["spec"], before["spec"], []
    conditions = (before.get("status") or {}).get("conditions") or ()
    fixed: list[tuple[str, Callable[[Obj], Any]]] = [
        ("spec.group", lambda spec: spec.get("group")),
        ("spec.names.plural", lambda spec: spec["names"].get("plural")),
    ]
    if any(item["type"] == "Established" and item["status"] == "True" for item in conditions):
        fixed = [
            ("spec.scope", lambda spec: spec.get("scope")),
            ("spec.names.kind", lambda spec: spec["names"].get("kind")),
            *fixed,
        ]
    for path, look in fixed:
        if look(new) != look(old):
            found.append(invalid_value(path, look(new), "field is immutable"))
    listed = {version["name"] for version in new["versions"]}
    for index, name in enumerate((obj.get("status") or {}).get("storedVersions") or ()):
        if name not in listed:
            why = (
                f"missing from spec.versions; {name} was previously a storage version, and must remain in"
                f" spec.versions until a storage migration ensures no data remains persisted in {name} and"
                f" removes {name} from status.storedVersions"
            )
            found.append(invalid_value(f"status.storedVersions[{index}]", name, why))
    return found


def _shared(spec: Obj, part: str, name: str) -> Iterator[tuple[str, Obj]]:
    """Each version with the path of one of its parts: that of the whole definition, where all have the same."""
    versions = spec.get("versions") or []
    if all(version.get(part) == versions[0].get(part) for version in versions):
        yield from ((f"spec.{name}", version) for version in versions[:1])
        return
    for index, version in enumerate(versions):
        yield f"spec.versions[{index}].{part}", version


def _schema_path(path: str) -> str:
    return f"{path}.openAPIV3Schema"


def _group(obj: Obj, spec: Obj) -> Iterator[FieldError]:
    group = spec.get("group", "")
    if not group:
        yield required("spec.group")
    elif why := names.subdomain(group):
        yield invalid_value("spec.group", group, why)
    elif "." not in group:
        yield invalid_value("spec.group", group, "should be a domain with at least one dot")
    elif protected(group):
        said = (obj["metadata"].get("annotations") or {}).get(APPROVED, "")
        if not said.startswith(("unapproved", "https://", "http://")):
            yield required(f"metadata.annotations[{APPROVED}]", _POLICY)
    if not spec.get("scope"):
        yield required("spec.scope")
    elif spec["scope"] not in {"Cluster", "Namespaced"}:
        yield unsupported("spec.scope", spec["scope"], ("Cluster", "Namespaced"))
    if spec.get("preserveUnknownFields") is True:
        why = (
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema"
            " instead"
        )
        yield invalid_value("spec.preserveUnknownFields", True, why)  # noqa: FBT003 - the value that is shown


def _versions(spec: Obj) -> Iterator[FieldError]:
    versions = spec.get("versions") or []
    for index, version in enumerate(versions):
        if why := names.label_1035(version.get("name", "")):
            yield invalid_value(f"spec.versions[{index}].name", version.get("name", ""), why)
    listed = [version.get("name") for version in versions]
    if len(set(listed)) != len(listed):
        yield invalid_value("spec.versions", versions, "must contain unique version names")
    if sum(bool(version.get("storage")) for version in versions) != 1:
        yield invalid_value("spec.versions", versions, "must have exactly one version marked as storage version")
    for index, version in enumerate(versions):
        if (version.get("schema") or {}).get("openAPIV3Schema") is None:
            yield required(f"spec.versions[{index}].schema.openAPIV3Schema", "schemas are required")


def _names(given: Obj) -> Iterator[FieldError]:
    for name in ("plural", "singular", "kind", "listKind"):
        value = given.get(name, "")
        if not value:
            yield required(f"spec.names.{name}")
            continue
        why = names.label_1035(value.lower() if name in {"kind", "listKind"} else value)
        if why and name in {"kind", "listKind"}:
            why = f"may have mixed case, but should otherwise match: {why}"
        if why:
            yield invalid_value(f"spec.names.{name}", value, why)
    for name in ("shortNames", "categories"):
        for index, value in enumerate(given.get(name) or ()):
            if why := names.label_1035(value):
                yield invalid_value(f"spec.names.{name}[{index}]", value, why)
    if given.get("kind") and given.get("kind") == given.get("listKind"):
        yield invalid_value("spec.names.listKind", given["listKind"], "kind and listKind may not be the same")


def _conversion(spec: Obj) -> Iterator[FieldError]:
    conversion = spec.get("conversion") or {}
    path, strategy = "spec.conversion", conversion.get("strategy", "")
    webhook = conversion.get("webhook")
    if strategy not in {"None", "Webhook"}:
        yield (
            required(f"{path}.strategy")
            if not strategy
            else unsupported(f"{path}.strategy", strategy, ("None", "Webhook"))
        )
        return
    if strategy == "None":
        if webhook is not None:
            why = "should not be set when strategy is not set to Webhook"
            yield forbidden_field(f"{path}.webhookClientConfig", why)
        return
    config = (webhook or {}).get("clientConfig")
    if config is None:
        yield required(f"{path}.webhookClientConfig", "required when strategy is set to Webhook")
    elif ("url" in config) == ("service" in config):
        yield required(f"{path}.webhookClientConfig", "exactly one of url or service is required")
    offered = (webhook or {}).get("conversionReviewVersions") or []
    if not offered:
        yield required(f"{path}.conversionReviewVersions")
    elif not set(offered) & set(_REVIEWS):
        why = f"must include at least one of {', '.join(_REVIEWS)}"
        yield invalid_value(f"{path}.conversionReviewVersions", offered, why)


def _schema(version: Obj, path: str) -> list[FieldError]:
    schema = (version.get("schema") or {}).get("openAPIV3Schema")
    return structural_schemas.wrong(schema, _schema_path(path)) if isinstance(schema, dict) else []


def _json_path(value: str, below: tuple[str, ...]) -> bool:
    return value.startswith(below) and "[" not in value.replace("['", "").replace("']", "")


def _subresources(given: Obj, path: str) -> Iterator[FieldError]:
    scale = given.get("scale")
    if scale is None:
        return
    for name, below in (("specReplicasPath", ".spec"), ("statusReplicasPath", ".status")):
        value = scale.get(name, "")
        if not value:
            yield required(f"{path}.scale.{name}")
        elif not _json_path(value, (f"{below}.",)):
            yield invalid_value(f"{path}.scale.{name}", value, f"should be a json path under {below}")
    selector = scale.get("labelSelectorPath", "")
    if selector and not _json_path(selector, (".spec.", ".status.")):
        why = "should be a json path under either .status or .spec"
        yield invalid_value(f"{path}.scale.labelSelectorPath", selector, why)


def _columns(given: list[Obj], path: str) -> Iterator[FieldError]:
    for index, column in enumerate(given):
        where = f"{path}[{index}]"
        if not column.get("name"):
            yield required(f"{where}.name")
        kind = column.get("type", "")
        if not kind:
            yield required(f"{where}.type", f"must be one of {','.join(_COLUMNS)}")
        elif kind not in _COLUMNS:
            yield invalid_value(f"{where}.type", kind, f"must be one of {','.join(_COLUMNS)}")
        if not column.get("jsonPath"):
            yield required(f"{where}.JSONPath")


def _selectable(version: Obj, path: str) -> Iterator[FieldError]:
    schema = (version.get("schema") or {}).get("openAPIV3Schema") or {}
    seen: set[str] = set()
    fields = version.get("selectableFields") or []
    if len(fields) > 8:
        yield FieldError(path, "FieldValueTooMany", f"Too many: {len(fields)}: must have at most 8 items")
    for index, item in enumerate(fields):
        where, json_path = f"{path}[{index}].jsonPath", item.get("jsonPath", "")
        if not json_path:
            yield required(where)
            continue
        node: Obj | None = schema
        for part in json_path.removeprefix(".").split("."):
            node = ((node or {}).get("properties") or {}).get(part)
        if node is None:
            yield invalid_value(where, json_path, "is an invalid path: does not refer to a valid field")
        elif node.get("type") not in {"string", "integer", "boolean"}:
            why = (
                "must point to a field of type string, boolean or integer."
                " Enum string fields and strings with formats are allowed."
            )
            yield invalid_value(where, json_path, why)
        elif json_path.startswith(".metadata"):
            yield invalid_value(where, json_path, "must not point to fields in metadata")
        if json_path in seen:
            yield FieldError(where, "FieldValueDuplicate", f'Duplicate value: "{json_path}"')
        seen.add(json_path)
