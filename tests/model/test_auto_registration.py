"""Entries of workloads that register themselves: what they are made of, for whom, and for how long."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from weft.api.decode import decode
from weft.api.workload_entry import WorkloadEntry
from weft.api.workload_group import WorkloadGroup
from weft.model.auto_registration import Arrival, entry, is_over, refusal, with_health

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ARRIVAL = Arrival("vms", "shop", "web", "192.0.2.7", "lan", "eu/eu-1", (("app", "own"), ("rack", "7")))


def group(**spec: Any) -> WorkloadGroup:
    template = {"serviceAccount": "web", "ports": {"http": 8080}, "labels": {"app": "web"}, "weight": 3}
    body = {"metadata": {"name": "vms", "namespace": "shop"}, "spec": {"template": template, **spec}}
    read = decode(WorkloadGroup, body)
    assert isinstance(read, WorkloadGroup), read
    return read


def test_an_entry_is_made_of_the_groups_template_and_metadata_and_what_the_workload_says() -> None:
    metadata = {"labels": {"tier": "back"}, "annotations": {"note": "kept"}}
    made = entry(ARRIVAL, group(metadata=metadata, probe={"tcpSocket": {"port": 80}}), "uid-1", "istiod-1", NOW)
    meta, spec = made["metadata"], made["spec"]
    assert meta["name"] == "vms-192.0.2.7-lan"
    assert meta["labels"] == {"app": "web", "rack": "7", "tier": "back"}
    assert meta["annotations"] == {
        "note": "kept",
        "proxy.istio.io/health-checks-enabled": "true",
        "istio.io/autoRegistrationGroup": "vms",
        "istio.io/workloadController": "istiod-1",
        "istio.io/connectedAt": "2026-01-01T00:00:00Z",
    }
    assert meta["ownerReferences"][0]["uid"] == "uid-1"
    assert spec == {
        "address": "192.0.2.7",
        "ports": {"http": 8080},
        "labels": meta["labels"],
        "network": "lan",
        "locality": "eu/eu-1",
        "weight": 3,
        "serviceAccount": "web",
    }
    assert isinstance(decode(WorkloadEntry, made), WorkloadEntry)


def test_without_a_probe_nobody_waits_for_a_report() -> None:
    made = entry(ARRIVAL, group(), "uid-1", "istiod-1", NOW)
    assert "proxy.istio.io/health-checks-enabled" not in made["metadata"]["annotations"]


def test_an_address_of_six_parts_and_a_long_group_still_make_a_name() -> None:
    assert Arrival("vms", "shop", "web", "2001:db8::7").entry_name == "vms-2001-db8--7"
    assert len(Arrival("v" * 253, "shop", "web", "192.0.2.7").entry_name) <= 253


@pytest.mark.parametrize(
    ("arrival", "why"),
    [
        (ARRIVAL, ""),
        (Arrival("vms", "far", "web", "192.0.2.7"), "another namespace"),
        (Arrival("vms", "shop", "other", "192.0.2.7"), "for the account web"),
        (Arrival("vms", "shop", "web", "not-an-address"), "not an address"),
    ],
)
def test_only_a_workload_of_the_groups_namespace_and_account_may_register(arrival: Arrival, why: str) -> None:
    told = refusal(arrival, group())
    assert bool(told) is bool(why)
    assert why in told


def test_an_entry_is_kept_for_ten_seconds_after_its_workload_left_and_others_for_ever() -> None:
    mine = {"istio.io/autoRegistrationGroup": "vms", "istio.io/connectedAt": "2026-01-01T00:00:00Z"}
    gone = mine | {"istio.io/disconnectedAt": "2026-01-01T00:00:00Z"}
    assert not is_over(gone, NOW + timedelta(seconds=9))
    assert is_over(gone, NOW + timedelta(seconds=10))
    assert not is_over(mine, NOW + timedelta(minutes=14))
    assert is_over(mine, NOW + timedelta(minutes=15))
    assert not is_over({"istio.io/disconnectedAt": "2020-01-01T00:00:00Z"}, NOW)
    assert not is_over(mine | {"istio.io/connectedAt": "nonsense"}, NOW + timedelta(days=9))


def test_a_report_replaces_the_last_one_and_leaves_other_conditions() -> None:
    other = {"type": "Other", "status": "True"}
    first = with_health([other], "connection refused", NOW)
    assert first[0] == other
    assert (first[1]["status"], first[1]["message"]) == ("False", "connection refused")
    again = with_health(first, "still", NOW + timedelta(seconds=5))
    assert again[1]["lastTransitionTime"] == first[1]["lastTransitionTime"]
    assert again[1]["lastProbeTime"] != first[1]["lastProbeTime"]
    well = with_health(again, None, NOW + timedelta(seconds=9))
    assert (well[1]["status"], well[1]["lastTransitionTime"]) == ("True", "2026-01-01T00:00:09Z")
    assert "message" not in well[1]
