"""What of a proxy's node metadata decides about its configuration."""

import functools
import json
from collections.abc import Collection, Mapping
from typing import Any, Final

from weft.base.flags import is_true
from weft.model import proxy_traits, topology
from weft.model.proxy_traits import USUAL, ProxyTraits
from weft.model.services import Labels
from weft.model.views import UNCAPTURED

_OF_TRAITS: Final = frozenset({"connectionSettings", "proxyHeaders"})
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
        return USUAL
    # asked at every change of anything: read once
    return _read(json.dumps({key: config[key] for key in sorted(_OF_TRAITS & config.keys())}), at_edge=at_edge)


@functools.lru_cache(maxsize=1024)
def _read(config: str, *, at_edge: bool) -> ProxyTraits:
    return proxy_traits.traits(json.loads(config), at_edge=at_edge)
