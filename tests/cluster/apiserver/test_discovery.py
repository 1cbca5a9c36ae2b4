"""Discovery in both its forms."""

import pytest

from weft.cluster.apiserver import discovery
from weft.cluster.apiserver.catalog import BUILT_IN
from weft.cluster.apiserver.kinds import Kind


def gateway(version: str) -> Kind:
    return Kind("networking.istio.io", version, "Gateway", "gateways", "gateway", ("gw",), ("istio-io",))


KINDS = (*BUILT_IN, gateway("v1alpha3"), gateway("v1"), gateway("v1beta1"))


def test_groups_prefer_stable_versions_then_beta_then_alpha() -> None:
    groups = {group["name"]: group for group in discovery.api_group_list(KINDS)["groups"]}
    istio = groups["networking.istio.io"]
    assert [version["version"] for version in istio["versions"]] == ["v1", "v1beta1", "v1alpha3"]
    assert istio["preferredVersion"]["groupVersion"] == "networking.istio.io/v1"
    assert "" not in groups


def test_versions_are_ordered_as_kubernetes_orders_them() -> None:
    wanted = ["v10", "v2", "v1", "v11beta2", "v10beta3", "v3beta1", "v12alpha1", "v11alpha2", "foo10", "foo1"]
    kinds = [Kind("g", version, "K", "ks", "k") for version in reversed(wanted)]
    [group] = discovery.api_group_list(kinds)["groups"]
    assert [version["version"] for version in group["versions"]] == wanted


def test_a_subresource_is_a_row_of_its_own_with_its_own_kind() -> None:
    rows = {row["name"]: row for row in discovery.resource_list(KINDS, "", "v1")["resources"]}
    assert rows["pods"]["shortNames"] == ["po"]
    assert rows["pods/exec"]["kind"] == "PodExecOptions"
    assert rows["pods/eviction"] | {"verbs": []} == {
        "name": "pods/eviction",
        "singularName": "",
        "namespaced": True,
        "kind": "Eviction",
        "verbs": [],
        "group": "policy",
        "version": "v1",
    }
    scale = {row["name"]: row for row in discovery.resource_list(KINDS, "apps", "v1")["resources"]}[
        "deployments/scale"
    ]
    assert (scale["group"], scale["version"], scale["kind"]) == ("autoscaling", "v1", "Scale")
    assert "get" in scale["verbs"]
    assert "gateways" not in rows


@pytest.mark.parametrize("version", ["v2", "v2beta1"])
def test_the_aggregated_form_tells_the_same_as_the_plain_one(version: discovery.AggregatedVersion) -> None:
    for core in (True, False):
        document = discovery.aggregated(KINDS, core=core, version=version)
        assert document["apiVersion"] == f"apidiscovery.k8s.io/{version}"
        for item in document["items"]:
            group = item["metadata"].get("name", "")
            assert (group == "") is core
            for one in item["versions"]:
                plain = discovery.resource_list(KINDS, group, one["version"])["resources"]
                names = [resource["resource"] for resource in one["resources"]]
                assert names == [row["name"] for row in plain if "/" not in row["name"]]
                subresources = [
                    f"{resource['resource']}/{sub['subresource']}"
                    for resource in one["resources"]
                    for sub in resource.get("subresources", [])
                ]
                assert sorted(subresources) == sorted(row["name"] for row in plain if "/" in row["name"])


def test_the_etag_changes_with_the_content_only() -> None:
    one = discovery.etag(discovery.aggregated(KINDS, core=False))
    assert one == discovery.etag(discovery.aggregated(list(KINDS), core=False))
    assert one != discovery.etag(discovery.aggregated(BUILT_IN, core=False))
    assert one.startswith('"')
