"""Which AuthorizationPolicies a proxy enforces, as its Envoy says (`/config_dump`)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from weft.xds.authorization import HTTP_RBAC, NETWORK_RBAC
from weft.xds.config_dump import Json, ListenerFilter, filter_chains, listeners
from weft.xds.external_authorization import DRY_RUN_CUSTOM

_NAME: Final = re.compile(r"(istio-ext-authz-.*-)?ns\[(.*)\]-policy\[(.*)\]-rule\[(\d+)\](-.*)?")
_ORDER: Final = ("CUSTOM", "AUDIT", "DENY", "ALLOW")


@dataclass(frozen=True, slots=True, order=True)
class PolicyRow:
    """One policy. `name` is `NAME.NAMESPACE`; `action` says so where it is only tried, or nobody can be asked."""

    action: str
    name: str
    rules: int


def policy_rows(dump: Json) -> list[PolicyRow]:
    """A row for each policy, in the order in which they count."""
    found: dict[tuple[str, str], set[str]] = {}
    for action, rule in (pair for each in _filters(dump) for pair in _rules(each)):
        parsed = _NAME.fullmatch(rule)
        if parsed is not None:
            asked, namespace, name, number, denied = parsed.groups()
            known = f"CUSTOM{' (denies)' if denied else ''}" if asked else action
            found.setdefault((known, f"{name}.{namespace}"), set()).add(number)
    rows = (PolicyRow(action, name, len(rules)) for (action, name), rules in found.items())
    return sorted(rows, key=lambda row: (_ORDER.index(row.action.partition(" ")[0]), row))


def _filters(dump: Json) -> Iterator[Json]:
    """The configuration of all RBAC filters."""
    for listener in listeners(dump, ListenerFilter()):
        for chain in filter_chains(listener):
            for each in chain.get("filters", ()):
                config = each.get("typed_config", {})
                if each.get("name") == NETWORK_RBAC:
                    yield config
                yield from (
                    inner.get("typed_config", {})
                    for inner in config.get("http_filters", ())
                    if inner.get("name") == HTTP_RBAC
                )


def _rules(config: Json) -> Iterator[tuple[str, str]]:
    for key, tried in (("rules", ""), ("shadow_rules", " (dry run)")):
        rules: dict[str, Any] = config.get(key, {})
        # the first of Envoy's actions is left out of its JSON
        action = {"LOG": "AUDIT"}.get(rules.get("action", "ALLOW"), rules.get("action", "ALLOW"))
        if tried and config.get("shadowRulesStatPrefix", config.get("shadow_rules_stat_prefix")) == DRY_RUN_CUSTOM:
            action = "CUSTOM"
        yield from ((f"{action}{tried}", name) for name in rules.get("policies", {}))
