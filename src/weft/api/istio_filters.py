"""Filters that only Istio's build of Envoy has, and what does their work in the stock one (`docs/reference`)."""

from collections.abc import Mapping
from typing import Any, Final

_BY_PURPOSE: Final = (
    (
        ("alpn",),
        "Sidecars have it already, as envoy.filters.http.set_filter_state on envoy.network.application_protocols.",
    ),
    (
        ("stats", "stackdriver"),
        "Use an access log of type envoy.access_loggers.stats, whose tags are format strings.",
    ),
    (
        ("metadata_exchange", "metadataexchange", "peer_metadata", "workload_metadata", "connect_baggage"),
        "Send a header and read it with envoy.filters.http.header_to_metadata; over TCP, the peer's SAN must do.",
    ),
    (
        ("authn",),
        "Use envoy.filters.http.jwt_authn for tokens and envoy.filters.http.rbac for peers' certificates.",
    ),
    (
        ("connect_authority", "set_dst_address", "original_dst"),
        "Use envoy.filters.http.set_filter_state on envoy.filters.listener.original_dst.local_ip.",
    ),
)
_OTHERWISE: Final = "Use envoy.filters.http.lua or another stock filter in its place."
_TYPES: Final = frozenset({"stats.PluginConfig", "envoy.tcp.metadataexchange.config.MetadataExchange"})
_NAMES: Final = frozenset({"envoy.filters.network.metadata_exchange", "istio_authn", "envoy.filters.http.alpn"})


def wasm_replacement(value: Mapping[str, Any]) -> str:
    """What to use in place of a Wasm filter that is compiled into Istio's Envoy (`envoy.wasm.runtime.null`)."""
    found: Any = value
    for key, camel in (("config", "config"), ("vm_config", "vmConfig")):
        found = found.get(key, found.get(camel)) if isinstance(found, Mapping) else None
    if not isinstance(found, Mapping) or found.get("runtime") != "envoy.wasm.runtime.null":
        return ""
    lowered = str(found.get("code")).lower()
    return next((use for words, use in _BY_PURPOSE if any(word in lowered for word in words)), _OTHERWISE)


def stock_replacement(name: str) -> str:
    """What to use in place of a filter, given its name or the name of its message; empty for one that is stock."""
    if not (name.startswith(("istio.", "io.istio.")) or name in _TYPES | _NAMES):
        return ""
    lowered = name.lower()
    return next((use for words, use in _BY_PURPOSE if any(word in lowered for word in words)), _OTHERWISE)
