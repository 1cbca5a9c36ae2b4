"""Which ProxyConfigs are for a pod, and which goes over which."""

from typing import Any

from tests.model.objects import store_of

from weft.api.proxy_settings_checks import merged
from weft.model.snapshot import Snapshot


def proxy_config(name: str, namespace: str, created: str = "", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "networking.istio.io/v1beta1",
        "kind": "ProxyConfig",
        "metadata": {"name": name, "namespace": namespace, "creationTimestamp": created or None},
        "spec": spec,
    }


def of_pod(snapshot: Snapshot, namespace: str = "shop", **labels: str) -> dict[str, Any]:
    return merged(*snapshot.directory.proxy_configs.layers(namespace, labels))


def test_the_workload_goes_over_its_namespace_and_that_over_the_mesh() -> None:
    snapshot = store_of(
        proxy_config("web", "shop", selector={"matchLabels": {"app": "web"}}, concurrency=1),
        proxy_config("all", "shop", concurrency=2, environmentVariables={"B": "shop"}),
        proxy_config("mesh", "istio-system", concurrency=3, environmentVariables={"A": "mesh", "B": "mesh"}),
    ).snapshot()
    variables = {"A": "mesh", "B": "shop"}
    assert of_pod(snapshot, app="web") == {"concurrency": 1, "proxyMetadata": variables}
    assert of_pod(snapshot, app="api") == {"concurrency": 2, "proxyMetadata": variables}
    assert of_pod(snapshot, "till") == {"concurrency": 3, "proxyMetadata": {"A": "mesh", "B": "mesh"}}


def test_of_two_for_the_same_pods_the_older_one_wins() -> None:
    for order in (1, -1):
        both = [
            proxy_config("old", "shop", "2026-01-01T00:00:00Z", concurrency=1),
            proxy_config("new", "shop", "2026-01-02T00:00:00Z", concurrency=2, image={"imageType": "debug"}),
        ][::order]
        found = of_pod(store_of(*both).snapshot())
        assert found == {"concurrency": 1, "image": {"imageType": "debug"}}


def test_a_selector_is_for_the_pods_of_its_own_namespace_alone() -> None:
    selected = proxy_config("web", "istio-system", selector={"matchLabels": {"app": "web"}}, concurrency=1)
    snapshot = store_of(selected).snapshot()
    assert of_pod(snapshot, "shop", app="web") == {}
    assert of_pod(snapshot, "istio-system", app="web") == {"concurrency": 1}


def test_one_that_is_wrong_is_told_of_with_its_field_and_changes_nothing() -> None:
    snapshot = store_of(
        proxy_config("bad", "shop", environmentVariables={"POD_NAME": "x"}),
        proxy_config("good", "shop", concurrency=2),
    ).snapshot()
    assert of_pod(snapshot) == {"concurrency": 2}
    [problem] = snapshot.problems
    assert problem.at.field == "spec.environmentVariables.POD_NAME"
