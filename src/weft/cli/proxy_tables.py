"""Tables as istioctl prints them: columns as wide as their content, no borders."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import yaml

from weft.xds.config_dump_rows import ClusterRow, EndpointRow, ListenerRow, RouteRow

_WIDE = 5
_NARROW = 1  # istioctl sets listeners closer than the rest


def listener_table(rows: Iterable[ListenerRow]) -> str:
    """The table of `proxy-config listener`."""
    cells = [(row.addresses, str(row.port), row.match, row.destination) for row in rows]
    return table(("ADDRESSES", "PORT", "MATCH", "DESTINATION"), cells, gap=_NARROW)


def route_table(rows: Iterable[RouteRow]) -> str:
    """The table of `proxy-config route`."""
    cells = [(row.name, row.virtual_host, row.domains, row.match, row.virtual_service) for row in rows]
    return table(("NAME", "VHOST NAME", "DOMAINS", "MATCH", "VIRTUAL SERVICE"), cells)


def cluster_table(rows: Iterable[ClusterRow]) -> str:
    """The table of `proxy-config cluster`."""
    cells = [(row.fqdn, row.port, row.subset, row.direction, row.type, row.destination_rule) for row in rows]
    return table(("SERVICE FQDN", "PORT", "SUBSET", "DIRECTION", "TYPE", "DESTINATION RULE"), cells)


def endpoint_table(rows: Iterable[EndpointRow]) -> str:
    """The table of `proxy-config endpoint`."""
    cells = [(row.endpoint, row.status, row.outlier_check, row.cluster) for row in rows]
    return table(("ENDPOINT", "STATUS", "OUTLIER CHECK", "CLUSTER"), cells)


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, gap: int = _WIDE) -> str:
    """Lines with `gap` spaces after the widest cell of each column; no spaces at the ends of lines."""
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) + gap for column in range(len(header))]
    padded = ("".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
    return "\n".join(line.rstrip() for line in padded)


def as_json(objects: list[dict[str, Any]]) -> str:
    """What `-o json` prints."""
    return json.dumps(objects, indent=4, ensure_ascii=False)


def as_yaml(objects: list[dict[str, Any]]) -> str:
    """What `-o yaml` prints."""
    return yaml.safe_dump(objects, allow_unicode=True, sort_keys=False).rstrip("\n")
