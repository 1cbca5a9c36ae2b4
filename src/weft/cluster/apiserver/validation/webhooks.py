"""Configurations of admission webhooks."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from weft.cluster.apiserver import names
from weft.cluster.apiserver.errors import FieldError, duplicate, invalid_value, required
from weft.cluster.apiserver.validation.rules import Found, between, label_selector, one_of

Obj = dict[str, Any]
_REVIEWS = ("v1", "v1beta1")
_EFFECTS = ("None", "NoneOnDryRun")
_OPERATIONS = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")
_SCOPES = ("*", "Cluster", "Namespaced")


def configuration(obj: Obj) -> list[FieldError]:
    """What is wrong with a webhook configuration of either kind."""
    return [*_configuration(obj)]


def _configuration(obj: Obj) -> Found:
    seen: set[str] = set()
    for index, webhook in enumerate(obj.get("webhooks") or ()):
        path, name = f"webhooks[{index}]", webhook.get("name", "")
        yield from _webhook(webhook, path)
        yield from _versions(webhook.get("admissionReviewVersions") or (), f"{path}.admissionReviewVersions")
        if name and name in seen:
            yield duplicate(f"{path}.name", name)
        seen.add(name)


def _webhook(given: Obj, path: str) -> Found:
    yield from _name(given.get("name", ""), f"{path}.name")
    for index, rule in enumerate(given.get("rules") or ()):
        yield from _rule(rule, f"{path}.rules[{index}]")
    yield from one_of(given.get("failurePolicy"), f"{path}.failurePolicy", ("Fail", "Ignore"))
    yield from one_of(given.get("matchPolicy"), f"{path}.matchPolicy", ("Equivalent", "Exact"))
    yield from one_of(
        given.get("sideEffects"),
        f"{path}.sideEffects",
        _EFFECTS,
        absent=f"must specify one of {', '.join(_EFFECTS)}",
    )
    seconds = given.get("timeoutSeconds", 10)
    if not 1 <= seconds <= 30:
        why = "the timeout value must be between 1 and 30 seconds"
        yield invalid_value(f"{path}.timeoutSeconds", seconds, why)
    yield from label_selector(given.get("namespaceSelector"), f"{path}.namespaceSelector")
    yield from label_selector(given.get("objectSelector"), f"{path}.objectSelector")
    yield from one_of(given.get("reinvocationPolicy"), f"{path}.reinvocationPolicy", ("IfNeeded", "Never"))
    yield from _client(given.get("clientConfig") or {}, f"{path}.clientConfig")


def _name(name: str, path: str) -> Found:
    if not name:
        yield required(path)
    elif why := names.subdomain(name):
        yield invalid_value(path, name, why)
    elif name.count(".") < 2:
        yield invalid_value(path, name, "should be a domain with at least three segments separated by dots")


def _client(given: Obj, path: str) -> Found:
    url, service = given.get("url"), given.get("service")
    if (url is None) == (service is None):
        yield required(path, "exactly one of url or service is required")
    elif url is not None:
        yield from _url(url, f"{path}.url")
    elif service is not None:
        for field in ("name", "namespace"):
            if not service.get(field):
                yield required(f"{path}.service.{field}", f"service {field} is required")
        if service.get("path") is not None and not service["path"].startswith("/"):
            why = "must start with a '/'"
            yield invalid_value(f"{path}.service.path", service["path"], why)
        port_of = service.get("port", 443)
        for wrong in between(port_of, "", 1, 65535):
            text = wrong.text.rpartition(": ")[2]
            yield invalid_value(f"{path}.service.port", port_of, f"port is not valid: {text}")


def _url(url: str, path: str) -> Found:
    form = "desired format: https://host[/path]"
    parts = urlsplit(url)
    if parts.scheme != "https":
        yield invalid_value(path, parts.scheme, f"'https' is the only allowed URL scheme; {form}")
    if not parts.hostname:
        yield invalid_value(path, parts.netloc, f"host must be specified; {form}")
    if parts.username is not None:
        yield invalid_value(path, parts.username, "user information is not permitted in the URL")
    if parts.fragment:
        yield invalid_value(path, parts.fragment, "fragments are not permitted in the URL")
    if parts.query:
        yield invalid_value(path, parts.query, "query parameters are not permitted in the URL")


def _rule(rule: Obj, path: str) -> Found:
    operations = rule.get("operations") or []
    if not operations:
        yield required(f"{path}.operations")
    if len(operations) > 1 and "*" in operations:
        why = "if '*' is present, must not specify other operations"
        yield invalid_value(f"{path}.operations", operations, why)
    for index, operation in enumerate(operations):
        yield from one_of(operation, f"{path}.operations[{index}]", _OPERATIONS)
    for field, what in (("apiGroups", "API groups"), ("apiVersions", "API versions")):
        yield from _wild(rule.get(field) or [], f"{path}.{field}", what)
    yield from _resources(rule.get("resources") or [], f"{path}.resources")
    yield from one_of(rule.get("scope"), f"{path}.scope", _SCOPES)


def _wild(given: list[str], path: str, what: str) -> Found:
    if not given:
        yield required(path)
    if len(given) > 1 and "*" in given:
        yield invalid_value(path, given, f"if '*' is present, must not specify other {what}")
    for index, item in enumerate(given):
        if not item and what == "API versions":
            yield required(f"{path}[{index}]")


def _resources(given: list[str], path: str) -> Found:
    if not given:
        yield required(path)
    for index, item in enumerate(given):
        if not item:
            yield required(f"{path}[{index}]")
    if len(given) > 1 and "*/*" in given:
        yield invalid_value(path, given, "if '*/*' is present, must not specify other resources")
    if "*" in given and any("/" not in item and item != "*" for item in given):
        why = "if '*' is present, must not specify other resources without subresources"
        yield invalid_value(path, given, why)


def _versions(given: Sequence[str], path: str) -> Found:
    if not given:
        yield required(path, f"must specify one of {', '.join(_REVIEWS)}")
        return
    for index, version in enumerate(given):
        if version in given[:index]:
            yield invalid_value(f"{path}[{index}]", version, "duplicate version")
        elif why := names.label_1035(version):
            yield invalid_value(f"{path}[{index}]", version, why)
    if not {*given} & {*_REVIEWS}:
        yield invalid_value(path, list(given), f"must include at least one of {', '.join(_REVIEWS)}")
