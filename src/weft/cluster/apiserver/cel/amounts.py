"""Quantities and semantic versions in CEL (`apiserver/pkg/cel/library/quantity.go`, `semverlib.go`)."""

import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from weft.cluster.apiserver import quantities
from weft.cluster.apiserver.cel.signatures import QUANTITY, SEMVER, Box, Signature, box, content, function, method

_LARGEST = 2**63
_SEMVER = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)"
    r"(?:-((?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(?:\.(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*))?"
    r"(?:\+[0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*)?",
    re.ASCII,
)


def _quantity(text: str) -> Box:
    return box(QUANTITY, quantities.canonical(text))


def _is_quantity(text: str) -> bool:
    try:
        quantities.parse(text)
    except ValueError:
        return False
    return True


def _number(value: Box | int) -> Fraction:
    return Fraction(value) if isinstance(value, int) else quantities.parse(content(value))


def _whole(value: Box) -> int:
    number = _number(value)
    if number.denominator != 1 or not -_LARGEST <= number < _LARGEST:
        raise ValueError("cannot convert value to integer")
    return int(number)


def _is_whole(value: Box) -> bool:
    number = _number(value)
    return number.denominator == 1 and -_LARGEST <= number < _LARGEST


def _sum(one: Box, other: Box | int, sign: int) -> Box:
    total = _number(one) + sign * _number(other)
    binary = str(content(one)).endswith("i")
    text = f"{total.numerator}" if total.denominator == 1 else f"{float(total):.9f}"
    if binary and total.denominator == 1 and total.numerator % 1024 == 0:
        text = f"{total.numerator // 1024}Ki"
    return box(QUANTITY, quantities.canonical(text))


def _version(text: str, normalize: bool = False) -> tuple[Any, ...]:  # noqa: FBT001, FBT002 - CEL passes arguments by place
    if normalize:
        text = _normal(text)
    found = _SEMVER.fullmatch(text)
    if not found:
        raise ValueError(
            "No Major.Minor.Patch elements found" if text.count(".") < 2 else "Invalid character(s) found"
        )
    return (*(int(found[number]) for number in (1, 2, 3)), found[4] or "")


def _normal(text: str) -> str:
    """`v1.2` as `1.2.0`, without leading zeros."""
    head = re.match(r"v?(\d+)(?:\.(\d+))?(?:\.(\d+))?", text)
    if not head:
        return text
    parts = ".".join(str(int(part or 0)) for part in head.groups())
    return parts + text[head.end() :]


def _semver(text: str, normalize: bool = False) -> Box:  # noqa: FBT001, FBT002 - as above
    _version(text, normalize)
    return box(SEMVER, _normal(text) if normalize else text)


def _is_semver(text: str, normalize: bool = False) -> bool:  # noqa: FBT001, FBT002 - as above
    try:
        _version(text, normalize)
    except ValueError:
        return False
    return True


def _rank(version: tuple[Any, ...]) -> tuple[Any, ...]:
    """What versions are ordered by: a pre-release is before its release, numbers before words."""
    before = version[3]
    parts = (
        tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in before.split("."))
        if before
        else ()
    )
    return (*version[:3], not before, parts)


def _compare(one: Box, other: Box) -> int:
    if SEMVER in one:
        left, right = _rank(_version(content(one))), _rank(_version(content(other)))
        return (left > right) - (left < right)
    first, second = _number(one), _number(other)
    return (first > second) - (first < second)


def _sign(value: Box) -> int:
    number = _number(value)
    return (number > 0) - (number < 0)


def _part(index: int) -> Callable[[Box], int]:
    return lambda value: int(_version(content(value))[index])


def _ordered(kind: str) -> tuple[Signature, ...]:
    return (
        method("isGreaterThan", f"{kind} {kind}", "bool", lambda one, other: _compare(one, other) > 0),
        method("isLessThan", f"{kind} {kind}", "bool", lambda one, other: _compare(one, other) < 0),
        method("compareTo", f"{kind} {kind}", "int", _compare),
    )


SIGNATURES: tuple[Signature, ...] = (
    function("quantity", "string", QUANTITY, _quantity),
    function("isQuantity", "string", "bool", _is_quantity),
    method("isInteger", QUANTITY, "bool", _is_whole),
    method("asInteger", QUANTITY, "int", _whole),
    method("asApproximateFloat", QUANTITY, "double", lambda value: float(_number(value))),
    method("sign", QUANTITY, "int", _sign),
    method("add", f"{QUANTITY} {QUANTITY}", QUANTITY, lambda one, other: _sum(one, other, 1)),
    method("add", f"{QUANTITY} int", QUANTITY, lambda one, other: _sum(one, other, 1)),
    method("sub", f"{QUANTITY} {QUANTITY}", QUANTITY, lambda one, other: _sum(one, other, -1)),
    method("sub", f"{QUANTITY} int", QUANTITY, lambda one, other: _sum(one, other, -1)),
    *_ordered(QUANTITY),
    function("semver", "string", SEMVER, _semver),
    function("semver", "string bool", SEMVER, _semver),
    function("isSemver", "string", "bool", _is_semver),
    function("isSemver", "string bool", "bool", _is_semver),
    method("major", SEMVER, "int", _part(0)),
    method("minor", SEMVER, "int", _part(1)),
    method("patch", SEMVER, "int", _part(2)),
    *_ordered(SEMVER),
)
