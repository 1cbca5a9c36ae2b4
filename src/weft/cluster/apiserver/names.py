"""The names that Kubernetes accepts, and what it says of others (`apimachinery/pkg/util/validation`)."""

import re

from weft.cluster.apiserver.errors import FieldError, invalid_value
from weft.cluster.apiserver.kinds import Kind

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_LABEL_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_QUALIFIED = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
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
_LABELS = frozenset({"namespaces"})
_LABELS_1035 = frozenset({"services"})
_PATH_SEGMENTS = frozenset({"roles", "clusterroles", "rolebindings", "clusterrolebindings"})


def label(value: str) -> str:
    """Why the value is no RFC 1123 label; empty if it is one."""
    return _judge(value, _LABEL, 63, _SAYS_LABEL)


def label_1035(value: str) -> str:
    """Why the value is no RFC 1035 label; empty if it is one."""
    return _judge(value, _LABEL_1035, 63, _SAYS_LABEL_1035)


def subdomain(value: str) -> str:
    """Why the value is no RFC 1123 subdomain; empty if it is one."""
    return _judge(value, _SUBDOMAIN, 253, _SAYS_SUBDOMAIN)


def label_key(key: str) -> str:
    """Why the key can name no label or annotation; empty if it can."""
    prefix, slash, name = key.rpartition("/")
    if slash and (why := subdomain(prefix) if prefix else "must be non-empty"):
        return f"prefix part {why}"
    return _judge(name, _QUALIFIED, 63, _SAYS_QUALIFIED)


def label_value(value: str) -> str:
    """Why the value can be no label's; empty if it can."""
    return _judge(value, _VALUE, 63, _SAYS_VALUE)


def _judge(value: str, pattern: re.Pattern[str], longest: int, says: str) -> str:
    if len(value) > longest:
        return f"must be no more than {longest} bytes"
    return "" if pattern.fullmatch(value) else says


def of_kind(kind: Kind, name: str, path: str = "metadata.name") -> list[FieldError]:
    """What is wrong with an object's name."""
    if kind.plural in _PATH_SEGMENTS and kind.group == "rbac.authorization.k8s.io":
        bad = next((part for part in ("/", "%") if part in name), "") or (name if name in {".", ".."} else "")
        return [invalid_value(path, name, f"may not contain '{bad}'")] if bad else []
    if kind.plural in _LABELS and not kind.group:
        why = label(name)
    elif kind.plural in _LABELS_1035 and not kind.group:
        why = label_1035(name)
    else:
        why = subdomain(name)
    return [invalid_value(path, name, why)] if why else []


def labels(given: dict[str, str], path: str) -> list[FieldError]:
    """What is wrong with a map of labels."""
    found = [invalid_value(path, key, why) for key in given if (why := label_key(key))]
    return found + [invalid_value(path, value, why) for value in given.values() if (why := label_value(value))]


def annotations(given: dict[str, str], path: str) -> list[FieldError]:
    """What is wrong with a map of annotations."""
    return [invalid_value(path, key, why) for key in given if (why := label_key(key.lower()))]
