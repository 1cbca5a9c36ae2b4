"""The acceptance: the walkthrough's nginx pod, field by field."""

from pathlib import Path

import yaml
from tests.inject.pods import Json, container, injected

EXPECTED: Json = yaml.safe_load((Path(__file__).parent / "injected_pod.yaml").read_text())
ADDED = {"istio-proxy", "istio-init"}


def before() -> Json:
    """The pod as the API server hands it to the webhook: with defaults, and its service account's token."""
    spec = {key: value for key, value in EXPECTED["spec"].items() if key != "initContainers"}
    containers = [one for one in spec["containers"] if one["name"] not in ADDED]
    volumes = [one for one in spec["volumes"] if one["name"].startswith("kube-api-access")]
    owners = EXPECTED["metadata"]["ownerReferences"]
    labels = {"app": "nginx", "pod-template-hash": "7fc7f5758"}
    metadata = {
        "generateName": EXPECTED["metadata"]["generateName"],
        "labels": labels,
        "ownerReferences": owners,
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {**spec, "containers": containers, "volumes": volumes},
    }


def test_metadata_is_the_walkthroughs() -> None:
    assert injected(before())["metadata"] == EXPECTED["metadata"]


def test_the_sidecar_is_the_walkthroughs_container() -> None:
    assert container(injected(before())) == container(EXPECTED)


def test_the_init_container_is_the_walkthroughs() -> None:
    assert container(injected(before()), "istio-init") == container(EXPECTED, "istio-init")


def test_the_application_stays_as_it_was_and_first() -> None:
    after = injected(before())
    assert [one["name"] for one in after["spec"]["containers"]] == ["nginx", "istio-proxy"]
    assert container(after, "nginx") == container(
        before() | {"spec": {**before()["spec"], "initContainers": []}}, "nginx"
    )


def test_the_volumes_are_the_walkthroughs_in_their_order() -> None:
    assert injected(before())["spec"]["volumes"] == EXPECTED["spec"]["volumes"]


def test_nothing_else_differs() -> None:
    assert injected(before()) == EXPECTED
