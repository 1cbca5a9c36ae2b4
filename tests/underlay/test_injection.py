import base64
import json
from typing import Any

import msgspec
import pytest

from weft.api.spider_multus_config import SpiderMultusConfig
from weft.underlay.admission.reviews import injected
from weft.underlay.networks.injection import NoNetworksError, inject

Json = dict[str, Any]
WORD = "cni.spidernet.io/network-resource-inject"
NETWORKS = "k8s.v1.cni.cncf.io/networks"


def config(name: str, spec: Json, word: str = "fast", key: str = WORD) -> SpiderMultusConfig:
    metadata = {"name": name, "namespace": "net", "annotations": {key: word}}
    return msgspec.convert({"metadata": metadata, "spec": spec}, SpiderMultusConfig)


CONFIGS = (
    config("second", {"cniType": "macvlan", "macvlan": {"master": ["ens2"]}}),
    config(
        "first", {"cniType": "ipvlan", "ipvlan": {"master": ["ens1"], "rdmaResourceName": "spidernet.io/rdma"}}
    ),
    config("card", {"cniType": "sriov", "sriov": {"resourceName": "spidernet.io/vf"}}),
    config("other", {"cniType": "macvlan", "macvlan": {"master": ["ens3"]}}, "slow"),
    config("unfit", {"cniType": "custom"}),
    config(
        "ib",
        {"cniType": "ib-sriov", "ibsriov": {"resourceName": "spidernet.io/ib"}},
        key="cni.spidernet.io/rdma-resource-inject",
    ),
)


def pod(**annotations: str) -> Json:
    noted = {key: value for key, value in annotations.items() if value}
    return {
        "metadata": {"name": "p", "annotations": noted},
        "spec": {"containers": [{"name": "a"}, {"name": "b"}]},
    }


def test_a_pod_gets_all_networks_of_its_word_in_the_order_of_the_cards_and_what_they_need() -> None:
    made = inject(pod(**{WORD: "fast"}), "shop", CONFIGS)
    assert made["metadata"]["annotations"] == {WORD: "fast", NETWORKS: "net/first,net/second,net/card"}
    wanted = {"spidernet.io/rdma": "1", "spidernet.io/vf": "1"}
    assert made["spec"]["containers"] == [
        {"name": "a", "resources": {"requests": wanted, "limits": wanted}},
        {"name": "b"},
    ]


@pytest.mark.parametrize(
    ("written", "then"),
    [
        ("mine", "mine,net/first,net/second,net/card"),
        ("mine, net/second@net5", "mine, net/second@net5,net/first,net/card"),
        (
            '[{"name":"first","namespace":"net"}]',
            '[{"name":"first","namespace":"net"},{"name":"second","namespace":"net"},{"name":"card","namespace":"net"}]',
        ),
    ],
)
def test_networks_that_it_names_itself_stay_and_none_comes_twice(written: str, then: str) -> None:
    made = inject(pod(**{WORD: "fast", NETWORKS: written}), "shop", CONFIGS)
    assert made["metadata"]["annotations"][NETWORKS] == then


def test_who_asks_for_nothing_gets_nothing_and_who_asks_in_vain_is_told() -> None:
    assert inject(pod(), "shop", CONFIGS) == pod()
    with pytest.raises(NoNetworksError, match="no SpiderMultusConfig has the annotation"):
        inject(pod(**{WORD: "unheard"}), "shop", CONFIGS)
    with pytest.raises(NoNetworksError, match="networks: "):
        inject(pod(**{WORD: "fast", NETWORKS: "A!"}), "shop", CONFIGS)


def test_the_webhook_answers_with_a_patch_or_a_refusal() -> None:
    def answer(obj: Json) -> Json:
        request = {"uid": "1", "kind": {"kind": "Pod"}, "namespace": "shop", "object": obj}
        response: Json = injected({"request": request}, CONFIGS)["response"]
        return response

    made = answer(pod(**{"cni.spidernet.io/rdma-resource-inject": "fast"}))
    patch = {each["path"]: each["value"] for each in json.loads(base64.b64decode(made["patch"]))}
    assert patch["/metadata/annotations"][NETWORKS] == "net/ib"
    assert patch["/spec/containers"][0]["resources"]["limits"] == {"spidernet.io/ib": "1"}
    assert answer(pod()) == {"uid": "1", "allowed": True}
    refused = answer(pod(**{WORD: "unheard"}))
    assert (refused["allowed"], refused["status"]["code"]) == (False, 422)
