"""Which proxies a policy of security is for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from weft.api.policy_target import PolicyTarget
from weft.api.shape import WorkloadSelector
from weft.model.clients import sorted_labels
from weft.model.services import Labels

GATEWAY_NAME: Final = "gateway.networking.k8s.io/gateway-name"
"""The label of a pod that stands for a Gateway of the Gateway API."""


@dataclass(frozen=True, slots=True)
class PolicyScope:
    """The workloads of a namespace with some labels; of the root namespace, those of the whole mesh.

    `targeted`: what is named instead, `gateways` in the policy's own namespace.
    """

    namespace: str
    selector: Labels = ()
    targeted: bool = False
    gateways: frozenset[str] = frozenset()

    def takes(self, namespace: str, labels: Mapping[str, str], root_namespace: str) -> bool:
        """Whether it is for the proxies of a namespace with these labels."""
        if self.targeted:
            return self.namespace == namespace and labels.get(GATEWAY_NAME) in self.gateways
        if self.namespace not in {namespace, root_namespace}:
            return False
        return all(labels.get(key) == value for key, value in self.selector)

    @property
    def label_keys(self) -> frozenset[str]:
        """The labels on which it depends."""
        return frozenset({GATEWAY_NAME} if self.targeted else (key for key, _ in self.selector))


def policy_scope(
    namespace: str, selector: WorkloadSelector | None, one: PolicyTarget | None, several: tuple[PolicyTarget, ...]
) -> PolicyScope:
    """Translate `selector`, `targetRef` and `targetRefs`."""
    targets = several if one is None else (one, *several)
    return PolicyScope(
        namespace,
        sorted_labels(selector.match_labels) if selector is not None else (),
        targeted=bool(targets),
        gateways=frozenset(each.name for each in targets if each.kind == "Gateway"),
    )
