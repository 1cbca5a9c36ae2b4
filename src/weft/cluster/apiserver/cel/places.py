"""URLs, addresses and networks in CEL (`apiserver/pkg/cel/library/urls.go`, `ip.go`, `cidr.go`)."""

from collections.abc import Callable
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_interface,
    ip_network,
)
from typing import Any
from urllib.parse import SplitResult, parse_qs, quote, unquote, urlsplit

from weft.cluster.apiserver.cel.signatures import CIDR, IP, URL, Box, Signature, box, content, function, method

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def _split(text: str) -> SplitResult:
    """An absolute URL or path, as Go's `url.ParseRequestURI` wants it."""
    try:
        found = urlsplit(text)
        found.port  # noqa: B018 - reading it is what checks it
    except ValueError as error:
        raise ValueError(f"URL parse error during conversion from string: {error}") from error
    if any(ord(char) < 32 or ord(char) == 127 or char == " " for char in text) or not (
        found.scheme or text.startswith("/")
    ):
        raise ValueError(f'URL parse error during conversion from string: parse "{text}": invalid URI for request')
    return found


def _url(text: str) -> Box:
    _split(text)
    return box(URL, text)


def _host(value: Box) -> str:
    return _split(content(value)).netloc.rpartition("@")[2]


def _hostname(value: Box) -> str:
    host = _host(value)
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]


def _port(value: Box) -> str:
    port = _split(content(value)).port
    return "" if port is None else str(port)


def _address(text: str) -> Address:
    if "%" in text:
        raise ValueError(f'IP Address "{text}" parse error during conversion from string: zones are not allowed')
    try:
        found = ip_address(text)
    except ValueError:
        why = f"IP Address {text!r} parse error during conversion from string: unable to parse IP"
        raise ValueError(why) from None
    if isinstance(found, IPv6Address) and found.ipv4_mapped:
        raise ValueError(f"IPv4-mapped IPv6 address {text!r} is not allowed")
    return found


def _network(text: str) -> Any:
    if "/" not in text or not text.partition("/")[2].isdigit():
        raise ValueError(f"network address parse error during conversion from string: no '/' in {text!r}")
    _address(text.partition("/")[0])
    return ip_interface(text)


def _is(read: Callable[[str], Any]) -> Callable[[str], bool]:
    def judge(text: str) -> bool:
        try:
            read(text)
        except ValueError:
            return False
        return True

    return judge


def _asked(question: Callable[[Address], bool]) -> Callable[[Box], bool]:
    return lambda value: question(ip_address(content(value)))


def _linked(multicast: bool) -> Callable[[Address], bool]:  # noqa: FBT001 - one of two sorts
    local = (ip_network("224.0.0.0/24"), ip_network("ff02::/16"))

    def judge(address: Address) -> bool:
        if multicast:
            return any(address.version == network.version and address in network for network in local)
        return address.is_link_local

    return judge


def _global(address: Address) -> bool:
    """Go's `IsGlobalUnicast`, for which private addresses count."""
    return not (
        address.is_unspecified
        or address.is_loopback
        or address.is_multicast
        or address.is_link_local
        or str(address) == "255.255.255.255"
    )


def _whole(value: Box) -> Network:
    return ip_interface(content(value)).network


def _holds_address(value: Box, other: Box | str) -> bool:
    address = _address(other if isinstance(other, str) else content(other))
    network = _whole(value)
    return bool(address.version == network.version and address in network)


def _holds_network(value: Box, other: Box | str) -> bool:
    outer, inner = _whole(value), _network(other if isinstance(other, str) else content(other)).network
    return bool(outer.version == inner.version and inner.subnet_of(outer))


def _canonical(text: str) -> bool:
    return str(_address(text)) == text


SIGNATURES: tuple[Signature, ...] = (
    function("url", "string", URL, _url),
    function("isURL", "string", "bool", _is(_split)),
    method("getScheme", URL, "string", lambda value: _split(content(value)).scheme),
    method("getHost", URL, "string", _host),
    method("getHostname", URL, "string", _hostname),
    method("getPort", URL, "string", _port),
    method(
        "getEscapedPath",
        URL,
        "string",
        lambda value: quote(unquote(_split(content(value)).path), safe="/:@!$&'()*+,;=~"),
    ),
    method("getQuery", URL, "map", lambda value: parse_qs(_split(content(value)).query, keep_blank_values=True)),
    function("ip", "string", IP, lambda text: box(IP, str(_address(text)))),
    function("isIP", "string", "bool", _is(_address)),
    function("ip.isCanonical", "string", "bool", _canonical),
    method("family", IP, "int", lambda value: ip_address(content(value)).version),
    method("isUnspecified", IP, "bool", _asked(lambda address: address.is_unspecified)),
    method("isLoopback", IP, "bool", _asked(lambda address: address.is_loopback)),
    method("isLinkLocalMulticast", IP, "bool", _asked(_linked(multicast=True))),
    method("isLinkLocalUnicast", IP, "bool", _asked(_linked(multicast=False))),
    method("isGlobalUnicast", IP, "bool", _asked(_global)),
    function("cidr", "string", CIDR, lambda text: box(CIDR, str(_network(text)))),
    function("isCIDR", "string", "bool", _is(_network)),
    method("containsIP", f"{CIDR} {IP}", "bool", _holds_address),
    method("containsIP", f"{CIDR} string", "bool", _holds_address),
    method("containsCIDR", f"{CIDR} {CIDR}", "bool", _holds_network),
    method("containsCIDR", f"{CIDR} string", "bool", _holds_network),
    method("ip", CIDR, IP, lambda value: box(IP, str(ip_interface(content(value)).ip))),
    method("masked", CIDR, CIDR, lambda value: box(CIDR, str(_whole(value)))),
    method("prefixLength", CIDR, "int", lambda value: _whole(value).prefixlen),
    function("string", IP, "string", content),
    function("string", CIDR, "string", content),
)
