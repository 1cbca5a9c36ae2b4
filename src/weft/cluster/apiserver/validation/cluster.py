"""What configures the cluster: ConfigMaps, Secrets, bindings, webhooks, definitions."""

import base64
import binascii
import re
from typing import Any

from weft.cluster.apiserver import names
from weft.cluster.apiserver.errors import FieldError, forbidden_field, invalid_value, required, unsupported

Obj = dict[str, Any]
_KEY = re.compile(r"[-._a-zA-Z0-9]+")
_LARGEST = 1024 * 1024
_SAYS_KEY = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',"
    "  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
)


def _keys(data: Obj, path: str) -> list[FieldError]:
    return [invalid_value(f"{path}[{key}]", key, _SAYS_KEY) for key in data if not _KEY.fullmatch(key)]


def config_map(obj: Obj) -> list[FieldError]:
    """Keys are file names, and all of it is at most a mebibyte."""
    data = obj.get("data") or {}
    found = _keys(data, "data")
    if sum(len(str(value)) for value in data.values()) > _LARGEST:
        found.append(FieldError("", "FieldValueTooLong", f"Too long: may not be more than {_LARGEST} bytes"))
    return found


def secret(obj: Obj) -> list[FieldError]:
    """Keys are file names, values base64."""
    data = obj.get("data") or {}
    found = _keys(data, "data")
    for key, value in data.items():
        try:
            base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError, TypeError):
            found.append(invalid_value(f"data[{key}]", "<redacted>", "must be base64"))
    return found


def immutable_data(obj: Obj, before: Obj) -> list[FieldError]:
    """What was declared immutable stays."""
    if not before.get("immutable"):
        return []
    changed = [name for name in ("data", "binaryData") if obj.get(name) != before.get(name)]
    if obj.get("immutable") is not True:
        changed.insert(0, "immutable")
    return [forbidden_field(name, "field is immutable when `immutable` is set") for name in changed]


def role_changed(obj: Obj, before: Obj) -> list[FieldError]:
    """A binding keeps its role."""
    if obj.get("roleRef") == before.get("roleRef"):
        return []
    return [invalid_value("roleRef", obj.get("roleRef"), "cannot change roleRef")]


def webhooks(obj: Obj) -> list[FieldError]:
    """A webhook has a qualified name, one address, known effects and a timeout of at most 30 s."""
    found: list[FieldError] = []
    seen: set[str] = set()
    for index, webhook in enumerate(obj.get("webhooks") or ()):
        path = f"webhooks[{index}]"
        name = webhook.get("name", "")
        if len(name.split(".")) < 3 or names.subdomain(name):
            found.append(
                invalid_value(
                    f"{path}.name", name, "should be a domain with at least three segments separated by dots"
                )
            )
        if name in seen:
            found.append(invalid_value(f"{path}.name", name, "must be unique"))
        seen.add(name)
        config = webhook.get("clientConfig") or {}
        if ("url" in config) == ("service" in config):
            found.append(required(f"{path}.clientConfig", "exactly one of url or service is required"))
        if not 0 < webhook.get("timeoutSeconds", 10) <= 30:
            found.append(
                invalid_value(
                    f"{path}.timeoutSeconds",
                    webhook["timeoutSeconds"],
                    "the timeout value must be between 1 and 30 seconds",
                )
            )
        versions = webhook.get("admissionReviewVersions") or []
        if versions and not set(versions) & {"v1", "v1beta1"}:
            why = "must include at least one of v1, v1beta1"
            found.append(invalid_value(f"{path}.admissionReviewVersions", versions, why))
        if webhook.get("sideEffects") not in {"None", "NoneOnDryRun"}:
            found.append(unsupported(f"{path}.sideEffects", webhook.get("sideEffects"), ("None", "NoneOnDryRun")))
    return found
