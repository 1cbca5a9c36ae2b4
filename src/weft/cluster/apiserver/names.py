"""The names that Kubernetes accepts, and what it says of others (`apimachinery/pkg/util/validation`)."""

import re
from collections.abc import Callable, Mapping

from weft.cluster.apiserver.errors import FieldError, invalid_value, too_long
from weft.cluster.apiserver.kinds import Kind

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_LABEL_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_QUALIFIED = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_WILDCARD = re.compile(rf"\*\.{_SUBDOMAIN.pattern}")
_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")

_SAYS_LABEL = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters"
    " or '-', and must start and end with"
    " an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is"
    " '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_SAYS_LABEL_1035 = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-',"
    " start with an alphabetic character,"
    " and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is"
    " '[a-z]([-a-z0-9]*[a-z0-9])?')"
)
_SAYS_SUBDOMAIN = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric"
    " characters, '-' or '.', and must start and"
    " end with an alphanumeric character (e.g. 'example.com', regex used for validation is"
    " '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_SAYS_QUALIFIED = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must"
    " start and end with an alphanumeric"
    " character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is"
    " '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_SAYS_VALUE = (
    "a valid label must be an empty string or consist of alphanumeric characters,"
    " '-', '_' or '.', and must start and"
    " end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or"
    " '12345', regex used for validation is"
    " '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
_SAYS_WILDCARD = (
    "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of"
    " lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com',"
    f" regex used for validation is '{_WILDCARD.pattern}')"
)
_LABELS = frozenset({"namespaces"})
_LABELS_1035 = frozenset({"services"})
_ANNOTATIONS = 256 * 1024


def label(value: str) -> str:
    """Why the value is no RFC 1123 label; empty if it is one."""
    why = _judge(value, _LABEL, 63, _SAYS_LABEL)
    return "must not contain dots" if why == _SAYS_LABEL and _SUBDOMAIN.fullmatch(value) else why


def label_1035(value: str) -> str:
    """Why the value is no RFC 1035 label; empty if it is one."""
    return _judge(value, _LABEL_1035, 63, _SAYS_LABEL_1035)


def subdomain(value: str) -> str:
    """Why the value is no RFC 1123 subdomain; empty if it is one."""
    return _judge(value, _SUBDOMAIN, 253, _SAYS_SUBDOMAIN)


def qualified(key: str) -> list[str]:
    """Every reason why this is no qualified name (a label's key, a finalizer, a condition's type)."""
    if key.count("/") > 1:
        example = "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        return [f"a qualified name {_SAYS_QUALIFIED.removeprefix('name part ')} {example}"]
    prefix, slash, name = key.rpartition("/")
    found: list[str] = []
    if slash and not prefix:
        found.append("prefix part must be non-empty")
    elif slash and (why := subdomain(prefix)):
        found.append(f"prefix part {why}")
    if not name:
        found.append("name part must be non-empty")
    elif len(name) > 63:
        found.append("name part must be no more than 63 bytes")
    return found if _QUALIFIED.fullmatch(name) else [*found, _SAYS_QUALIFIED]


def label_key(key: str) -> str:
    """The first reason why the key can name no label or annotation; empty if it can."""
    return next(iter(qualified(key)), "")


def label_value(value: str) -> str:
    """Why the value can be no label's; empty if it can."""
    return _judge(value, _VALUE, 63, _SAYS_VALUE)


def _judge(value: str, pattern: re.Pattern[str], longest: int, says: str) -> str:
    if len(value) > longest:
        return f"must be no more than {longest} bytes"
    return "" if pattern.fullmatch(value) else says


def path_segment(name: str) -> str:
    """Why this cannot stand in a path; empty if it can."""
    if name in {".", ".."}:
        return f"may not be '{name}'"
    return next((f"may not contain '{part}'" for part in ("/", "%") if part in name), "")


def wildcard(host: str) -> str:
    """Why a host with a star in it is no wildcard domain; empty if it is one."""
    return _judge(host, _WILDCARD, 253, _SAYS_WILDCARD)


def _rule(kind: Kind) -> Callable[[str], str]:
    if kind.group in {"rbac.authorization.k8s.io", "apiregistration.k8s.io"}:
        return path_segment
    if not kind.group and kind.plural in _LABELS:
        return label
    if not kind.group and kind.plural in _LABELS_1035:
        return label_1035
    if kind.group == "certificates.k8s.io":
        return lambda _: ""  # any name will do
    return subdomain


def of_kind(kind: Kind, name: str, path: str = "metadata.name") -> list[FieldError]:
    """What is wrong with an object's name."""
    why = _rule(kind)(name)
    return [invalid_value(path, name, why)] if why else []


def generated(kind: Kind, prefix: str) -> list[FieldError]:
    """What is wrong with the beginning of a name that is made up; it may end in a dash."""
    masked = f"{prefix[:-2]}a" if len(prefix) > 1 and prefix.endswith("-") else prefix
    why = _rule(kind)(masked)
    return [invalid_value("metadata.generateName", prefix, why)] if why else []


def labels(given: Mapping[str, str], path: str) -> list[FieldError]:
    """What is wrong with a map of labels."""
    found: list[FieldError] = []
    for key, value in sorted(given.items()):
        found += [invalid_value(path, key, why) for why in qualified(key)]
        if why := label_value(value):
            found.append(invalid_value(path, value, why))
    return found


def annotations(given: Mapping[str, str], path: str) -> list[FieldError]:
    """What is wrong with a map of annotations."""
    found = [invalid_value(path, key, why) for key in sorted(given) for why in qualified(key.lower())]
    size = sum(len(key.encode()) + len(value.encode()) for key, value in given.items())
    return [*found, too_long(path, _ANNOTATIONS)] if size > _ANNOTATIONS else found
