"""NetworkPolicies that would shut out or let in silently are refused, field by field."""

import re
from typing import Any

import pytest

from weft.adapters.kube.client import ApiError, Kube
from weft.adapters.kube.kinds import NETWORKPOLICIES

WAY = "spec.ingress[0]"


def policy(name: str = "p", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "default"}, "spec": {"podSelector": {}} | spec}


def block(cidr: str, *besides: str) -> dict[str, Any]:
    return {"from": [{"ipBlock": {"cidr": cidr, "except": list(besides)}}]}


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (block("10.0.0.0"), f'{WAY}.from[0].ipBlock.cidr: Invalid value: "10.0.0.0": must be a valid CIDR value'),
        (block("10.0.0.0/8", "x"), f'{WAY}.from[0].ipBlock.except[0]: Invalid value: "x": must be a valid CIDR'),
        (block("10.0.0.0/8", "11.0.0.0/16"), "must be a strict subset of `cidr`"),
        (block("10.0.0.0/8", "10.0.0.0/8"), "must be a strict subset of `cidr`"),
        (block("10.0.0.0/8", "fd00::/64"), "must be a strict subset of `cidr`"),
        (
            {"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}}]},
            f"{WAY}.from[0]: Forbidden: may not specify both ipBlock and another peer",
        ),
        ({"from": [{}]}, f"{WAY}.from[0]: Required value: must specify a peer"),
        (
            {"ports": [{"port": 0}]},
            f"{WAY}.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
        ),
        ({"ports": [{"port": "A_B"}]}, f'{WAY}.ports[0].port: Invalid value: "A_B"'),
        ({"ports": [{"protocol": "ICMP"}]}, f'{WAY}.ports[0].protocol: Unsupported value: "ICMP"'),
        ({"ports": [{"port": 80, "endPort": 79}]}, "must be greater than or equal to `port`"),
        ({"ports": [{"endPort": 79}]}, "may not be specified when `port` is not specified"),
        ({"ports": [{"port": "http", "endPort": 79}]}, "may not be specified when `port` is non-numeric"),
    ],
)
async def test_a_rule_that_means_nothing_is_refused(kube: Kube, rule: dict[str, Any], said: str) -> None:
    with pytest.raises(ApiError, match=re.escape(said)):
        await kube.create(NETWORKPOLICIES, policy(ingress=[rule]))


async def test_a_direction_that_is_none_is_refused(kube: Kube) -> None:
    said = 'spec.policyTypes[0]: Unsupported value: "Inwards": supported values: "Ingress", "Egress"'
    with pytest.raises(ApiError, match=re.escape(said)):
        await kube.create(NETWORKPOLICIES, policy(policyTypes=["Inwards"]))


async def test_what_is_right_is_taken(kube: Kube) -> None:
    rule = block("10.0.0.0/8", "10.1.0.0/16") | {"ports": [{"port": 80, "endPort": 90}, {"port": "http"}, {}]}
    await kube.create(NETWORKPOLICIES, policy(ingress=[rule, {}], egress=[{}], policyTypes=["Ingress", "Egress"]))
    both = {"from": [{"podSelector": {}, "namespaceSelector": {}}, {"ipBlock": {"cidr": "fd00::/8"}}]}
    await kube.create(NETWORKPOLICIES, policy("q", ingress=[both]))
