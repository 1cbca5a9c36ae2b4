"""Which virtual host and which route take a request, as Envoy chooses them."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from weft.base.regex import fits
from weft.xds import claims


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """What a client shows of itself. `signed_by` are the SDS names of the roots that vouch for it.

    `names` are its subject alternative names with their kinds: DNS, URI, EMAIL or IP. `key` is the SHA-256 of its
    public key in base64, `digest` that of the whole in hexadecimal digits.
    """

    signed_by: tuple[str, ...] = ()
    names: tuple[tuple[str, str], ...] = ()
    key: str = ""
    digest: str = ""
    revoked: bool = False


@dataclass(frozen=True, slots=True)
class ProviderAnswer:
    """What a provider of ext_authz says: 200 allows; 0: it cannot be asked. Header names are lower-case."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Request:
    """A connection to `address:port` and, if `http`, the request on it. Header names are lower-case.

    `host` is the Host header, with or without a port. `path` may carry a query. With `tls`, the client speaks TLS
    and asks for `server_name`; `protocols` are those that it offers, by ALPN. `source` is its address. Of its
    `cipher_suites` (for TLS 1.2 and older) and `curves`, none listed stands for all.

    Tokens are in `headers` and `path`, as they are. They are verified as if it were `time`; None: at whatever time
    they hold. `claims` are those of a token that was found valid, JSON. `inbound`: the request comes to the
    pod, not from the application. `answers` are those of providers, by their clusters; others allow all.
    """

    address: str
    port: int
    host: str = ""
    path: str = "/"
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    http: bool = True
    tls: bool = False
    server_name: str = ""
    protocols: tuple[str, ...] = ()
    source: str = "127.0.0.1"
    versions: tuple[str, ...] = ("TLSv1_2", "TLSv1_3")
    cipher_suites: tuple[str, ...] = ()
    curves: tuple[str, ...] = ()
    certificate: ClientCertificate | None = None
    time: datetime | None = None
    inbound: bool = False
    claims: str = ""
    answers: tuple[tuple[str, ProviderAnswer], ...] = ()

    @property
    def scheme(self) -> str:
        """By which scheme a proxy that ends the connection sees the request."""
        return "https" if self.tls else "http"


def virtual_host(config: Any, authority: str) -> Any | None:
    """The virtual host of a Host header: its whole name first, then the longest wildcard."""
    host = authority.lower()
    if config.ignore_port_in_host_matching:
        host = re.sub(r":\d+$", "", host)
    ranked = [
        (rank, virtual_host)
        for virtual_host in config.virtual_hosts
        for domain in virtual_host.domains
        if (rank := _domain_rank(domain.lower(), host)) is not None
    ]
    return max(ranked, key=lambda each: each[0])[1] if ranked else None


def _domain_rank(domain: str, host: str) -> tuple[int, int] | None:
    if domain == host:
        return 3, len(domain)
    if domain == "*":
        return 0, 1
    if domain.startswith("*") and host.endswith(domain[1:]) and len(host) >= len(domain):
        return 2, len(domain)
    if domain.endswith("*") and host.startswith(domain[:-1]) and len(host) >= len(domain):
        return 1, len(domain)
    return None


def matches(match: Any, request: Request) -> bool:
    """Whether a RouteMatch takes the request."""
    headers = {
        ":method": request.method,
        ":authority": request.host,
        ":scheme": request.scheme,
        **dict(request.headers),
    }
    _, _, query = request.path.partition("?")
    parameters = dict(pair.partition("=")[::2] for pair in query.split("&") if pair)
    return (
        _path_matches(match, request.path.partition("?")[0])
        and all(header_matches(each, headers.get(each.name)) for each in match.headers)
        and all(_parameter_matches(each, parameters.get(each.name)) for each in match.query_parameters)
        and all(_metadata_matches(each, request) for each in match.dynamic_metadata)
    )


def _path_matches(match: Any, path: str) -> bool:
    kind = match.WhichOneof("path_specifier")
    if kind == "safe_regex":
        return fits(match.safe_regex.regex, path)
    wanted: str = getattr(match, kind)
    if match.HasField("case_sensitive") and not match.case_sensitive.value:
        wanted, path = wanted.lower(), path.lower()
    return bool(path == wanted) if kind == "path" else path.startswith(wanted)


def header_matches(matcher: Any, value: str | None) -> bool:
    """Whether a HeaderMatcher takes a header's value, None where there is none."""
    if matcher.HasField("present_match"):
        return bool(((value is not None) == matcher.present_match) != matcher.invert_match)
    if value is None:
        if not matcher.treat_missing_header_as_empty:
            return False
        value = ""
    return bool(string_matches(matcher.string_match, value) != matcher.invert_match)


def _metadata_matches(matcher: Any, request: Request) -> bool:
    value: Any = {claims.METADATA: {claims.PAYLOAD: json.loads(request.claims or "null")}}.get(matcher.filter)
    for segment in matcher.path:
        value = value.get(segment.key) if isinstance(value, Mapping) else None
    return bool(_value_matches(matcher.value, value) != matcher.invert)


def _value_matches(matcher: Any, value: Any) -> bool:
    match matcher.WhichOneof("match_pattern"):
        case "present_match":
            return bool((value is not None) == matcher.present_match)
        case "string_match":
            return isinstance(value, str) and string_matches(matcher.string_match, value)
        case "list_match":
            return isinstance(value, list) and any(_value_matches(matcher.list_match.one_of, one) for one in value)
        case _:
            return any(_value_matches(each, value) for each in matcher.or_match.value_matchers)


def _parameter_matches(matcher: Any, value: str | None) -> bool:
    if matcher.HasField("present_match"):
        return bool((value is not None) == matcher.present_match)
    return value is not None and string_matches(matcher.string_match, value)


def string_matches(matcher: Any, value: str) -> bool:
    """Whether a StringMatcher takes the whole of a text."""
    kind = matcher.WhichOneof("match_pattern")
    if kind == "safe_regex":
        return fits(matcher.safe_regex.regex, value)
    wanted: str = getattr(matcher, kind)
    if matcher.ignore_case:
        wanted, value = wanted.lower(), value.lower()
    if kind == "suffix":
        return bool(value.endswith(wanted))
    return bool(value.startswith(wanted) if kind == "prefix" else value == wanted)
