"""`weft proxy-status`: how far each proxy is, from the control plane's `/debug/syncz`."""

from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass
from typing import Any

from weft.cli import proxy_tables

HEADER = ("NAME", "CLUSTER", "CDS", "LDS", "EDS", "RDS", "ECDS", "ISTIOD", "VERSION")


@dataclass(frozen=True, slots=True, order=True)
class Row:
    """One proxy. States are SYNCED, STALE (sent, not confirmed yet), NOT SENT, or ERROR (something rejected)."""

    name: str
    cluster: str
    cds: str
    lds: str
    eds: str
    rds: str
    ecds: str
    istiod: str
    version: str


def rows(syncz: Iterable[Mapping[str, Any]]) -> list[Row]:
    """The table of one or several control planes' entries, sorted by name."""
    return sorted(
        Row(
            name=str(entry.get("proxy", "")),
            cluster=str(entry.get("cluster_id", "")),
            cds=_state(entry, "cluster"),
            lds=_state(entry, "listener"),
            eds=_state(entry, "endpoint"),
            rds=_state(entry, "route"),
            ecds=_state(entry, "extensionconfig"),
            istiod=str(entry.get("istiod", "")),
            version=str(entry.get("istio_version", "")),
        )
        for entry in syncz
    )


def render(found: Iterable[Row]) -> str:
    """The table as text, in istioctl's layout."""
    return proxy_tables.table(HEADER, [astuple(row) for row in found])


def _state(entry: Mapping[str, Any], kind: str) -> str:
    if (entry.get("errors") or {}).get(kind):
        return "ERROR"
    sent, acked = entry.get(f"{kind}_sent"), entry.get(f"{kind}_acked")
    if not sent:
        return "NOT SENT"
    return "SYNCED" if sent == acked else "STALE"
