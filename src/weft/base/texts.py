"""Checks of values that users write as text: each gives the value in its usual spelling.

They raise ValueError with what follows the quoted value in a message: what is wrong, and what would be right.
"""

import re
from collections.abc import Callable
from ipaddress import ip_network
from typing import Final

Check = Callable[[str], str]

EVERYTHING: Final = "*"
_LONGEST_INTERFACE: Final = 15


def one_of(*allowed: str) -> Check:
    """One of a few words."""

    def check(value: str) -> str:
        if value not in allowed:
            raise ValueError(f"is not supported. Use {' or '.join(allowed)}.")
        return value

    return check


def matching(pattern: re.Pattern[str], example: str) -> Check:
    """A value of a form."""

    def check(value: str) -> str:
        if not pattern.fullmatch(value):
            raise ValueError(f"is malformed. Write it as {example}.")
        return value

    return check


def list_of(check: Check) -> Check:
    """Values by comma; none of them is a list too."""

    def check_list(value: str) -> str:
        return ",".join(check(part.strip()) for part in value.split(",") if part.strip())

    return check_list


def or_all(check: Check) -> Check:
    """That, or `*`."""
    return lambda value: value if value == EVERYTHING else check(value)


def port(value: str) -> str:
    """A port's number.

    >>> port("8080")
    '8080'
    """
    if not number(value) or not 0 < int(value) < 65536:
        raise ValueError("is not a port. Write numbers from 1 to 65535.")
    return value


def address_range(value: str) -> str:
    """A range of IPv4 or IPv6; a single address is one too."""
    try:
        ip_network(value, strict=False)
    except ValueError as error:
        raise ValueError("is not a list of address ranges. Write them as 10.1.0.0/16,10.2.0.0/16.") from error
    return value


def interface(value: str) -> str:
    """The name of a network interface, as the kernel takes it."""
    if not value or len(value.encode()) > _LONGEST_INTERFACE or re.search(r"[\s/,]", value):
        raise ValueError("is malformed. Write it as eth1 or net1.")
    return value


def boolean(value: str) -> str:
    """Yes or no."""
    if value not in {"true", "false"}:
        raise ValueError('is neither "true" nor "false". Set one of them.')
    return value


def count(value: str) -> str:
    """A whole number."""
    if not number(value):
        raise ValueError("is not a whole number. Write 0, 1, 2, …")
    return value


def number(value: str) -> bool:
    """Whether these are digits of ASCII, and not too many of them for int()."""
    return value.isascii() and value.isdecimal() and len(value) < 20


ports: Final = list_of(port)
ranges: Final = list_of(address_range)
interfaces: Final = list_of(interface)
