"""Rules that many kinds share, with the sentences that Kubernetes has for them.

Each is given the value and the path of its field, and yields what is wrong.
"""

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from weft.cluster.apiserver import names, quantities
from weft.cluster.apiserver.errors import (
    NIL_MAP,
    FieldError,
    Shown,
    forbidden_field,
    invalid_value,
    required,
    unsupported,
)

Obj = dict[str, Any]
Found = Iterator[FieldError]
NEGATIVE = "must be greater than or equal to 0"
IMMUTABLE = "field is immutable"
PROTOCOLS = ("SCTP", "TCP", "UDP")
_IP = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
_CIDR = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
_PERCENT = re.compile(r"[0-9]+%")
_PORT_CHARACTERS = re.compile(r"[-a-z0-9]+")
_LARGEST_ID = 2**31 - 1


def go_map(given: Mapping[str, Any] | None) -> dict[str, Any] | Shown:
    """A map as Go prints it: sorted by key, `null` where it is absent."""
    return dict(sorted(given.items())) if given is not None else NIL_MAP


def go_list(given: Sequence[Any] | None) -> list[Any] | Shown:
    """A list as Go prints it: `null` where it is absent."""
    return list(given) if given is not None else NIL_MAP


def go_selector(given: Obj | None) -> Obj | None:
    """A label selector with its fields in the order of Go's struct."""
    if given is None:
        return None
    shown: Obj = {}
    if given.get("matchLabels"):
        shown["matchLabels"] = go_map(given["matchLabels"])
    if given.get("matchExpressions"):
        shown["matchExpressions"] = [
            {"key": term.get("key", ""), "operator": term.get("operator", ""), **_values(term)}
            for term in given["matchExpressions"]
        ]
    return shown


def _values(term: Obj) -> Obj:
    return {"values": term["values"]} if term.get("values") else {}


def non_negative(holder: Obj, path: str, *fields: str) -> Found:
    """Numbers that count something."""
    for field in fields:
        if holder.get(field, 0) < 0:
            yield invalid_value(f"{path}.{field}", holder[field], NEGATIVE)


def between(value: int, path: str, low: int, high: int) -> Found:
    """A number of a closed range."""
    if not low <= value <= high:
        yield invalid_value(path, value, f"must be between {low} and {high}, inclusive")


def one_of(value: Any, path: str, choices: Sequence[str], *, absent: str | None = None) -> Found:
    """A word of an enumeration; `absent` is what is said where it is empty, None where it may be absent."""
    if not value and value is not False:
        if absent is not None:
            yield required(path, absent)
    elif value not in choices:
        yield unsupported(path, value, choices)


def named(value: str | None, path: str, detail: str = "") -> Found:
    """A name of another object, such as a Secret's: it must be there and be a DNS subdomain."""
    if not value:
        yield required(path, detail)
    elif why := names.subdomain(value):
        yield invalid_value(path, value, why)


def reason(why: str, path: str, value: Any) -> Found:
    """What one of `names` says against a value, if it says something."""
    if why:
        yield invalid_value(path, value, why)


def qualified(value: str, path: str) -> Found:
    """A qualified name: `name` or `example.com/name`."""
    for why in names.qualified(value):
        yield invalid_value(path, value, why)


def dns_label(value: str | None, path: str) -> Found:
    """An RFC 1123 label that must be there."""
    if not value:
        yield required(path)
    else:
        yield from reason(names.label(value), path, value)


def port(value: int, path: str) -> Found:
    """A port's number."""
    yield from between(value, path, 1, 65535)


