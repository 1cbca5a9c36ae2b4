import json
from typing import Any

from weft.redirect import nftables
from weft.redirect.capture import Capture
from weft.redirect.plan import plan

PLAN = plan(Capture(excluded_inbound_ports=(15021,)))
WRITTEN = nftables.transaction(PLAN, ())


def listed() -> list[dict[str, Any]]:
    """What nft would list after the transaction: with handles, and other people's tables."""
    there = [{kind: {**body, "handle": 7} for kind, body in command["add"].items()} for command in WRITTEN]
    theirs = {"family": "inet", "table": "theirs", "chain": "input", "handle": 3, "expr": [{"accept": None}]}
    return [
        {"metainfo": {"json_schema_version": 1}},
        {"table": {"family": "inet", "name": "theirs"}},
        {"rule": theirs},
        *there,
    ]


def test_tables_and_chains_have_istios_names() -> None:
    names = {body["name"] for command in WRITTEN for kind, body in command["add"].items() if kind != "rule"}
    assert names == {
        "istio-proxy-nat",
        *("prerouting", "output", "istio-inbound", "istio-in-redirect", "istio-output", "istio-redirect"),
    }


def test_every_rule_carries_its_reason_as_a_comment() -> None:
    comments = [command["add"]["rule"]["comment"] for command in WRITTEN if "rule" in command["add"]]
    assert "localhost stays local" in comments
    assert all(comments)


def test_what_is_there_already_needs_no_transaction() -> None:
    assert nftables.transaction(PLAN, listed()) == []
    assert nftables.missing(PLAN, listed()) == ()


def test_a_drifted_table_is_replaced_in_one_transaction_and_no_other_is_touched() -> None:
    drifted = [part for part in listed() if "localhost stays local" not in json.dumps(part)]
    assert nftables.missing(PLAN, drifted) == ("localhost stays local",)
    commands = nftables.transaction(PLAN, drifted)
    assert commands[0] == {"delete": {"table": {"family": "inet", "name": "istio-proxy-nat"}}}
    assert commands[1:] == WRITTEN
    assert "theirs" not in json.dumps(commands)


def test_a_removal_takes_whatever_plan_is_there() -> None:
    assert nftables.removal(listed()) == [{"delete": {"table": {"family": "inet", "name": "istio-proxy-nat"}}}]
    assert nftables.removal([]) == []


def test_ipv6_passes_by_where_it_is_not_captured() -> None:
    first = next(command["add"]["rule"] for command in WRITTEN if "rule" in command["add"])
    assert first["comment"] == "IPv6 is not captured"
    both = json.dumps(nftables.transaction(plan(Capture(ipv6=True)), ()))
    assert "IPv6 is not captured" not in both


def test_what_no_transparent_socket_takes_is_dropped_as_by_iptables() -> None:
    rules = [
        command["add"]["rule"]["expr"]
        for command in nftables.transaction(plan(Capture(mode="TPROXY")), ())
        if command["add"].get("rule", {}).get("chain") == "istio-tproxy"
    ]
    assert [next(iter(expressions[-1])) for expressions in rules] == ["accept", "drop"]
