"""What of a proxy's node metadata decides about its configuration."""

import functools
import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, Final

from weft.base.flags import is_true
from weft.model import proxy_traits, topology
from weft.model.proxy_traits import USUAL, ProxyTraits
from weft.model.services import Labels
from weft.model.views import UNCAPTURED

_OF_TRAITS: Final = frozenset({"connectionSettings", "proxyHeaders", "interceptionMode"})
_OF_IDENTITY: Final = frozenset(
    f"TLS_{side}_{part}" for side in ("CLIENT", "SERVER") for part in ("CERT_CHAIN", "KEY", "ROOT_CERT")
)
_KEPT: Final = ("DNS_AUTO_ALLOCATE", "DNS_CAPTURE", "ENABLE_SELF_DISCOVERY")


def kept(metadata: Mapping[str, Any], asked: Collection[str] = ()) -> Labels:
    """The entries that matter, as text; all others would only keep proxies from sharing.

    `asked` are keys that EnvoyFilters look at.
    """
    kept = {key: _text(metadata[key]) for key in (*_KEPT, *asked) if key in metadata}
    kept |= {key: "true" for key in _KEPT if is_true(kept.get(key, ""))}
    name, value = UNCAPTURED
    if metadata.get(name) == value:
        kept[name] = value
    before = topology.told(metadata.get("PROXY_CONFIG"))
    return tuple(sorted({**kept, **({topology.METADATA: before} if before else {})}.items()))


def _text(value: Any) -> str:
    # injected proxies say "true", others may say it in JSON
    return str(value).lower() if isinstance(value, bool) else str(value)


def traits(metadata: Mapping[str, Any], *, at_edge: bool) -> ProxyTraits:
    """How the proxy handles what passes through it, by the settings that it was started with."""
    config = metadata.get("PROXY_CONFIG")
    if not isinstance(config, Mapping) or _OF_TRAITS.isdisjoint(config):
        found = USUAL
    else:
        # asked at every change of anything: read once
        written = json.dumps({key: config[key] for key in sorted(_OF_TRAITS & config.keys())})
        found = _read(written, at_edge=at_edge)
    if _OF_IDENTITY.isdisjoint(metadata):
        return found
    client, server = (proxy_traits.identity_files(metadata, side) for side in ("CLIENT", "SERVER"))
    return replace(found, as_client=client, as_server=server)


@functools.lru_cache(maxsize=1024)
def _read(config: str, *, at_edge: bool) -> ProxyTraits:
    return proxy_traits.traits(json.loads(config), at_edge=at_edge)
