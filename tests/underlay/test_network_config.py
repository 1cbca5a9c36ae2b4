import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from weft.api.spider_multus_config import SpiderMultusConfig
from weft.underlay.networks.network_config import NoNetworkError, manifest, network

CASES = yaml.safe_load((Path(__file__).parent / "networks.yaml").read_text())


def config(spec: dict[str, Any], annotations: dict[str, str] | None = None) -> SpiderMultusConfig:
    metadata = {"name": "net", "namespace": "shop", "uid": "u-1", "annotations": annotations}
    return msgspec.convert({"metadata": metadata, "spec": spec}, SpiderMultusConfig)


@pytest.mark.parametrize("case", CASES, ids=lambda each: each["about"])
def test_every_type_becomes_its_network(case: dict[str, Any]) -> None:
    annotations = case.get("annotations", {})
    made = network(config(case["spec"], annotations))
    assert (made.namespace, made.name) == ("shop", case.get("name", "net"))
    assert made.annotations == annotations | case.get("adds", {})
    # as text, for the order of plugins and of keys counts for those who compare
    assert made.config == (json.dumps(case["config"], separators=(",", ":")) if "config" in case else "")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"cniType": "macvlan"}, "spec.macvlan is missing, which cniType macvlan needs. Add it."),
        ({"cniType": "ib-sriov"}, "spec.ibsriov is missing, which cniType ib-sriov needs. Add it."),
        ({"cniType": "custom", "customCNI": "{"}, "spec.customCNI is no JSON"),
        (
            {"cniType": "ipoib", "ipoib": {"master": "ib0"}, "chainCNIJsonData": ["[]"]},
            "spec.chainCNIJsonData[0] is no JSON object",
        ),
        (
            {"cniType": "ipoib", "ipoib": {"master": "ib0"}, "chainCNIJsonData": ["{}"]},
            'spec.chainCNIJsonData[0] has no "type"',
        ),
    ],
)
def test_what_no_network_can_be_made_of_says_which_field(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(NoNetworkError) as error:
        network(config(spec))
    assert str(error.value).startswith(message)


def test_a_network_belongs_to_what_it_was_made_of() -> None:
    asked = config({"cniType": "custom"}, {"multus.spidernet.io/cr-name": "istio-cni"})
    assert manifest(asked, network(asked)) == {
        "metadata": {
            "name": "istio-cni",
            "namespace": "shop",
            "annotations": {"multus.spidernet.io/cr-name": "istio-cni"},
            "ownerReferences": [
                {
                    "apiVersion": "spiderpool.spidernet.io/v2beta1",
                    "kind": "SpiderMultusConfig",
                    "name": "net",
                    "uid": "u-1",
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": {},
    }