def port_name(value: str, path: str) -> Found:
    """An IANA service name."""
    if len(value) > 15:
        yield invalid_value(path, value, "must be no more than 15 bytes")
    if not _PORT_CHARACTERS.fullmatch(value):
        yield invalid_value(path, value, "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not any("a" <= letter <= "z" for letter in value):
        yield invalid_value(path, value, "must contain at least one letter (a-z)")
    if "--" in value:
        yield invalid_value(path, value, "must not contain consecutive hyphens")
    if value.startswith("-") or value.endswith("-"):
        yield invalid_value(path, value, "must not begin or end with a hyphen")


def port_or_name(value: Any, path: str) -> Found:
    """A port by number or by name; absent counts as 0."""
    yield from port_name(value, path) if isinstance(value, str) else port(value or 0, path)


def user_id(holder: Obj, path: str, *fields: str) -> Found:
    """Numbers of users and groups."""
    for field in fields:
        if holder.get(field) is not None:
            yield from between(holder[field], f"{path}.{field}", 0, _LARGEST_ID)


def address(value: str, path: str) -> Found:
    """An IP address of either family."""
    try:
        ipaddress.ip_address(value)
    except ValueError:
        yield invalid_value(path, value, _IP)


def cidr(value: str, path: str) -> Found:
    """A network such as 10.0.0.0/8; bits behind its mask are ignored."""
    try:
        ipaddress.ip_network(value if "/" in value else "", strict=False)
    except ValueError:
        yield invalid_value(path, value, _CIDR)


def ordinary_address(value: str, path: str, *, loopback: bool = False) -> Found:
    """An address that other machines can be reached by; `loopback`: one's own will do."""
    try:
        found = ipaddress.ip_address(value)
    except ValueError:
        yield invalid_value(path, value, "must be a valid IP address")
        return
    if found.is_unspecified:
        yield invalid_value(path, value, f"may not be unspecified ({value})")
    elif found.is_loopback and not loopback:
        yield invalid_value(path, value, "may not be in the loopback range (127.0.0.0/8, ::1/128)")
    elif found.is_link_local:
        yield invalid_value(path, value, "may not be in the link-local range (169.254.0.0/16, fe80::/10)")
    elif found in ipaddress.ip_network("224.0.0.0/24"):
        yield invalid_value(path, value, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")


def inside(value: str, path: str) -> Found:
    """A path below a directory: relative, and never up."""
    if value.startswith("/"):
        yield invalid_value(path, value, "must be a relative path")
    yield from no_way_up(value, path)


def no_way_up(value: str, path: str) -> Found:
    """A path without `..`."""
    if ".." in value.split("/"):
        yield invalid_value(path, value, "must not contain '..'")


def local_path(value: str, path: str) -> Found:
    """A file in a volume: inside it, and not named as the kubelet names its own."""
    yield from inside(value, path)
    if value.startswith("..") and not value.startswith("../"):
        yield invalid_value(path, value, "must not start with '..'")


def mode(holder: Obj, path: str, field: str = "defaultMode") -> Found:
    """Permission bits."""
    if not 0 <= holder.get(field, 0) <= 0o777:
        yield invalid_value(
            f"{path}.{field}", holder[field], "must be a number between 0 and 0777 (octal), both inclusive"
        )


def count_or_percent(value: Any, path: str) -> Found:
    """A number of pods, or a percentage of them."""
    if isinstance(value, int):
        if value < 0:
            yield invalid_value(path, value, NEGATIVE)
    elif not _PERCENT.fullmatch(value):
        yield invalid_value(path, value, "must be an integer or percentage (e.g '5%%')")


def at_most_all(value: Any, path: str) -> Found:
    """A percentage of at most 100."""
    if isinstance(value, str) and _PERCENT.fullmatch(value) and int(value[:-1]) > 100:
        yield invalid_value(path, value, "must not be greater than 100%")


def is_zero(value: Any) -> bool:
    """Whether a number or percentage is none at all."""
    return value in {0, None} or (isinstance(value, str) and value.rstrip("%").lstrip("0") == "")


def label_selector(given: Obj | None, path: str) -> Found:
    """A label selector's keys, values and operators."""
    if given is None:
        return
    yield from names.labels(given.get("matchLabels") or {}, f"{path}.matchLabels")
    for index, term in enumerate(given.get("matchExpressions") or ()):
        where = f"{path}.matchExpressions[{index}]"
        yield from _requirement(term, where)
        yield from qualified(term.get("key", ""), f"{where}.key")
        for number, value in enumerate(term.get("values") or ()):
            yield from reason(names.label_value(value), f"{where}.values[{number}]", value)


def _requirement(term: Obj, path: str) -> Found:
    match term.get("operator", ""):
        case "In" | "NotIn":
            if not term.get("values"):
                yield required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'")
        case "Exists" | "DoesNotExist":
            if term.get("values"):
                why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                yield forbidden_field(f"{path}.values", why)
        case other:
            yield invalid_value(f"{path}.operator", other, "not a valid selector operator")


def quantity(value: str, path: str, *, whole: bool = False) -> Found:
    """An amount of a resource."""
    amount = quantities.parse(value)
    if amount < 0:
        yield invalid_value(path, value, NEGATIVE)
    if whole and amount.denominator != 1:
        yield invalid_value(path, Shown(f'"{value}"'), "must be an integer")


def immutable(obj: Obj, before: Obj, path: str, *fields: str) -> Found:
    """Fields of two specs that must be alike."""
    for field in fields:
        if obj.get(field) != before.get(field):
            yield invalid_value(f"{path}{field}", obj.get(field), IMMUTABLE)


def only_one(source: Obj, path: str, kinds: Iterable[str], what: str) -> Iterator[FieldError | str]:
    """Which of several exclusive fields is set: its name comes out, and an error for every further one."""
    found = ""
    for kind in kinds:
        if source.get(kind) is None:
            continue
        if found:
            yield forbidden_field(f"{path}.{kind}", f"may not specify more than 1 {what} type")
        else:
            yield kind
            found = kind
    if not found:
        yield required(path, f"must specify a {what} type")
