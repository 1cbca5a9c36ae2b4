"""Resource quantities in the canonical form that Kubernetes stores (`apimachinery/pkg/api/resource`)."""

import re
from collections.abc import Iterable
from fractions import Fraction

# an exponent of more digits would be a number that fills the memory
_FORM = re.compile(
    r"^(?P<number>[+-]?(?:\d+\.?\d*|\.\d+))(?P<suffix>[numkMGTPE]|[KMGTPE]i|[eE][+-]?\d{1,3})?$", re.ASCII
)
_SHAPE = re.compile(r"(?P<number>[+-]?[0-9.]*)(?P<suffix>[eEinumkKMGTP]*)[-+]?[0-9]*", re.ASCII)
_DECIMAL = {"n": -3, "u": -2, "m": -1, "": 0, "k": 1, "M": 2, "G": 3, "T": 4, "P": 5, "E": 6}
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_THOUSAND, _KIBI = 1000, 1024
_MOST = Fraction(2**63 - 1)
"""Larger quantities are this one, as in Kubernetes."""
_LONGEST = 1000


def _why(text: str) -> str:
    shape = _SHAPE.fullmatch(text)
    if not text or shape is None or shape["number"].count(".") > 1:
        return "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
    if not any(letter.isdigit() for letter in shape["number"]):
        return "unable to parse numeric part of quantity"
    return "unable to parse quantity's suffix"


def _value(text: str) -> tuple[Fraction, str]:
    found = _FORM.match(text) if len(text) <= _LONGEST else None
    if not found:
        raise ValueError(_why(text))
    number, suffix = Fraction(found["number"]), found["suffix"] or ""
    if suffix in _BINARY:
        return number * _KIBI ** _BINARY[suffix], suffix
    if suffix in _DECIMAL:
        return number * Fraction(_THOUSAND) ** _DECIMAL[suffix], suffix
    return number * Fraction(10) ** int(suffix[1:]), suffix


def parse(text: str) -> Fraction:
    """The exact number that `500m` or `1Gi` stands for; ValueError where it is no quantity."""
    return _value(text)[0]


def canonical(text: str) -> str:
    """`0.5` as `500m`, `1024Mi` as `1Gi`, `2.0` as `2`; ValueError where it is no quantity."""
    value, suffix = _value(text)
    return shown(max(-_MOST, min(value, _MOST)), binary=suffix in _BINARY)


def total(texts: Iterable[str]) -> str:
    """The canonical sum of quantities of one sort, in the suffixes of the first; ValueError where one is none."""
    values = [_value(text) for text in texts]
    whole = sum((value for value, _ in values), Fraction(0))
    if values and values[0][1] in _BINARY:
        return _largest(whole, _BINARY, _KIBI) or _decimal(whole)
    return _decimal(whole)


def _decimal(value: Fraction) -> str:
    rounded = Fraction(-((-value * 10**9) // 1), 10**9)  # finer than nano is rounded up, as Kubernetes does
    return _largest(rounded, _DECIMAL, _THOUSAND)


def _largest(value: Fraction, suffixes: dict[str, int], base: int) -> str:
    for suffix, power in sorted(suffixes.items(), key=lambda item: -item[1]):
        scaled = value / Fraction(base) ** power
        if scaled.denominator == 1:
            return f"{scaled.numerator}{suffix}"
    return str(value.numerator) if value.denominator == 1 else ""


def shown(value: Fraction, *, binary: bool) -> str:
    """A number as a quantity, with binary suffixes where asked for and possible."""
    if value == 0:
        return "0"
    if binary and abs(value) >= _KIBI:
        return _largest(value, _BINARY, _KIBI) or _decimal(value)
    return _decimal(value)
