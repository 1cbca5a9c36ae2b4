"""How one proxy handles what passes through it, where its settings make it differ from the mesh's others."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

from weft.api.proxy_settings import ConnectionSettings, ProxyHeaders
from weft.api.proxy_settings_checks import read
from weft.api.report import Report
from weft.base.durations import parse_duration
from weft.base.problem import At

_UNDEFINED: Final = "UNDEFINED"


@dataclass(frozen=True, slots=True)
class HeaderTraits:
    """Headers that the proxy adds. `server` None leaves it to the side, "" passes on what the application said.

    `client_cert` is Envoy's word for what becomes of x-forwarded-client-cert, "" for the usual; `cert_details`
    name what it tells, None for the usual.
    """

    server: str | None = None
    client_cert: str = ""
    cert_details: tuple[str, ...] | None = None
    request_id: bool = True
    attempt_count: bool = True
    debug: bool = True
    keeps_case: bool = False
    forwarded_host: bool = False
    forwarded_port: bool = False


@dataclass(frozen=True, slots=True)
class ConnectionTraits:
    """Limits of clients' connections; None leaves one to Envoy. Buffers and windows are in bytes."""

    listener_buffer: int | None = None
    cluster_buffer: int | None = None
    idle_timeout: timedelta | None = None
    max_connection_duration: timedelta | None = None
    max_stream_duration: timedelta | None = None
    stream_idle_timeout: timedelta | None = None
    request_timeout: timedelta | None = None
    request_headers_timeout: timedelta | None = None
    drain_timeout: timedelta | None = None
    max_concurrent_streams: int | None = None
    stream_window: int | None = None
    connection_window: int | None = None
    underscores: str = ""
    merge_slashes: bool | None = None
    escaped_slashes: str = ""


@dataclass(frozen=True, slots=True)
class IdentityFiles:
    """Paths in the proxy's pod of what it shows, and verifies others with; "" for what the mesh gives."""

    chain: str = ""
    key: str = ""
    roots: str = ""


NO_FILES: Final = IdentityFiles()


@dataclass(frozen=True, slots=True)
class ProxyTraits:
    """All of it. `as_client` and `as_server` are for the mesh's own TLS.

    `transparent`: inbound connections come by TPROXY, and go on to the application with their sender's address.
    """

    headers: HeaderTraits = HeaderTraits()
    connections: ConnectionTraits = ConnectionTraits()
    as_client: IdentityFiles = NO_FILES
    as_server: IdentityFiles = NO_FILES
    transparent: bool = False


USUAL: Final = ProxyTraits()

_EDGE: Final = ConnectionTraits(
    listener_buffer=32768,
    cluster_buffer=32768,
    idle_timeout=timedelta(hours=1),
    stream_idle_timeout=timedelta(minutes=5),
    request_timeout=timedelta(minutes=5),
    request_headers_timeout=timedelta(minutes=1),
    max_concurrent_streams=100,
    stream_window=65536,
    connection_window=1048576,
    underscores="REJECT_REQUEST",
    merge_slashes=True,
    escaped_slashes="UNESCAPE_AND_REDIRECT",
)
"""Envoy's recommendations for proxies at the edge (best_practices/edge)."""


def identity_files(metadata: Mapping[str, Any], side: str) -> IdentityFiles:
    """Those that node metadata names for a side, `CLIENT` or `SERVER`. A chain without its key is none."""

    def named(part: str) -> str:
        return str(metadata.get(f"TLS_{side}_{part}") or "")

    chain, key = named("CERT_CHAIN"), named("KEY")
    return IdentityFiles(*((chain, key) if chain and key else ("", "")), named("ROOT_CERT"))


def traits(written: Mapping[str, Any], *, at_edge: bool) -> ProxyTraits:
    """What a proxy's settings (PROXY_CONFIG, as JSON) mean; the usual where they cannot be read.

    The pod was refused when it was made with such settings; a proxy that comes with them nevertheless is served.
    """
    settings, _ = read(written, Report(At()))
    if settings is None:
        return USUAL
    headers = _headers(settings.proxy_headers) if settings.proxy_headers else HeaderTraits()
    return ProxyTraits(
        headers,
        _connections(settings.connection_settings, at_edge=at_edge),
        transparent=settings.interception_mode == "TPROXY" and not at_edge,
    )


def _headers(written: ProxyHeaders) -> HeaderTraits:
    server, details = written.server, written.set_current_client_cert_details
    named = ("subject", "cert", "chain", "dns", "uri")
    return HeaderTraits(
        server=None if server is None else "" if server.disabled else server.value or None,
        client_cert=_defined(written.forwarded_client_cert),
        cert_details=None if details is None else tuple(each for each in named if getattr(details, each)),
        request_id=not (written.request_id and written.request_id.disabled),
        attempt_count=not (written.attempt_count and written.attempt_count.disabled),
        debug=not (written.envoy_debug_headers and written.envoy_debug_headers.disabled),
        keeps_case=bool(written.preserve_http1_header_case),
        forwarded_host=bool(written.x_forwarded_host and written.x_forwarded_host.enabled),
        forwarded_port=bool(written.x_forwarded_port and written.x_forwarded_port.enabled),
    )


def _connections(written: ConnectionSettings | None, *, at_edge: bool) -> ConnectionTraits:
    if written is None:
        return ConnectionTraits()
    base = _EDGE if at_edge and written.profile == "EDGE" else ConnectionTraits()
    said: dict[str, Any] = {
        "listener_buffer": written.listener_per_connection_buffer_limit_bytes,
        "cluster_buffer": written.cluster_per_connection_buffer_limit_bytes,
        "idle_timeout": _duration(written.http_idle_timeout),
        "max_connection_duration": _duration(written.http_max_connection_duration),
        "max_stream_duration": _duration(written.http_max_stream_duration),
        "stream_idle_timeout": _duration(written.http_stream_idle_timeout),
        "request_timeout": _duration(written.http_request_timeout),
        "request_headers_timeout": _duration(written.http_request_headers_timeout),
        "drain_timeout": _duration(written.http_drain_timeout),
        "max_concurrent_streams": written.http_max_concurrent_streams,
        "stream_window": written.http2_initial_stream_window_size,
        "connection_window": written.http2_initial_connection_window_size,
        "underscores": _defined(written.http_headers_with_underscores_action) or None,
        "merge_slashes": written.http_merge_slashes,
        "escaped_slashes": _defined(written.http_path_with_escaped_slashes_action) or None,
    }
    return replace(base, **{name: value for name, value in said.items() if value is not None})


def _defined(word: str | None) -> str:
    """An enumeration's word; "" for the one that leaves it open."""
    if not word or word == _UNDEFINED or word.endswith("_UNSPECIFIED"):
        return ""
    return word.removeprefix("HEADERS_WITH_UNDERSCORES_")


def _duration(text: str | None) -> timedelta | None:
    return None if text is None else parse_duration(text)
