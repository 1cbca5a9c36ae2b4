"""What of a proxy's node metadata decides about its configuration."""

from collections.abc import Collection, Mapping
from typing import Any, Final

from weft.model import topology
from weft.model.services import Labels

_KEPT: Final = ("DNS_AUTO_ALLOCATE", "DNS_CAPTURE")


def kept(metadata: Mapping[str, Any], asked: Collection[str] = ()) -> Labels:
    """The entries that matter, as text; all others would only keep proxies from sharing.

    `asked` are keys that EnvoyFilters look at.
    """
    kept = {key: _text(metadata[key]) for key in (*_KEPT, *asked) if key in metadata}
    before = topology.told(metadata.get("PROXY_CONFIG"))
    return tuple(sorted({**kept, **({topology.METADATA: before} if before else {})}.items()))


def _text(value: Any) -> str:
    # injected proxies say "true", others may say it in JSON
    return str(value).lower() if isinstance(value, bool) else str(value)
