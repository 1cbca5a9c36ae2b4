from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from weft.api.spider_coordinator import CoordinatorSpec
from weft.underlay.coordination import Seen, status

CASES = yaml.safe_load((Path(__file__).parent / "ranges.yaml").read_text())


@pytest.mark.parametrize("case", CASES, ids=lambda each: each["about"])
def test_the_clusters_ranges_are_found_or_it_is_said_why_not(case: dict[str, Any]) -> None:
    told = status(CoordinatorSpec(pod_cidr_type=case.get("type")), msgspec.convert(case["seen"], Seen))
    if "reason" in case:
        assert (told.phase, told.overlay_pod_cidr, told.service_cidr) == ("NotReady", None, None)
        assert (told.reason or "").startswith(case["reason"])
    else:
        found = (told.phase, told.reason, list(told.overlay_pod_cidr or ()), list(told.service_cidr or ()))
        assert found == ("Synced", None, case["pods"], case["services"])


networks = st.sampled_from(["10.0.0.0/8", "fd00::/64", "10.1.0.0/24", "x", "", "10.1.0.1/24"])
texts = st.tuples(networks, networks).map(",".join)


@given(
    st.builds(
        Seen,
        kubeadm=st.one_of(st.none(), st.text(max_size=20), texts.map("networking: {{podSubnet: '{}'}}".format)),
        arguments=st.tuples(
            texts.map("--cluster-cidr={}".format), texts.map("--service-cluster-ip-range={}".format)
        ),
        nodes=st.tuples(networks, networks),
        calico=st.one_of(st.none(), st.tuples(networks.map(lambda each: {"cidr": each}))),
        cilium=st.one_of(
            st.none(), st.fixed_dictionaries({"ipam": st.sampled_from(["cluster-pool", "crd", "x"])})
        ),
    ),
    st.sampled_from([None, "auto", "cluster", "calico", "cilium", "none"]),
)
def test_whatever_a_cluster_has_it_is_synced_with_ranges_or_not_ready_with_a_reason(
    seen: Seen, asked: Any
) -> None:
    told = status(CoordinatorSpec(pod_cidr_type=asked), seen)
    assert (told.phase == "Synced") == bool(told.service_cidr) == (told.reason is None)
