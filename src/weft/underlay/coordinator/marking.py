"""Replies that leave by the interface that their connection came in by: marks, as native nftables.

A connection that comes in by such an interface is remembered by its connection mark; packets of its reply take the
mark, and a rule of routing sends those back. The table is our own, and only replies are marked, so that rules of
others (Istio's, with its own marks) neither are touched nor meet ours.
"""

from collections.abc import Sequence
from typing import Any, Final

from weft.underlay.observed import Mark

Json = dict[str, Any]

FAMILY: Final = "inet"
TABLE: Final = "spiderpool-coordinator"
_PRIORITY: Final = -150
"""mangle (nft(8), standard priorities)."""
_INPUT, _OUTPUT = "prerouting", "output"
_REMEMBERED: Final = "a connection that came in here is remembered, so that its replies leave here"
_MARKED: Final = "replies leave by the interface that their connection came in by"


def transaction(marks: Sequence[Mark], *, replacing: bool) -> list[Json]:
    """The commands after which our table has these marks and no others; without marks there is no table.

    `replacing`: there is a table of ours already.
    """
    table = {"family": FAMILY, "name": TABLE}
    removal: list[Json] = [{"delete": {"table": table}}] if replacing else []
    if not marks:
        return removal
    return [
        *removal,
        {"add": {"table": table}},
        # a mark that changes on the way out routes anew: that is what type route is for
        _chain(_INPUT, "filter"),
        _chain(_OUTPUT, "route"),
        *(_remembering(mark) for mark in marks),
        # replies that pass through (of a virtual machine in the pod) come in, those of the pod itself go out
        *(_marking(chain, mark) for mark in marks for chain in (_INPUT, _OUTPUT)),
    ]


def read(listed: Sequence[Json]) -> tuple[Mark, ...]:
    """The marks that a table holds, listed by libnftables."""
    return tuple(
        mark
        for part in listed
        if (rule := part.get("rule")) is not None
        and (rule.get("family"), rule.get("table"), rule.get("chain")) == (FAMILY, TABLE, _INPUT)
        and (mark := _read(rule.get("expr", ()))) is not None
    )


def _read(expressions: Sequence[Json]) -> Mark | None:
    interface, value = "", 0
    for one in expressions:
        match one:
            case {"match": {"left": {"meta": {"key": "iifname"}}, "right": str(name)}}:
                interface = name
            case {"mangle": {"key": {"ct": {"key": "mark"}}, "value": int(number)}}:
                value = number
            case _:
                pass
    return Mark(interface=interface, mark=value) if interface and value else None


def _chain(hook: str, kind: str) -> Json:
    place = {"family": FAMILY, "table": TABLE, "name": hook, "hook": hook}
    return {"add": {"chain": {**place, "type": kind, "prio": _PRIORITY, "policy": "accept"}}}


def _remembering(mark: Mark) -> Json:
    return _rule(
        _INPUT,
        _REMEMBERED,
        _equal({"meta": {"key": "iifname"}}, mark.interface),
        {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": "new"}},
        _equal({"ct": {"key": "mark"}}, 0),
        {"mangle": {"key": {"ct": {"key": "mark"}}, "value": mark.mark}},
    )


def _marking(chain: str, mark: Mark) -> Json:
    return _rule(
        chain,
        _MARKED,
        _equal({"ct": {"key": "direction"}}, "reply"),
        _equal({"ct": {"key": "mark"}}, mark.mark),
        {"mangle": {"key": {"meta": {"key": "mark"}}, "value": mark.mark}},
    )


def _rule(chain: str, reason: str, *expressions: Json) -> Json:
    place = {"family": FAMILY, "table": TABLE, "chain": chain}
    return {"add": {"rule": {**place, "comment": reason, "expr": list(expressions)}}}


def _equal(left: Json, right: Any) -> Json:
    return {"match": {"op": "==", "left": left, "right": right}}
