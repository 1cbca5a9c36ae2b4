"""Which addresses a pod or namespace asks for: the annotations `ipam.spidernet.io/*`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

import msgspec

from weft.api.underlay_shape import Route
from weft.underlay.addresses import NotAddressesError, parse_address, parse_network

PREFIX: Final = "ipam.spidernet.io/"
SUBNET: Final = f"{PREFIX}subnet"
SUBNETS: Final = f"{PREFIX}subnets"
IPPOOL: Final = f"{PREFIX}ippool"
IPPOOLS: Final = f"{PREFIX}ippools"
ROUTES: Final = f"{PREFIX}routes"
DEFAULT_IPV4: Final = f"{PREFIX}default-ipv4-ippool"
DEFAULT_IPV6: Final = f"{PREFIX}default-ipv6-ippool"

_EXAMPLES: Final[Mapping[str, str]] = {
    SUBNET: '{"ipv4":["subnet-1"]}',
    SUBNETS: '[{"interface":"net1","ipv4":["subnet-1"]}]',
    IPPOOL: '{"ipv4":["pool-1"],"ipv6":["pool-2"]}',
    IPPOOLS: '[{"interface":"net1","ipv4":["pool-1"],"ipv6":["pool-2"]}]',
    ROUTES: '[{"dst":"10.7.0.0/16","gw":"10.6.0.1"}]',
    DEFAULT_IPV4: '["pool-1","pool-2"]',
    DEFAULT_IPV6: '["pool-1","pool-2"]',
}

T = TypeVar("T")


class InvalidAnnotationError(ValueError):
    """An annotation that cannot be followed; the message names it and shows its form."""


class Names(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Names of pools (or subnets) in the order to try them; without an interface, by the order of interfaces."""

    interface: str = ""
    ipv4: tuple[str, ...] | None = None
    ipv6: tuple[str, ...] | None = None
    cleangateway: bool = False


@dataclass(frozen=True, slots=True)
class Named:
    """Names, and the annotation that has them."""

    annotation: str
    names: Names


def named(annotations: Mapping[str, str], interface: str, number: int) -> Named | None:
    """What a pod's annotations say of one interface, the `number`th (from 0) that asks; None where nothing does.

    The first of subnets, subnet, ippools and ippool wins. One without a list is for
    every interface. Where a list has the interface nowhere, the annotation is silent about it.
    """
    for key in (SUBNETS, SUBNET, IPPOOLS, IPPOOL):
        if key not in annotations:
            continue
        if key in {SUBNETS, IPPOOLS}:
            found = _of_interface(_list(annotations, key), interface, number)
        else:
            found = _read(annotations, key, Names)
            _check(key, found)
        if found is not None:
            return Named(key, found)
    return None


def asks_for_subnet(annotations: Mapping[str, str]) -> bool:
    """Whether the pod's pools are made of subnets."""
    return SUBNETS in annotations or SUBNET in annotations


def without_subnets(annotations: Mapping[str, str]) -> Mapping[str, str]:
    """The same where subnets are not served."""
    return {key: value for key, value in annotations.items() if key not in {SUBNET, SUBNETS}}


def defaults(annotations: Mapping[str, str]) -> Names:
    """The pools that a namespace gives to pods which name none."""
    return Names(
        ipv4=_read(annotations, DEFAULT_IPV4, tuple[str, ...]) if DEFAULT_IPV4 in annotations else None,
        ipv6=_read(annotations, DEFAULT_IPV6, tuple[str, ...]) if DEFAULT_IPV6 in annotations else None,
    )


def routes(annotations: Mapping[str, str]) -> tuple[Route, ...]:
    """Routes that a pod wants besides those of its pools."""
    if ROUTES not in annotations:
        return ()
    found = _read(annotations, ROUTES, tuple[Route, ...])
    for each in found:
        try:
            versions = parse_network(each.dst).version, parse_address(each.gw).version
        except NotAddressesError as error:
            raise _invalid(ROUTES, str(error)) from None
        if versions[0] != versions[1]:
            raise _invalid(ROUTES, f"{each.dst} and {each.gw} are of two IP versions")
    return found


def _list(annotations: Mapping[str, str], key: str) -> tuple[Names, ...]:
    found = _read(annotations, key, tuple[Names, ...])
    if not found:
        raise _invalid(key, "it is empty")
    for each in found:
        _check(key, each)
    interfaces = [each.interface for each in found if each.interface]
    twice = next((each for each in interfaces if interfaces.count(each) > 1), None)
    if twice:
        raise _invalid(key, f"{twice} is in it twice")
    return found


def _of_interface(listed: tuple[Names, ...], interface: str, number: int) -> Names | None:
    for each in listed:
        if each.interface == interface:
            return each
    unnamed = [each for each in listed if not each.interface]
    # interfaces that are named take no place among those that are not; they come after each other
    return unnamed[number] if number < len(unnamed) else None


def _check(key: str, names: Names) -> None:
    listed = (*(names.ipv4 or ()), *(names.ipv6 or ()))
    if not listed:
        raise _invalid(key, f"it names nothing{f' for {names.interface}' if names.interface else ''}")
    if not all(listed):
        raise _invalid(key, "a name in it is empty")


def _read(annotations: Mapping[str, str], key: str, shape: type[T]) -> T:
    try:
        return msgspec.json.decode(annotations[key], type=shape)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
        raise _invalid(key, str(error)) from None


def _invalid(key: str, why: str) -> InvalidAnnotationError:
    return InvalidAnnotationError(f"annotation {key}: {why}. Write it like this: {_EXAMPLES[key]}")
