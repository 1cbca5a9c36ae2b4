from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from weft.api.network_attachment import NetworkAttachmentDefinition
from weft.api.spider_ippool import SpiderIPPool
from weft.api.spider_multus_config import SpiderMultusConfig
from weft.api.spider_subnet import SpiderSubnet
from weft.base.problem import Severity
from weft.underlay.admission import pool_checks
from weft.underlay.admission.completion import complete
from weft.underlay.admission.validation import Known, check

Json = dict[str, Any]
CASES = yaml.safe_load((Path(__file__).parent / "mistakes.yaml").read_text())
KINDS = {
    "sp": "SpiderIPPool",
    "ss": "SpiderSubnet",
    "sr": "SpiderReservedIP",
    "smc": "SpiderMultusConfig",
    "scc": "SpiderCoordinator",
    "nad": "NetworkAttachmentDefinition",
}


def whole(short: Json | None) -> Json | None:
    if short is None:
        return None
    metadata = {"name": short["name"], "annotations": short.get("annotations"), "uid": f"uid-{short['name']}"}
    if short["kind"] in {"smc", "nad"}:
        metadata["namespace"] = "shop"
    if short.get("deleted"):
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    return {
        "kind": KINDS[short["kind"]],
        "metadata": metadata,
        **{k: short[k] for k in ("spec", "status") if k in short},
    }


def known(case: Json) -> Known:
    of: Json = case.get("known", {})
    objects = [whole(each) or {} for each in of.get("objects", ())]

    def all_of(shape: type[Any]) -> tuple[Any, ...]:
        return tuple(msgspec.convert(each, shape) for each in objects if each["kind"] == shape.__name__)

    return Known(
        all_of(SpiderIPPool),
        all_of(SpiderSubnet),
        all_of(SpiderMultusConfig),
        all_of(NetworkAttachmentDefinition),
        pool_checks.Families(ipv6=of.get("ipv6", True)),
        of.get("keepsUsed", False),
    )


@pytest.mark.parametrize("case", CASES, ids=lambda each: each["about"])
def test_the_webhook_says_what_is_wrong_and_where(case: Json) -> None:
    new, old = whole(case.get("new")), whole(case.get("old"))
    operation: Any = "DELETE" if new is None else "CREATE" if old is None else "UPDATE"
    found = check(operation, str((new or old or {})["kind"]), new, old, known(case))
    lines = [f"{each.severity} {each.at.field}: {each.message} {each.hint}" for each in found]
    assert len(lines) == len(case["said"]), lines
    for line, beginning in zip(lines, case["said"], strict=True):
        assert line.startswith(beginning)


@pytest.mark.parametrize(
    ("kind", "spec", "completed"),
    [
        (
            "SpiderIPPool",
            {
                "subnet": "FD00:6::/64",
                "ips": ["fd00:6::2", "fd00:6::1", "fd00:6::3-fd00:6::9"],
                "gateway": "fd00:6:0::ff",
            },
            {"subnet": "fd00:6::/64", "ipVersion": 6, "ips": ["fd00:6::1-fd00:6::9"], "gateway": "fd00:6::ff"},
        ),
        (
            "SpiderSubnet",
            {
                "subnet": "10.6.0.0/16",
                "excludeIPs": ["10.6.0.9", "10.6.0.8/31"],
                "routes": [{"dst": "10.7.0.0/16", "gw": "10.6.0.1"}],
            },
            {
                "subnet": "10.6.0.0/16",
                "ipVersion": 4,
                "excludeIPs": ["10.6.0.8-10.6.0.9"],
                "routes": [{"dst": "10.7.0.0/16", "gw": "10.6.0.1"}],
            },
        ),
        ("SpiderIPPool", {"subnet": "nonsense", "ips": ["b", "a"]}, {"subnet": "nonsense", "ips": ["b", "a"]}),
        ("SpiderReservedIP", {"ips": ["10.6.0.2", "10.6.0.1"]}, {"ips": ["10.6.0.1-10.6.0.2"], "ipVersion": 4}),
        ("SpiderReservedIP", {"ips": ["10.6.0.2", "fd00::1"]}, {"ips": ["10.6.0.2", "fd00::1"]}),
        ("SpiderCoordinator", {"hijackCIDR": ["FD00::/64", "fd00::/64"]}, {"hijackCIDR": ["fd00::/64"]}),
        ("SpiderMultusConfig", {}, {"cniType": "custom", "enableCoordinator": True, "disableIPAM": False}),
    ],
)
def test_what_follows_is_filled_in_and_equal_things_are_spelt_alike(
    kind: str, spec: Json, completed: Json
) -> None:
    made = complete(kind, {"kind": kind, "metadata": {"name": "x"}, "spec": spec})
    assert made["spec"] == completed
    assert complete(kind, made) == made


def test_what_is_being_deleted_stays_as_it_is() -> None:
    going = {"metadata": {"name": "x", "deletionTimestamp": "now"}, "spec": {"subnet": "10.6.0.0/16"}}
    assert complete("SpiderIPPool", going) == going


addresses = st.integers(0, 255).map(lambda number: f"10.6.0.{number}")
spans = st.one_of(addresses, st.tuples(addresses, addresses).map("-".join), st.text("0123456789.-/", max_size=12))


@given(st.lists(spans, max_size=5), st.lists(spans, max_size=3), st.sampled_from([None, "10.6.0.1", "10.9.0.1"]))
def test_a_pool_that_is_let_in_keeps_its_gateway_for_itself_and_is_let_in_again(
    ips: list[str], excluded: list[str], gateway: str | None
) -> None:
    spec = {"subnet": "10.6.0.0/24", "ips": ips, "excludeIPs": excluded, "gateway": gateway}
    pool = complete("SpiderIPPool", {"kind": "SpiderIPPool", "metadata": {"name": "p"}, "spec": spec})
    if any(each.severity is Severity.ERROR for each in check("CREATE", "SpiderIPPool", pool, None, Known())):
        return
    same = msgspec.convert(pool, SpiderIPPool)
    again = check("UPDATE", "SpiderIPPool", pool, pool, Known(pools=(same,)))
    assert all(each.severity is not Severity.ERROR for each in again)
    twin = pool | {"metadata": {"name": "twin"}}
    refused = any(
        each.severity is Severity.ERROR for each in check("CREATE", "SpiderIPPool", twin, None, Known((same,)))
    )
    # two pools never share an address; without any there is nothing to share
    assert refused == bool(pool_checks.addresses(same.spec))
