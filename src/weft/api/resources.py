"""Istio's kinds that are acted on: for each its shape, its checks and its versions."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from weft.api import (
    authorization_policy_checks,
    destination_rule_checks,
    envoy_filter_checks,
    gateway_checks,
    peer_authentication_checks,
    proxy_config_checks,
    request_authentication_checks,
    service_entry_checks,
    sidecar_checks,
    virtual_service_checks,
    workload_entry_checks,
    workload_group_checks,
)
from weft.api.authorization_policy import AuthorizationPolicy
from weft.api.destination_rule import DestinationRule
from weft.api.envoy_filter import EnvoyFilter
from weft.api.gateway import Gateway
from weft.api.peer_authentication import PeerAuthentication
from weft.api.proxy_config import ProxyConfig
from weft.api.report import Report
from weft.api.request_authentication import RequestAuthentication
from weft.api.service_entry import ServiceEntry
from weft.api.shape import Resource
from weft.api.sidecar import Sidecar
from weft.api.virtual_service import VirtualService
from weft.api.workload_entry import WorkloadEntry
from weft.api.workload_group import WorkloadGroup
from weft.base.problem import Problem

NETWORKING: Final = tuple(f"networking.istio.io/{version}" for version in ("v1", "v1beta1", "v1alpha3"))
SECURITY: Final = ("security.istio.io/v1", "security.istio.io/v1beta1")


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind. `check` gives all that is wrong with a decoded object by itself; `versions` are its apiVersions."""

    shape: type[Resource]
    check: Callable[[Any, Report], Iterator[Problem]]
    versions: tuple[str, ...] = NETWORKING


RESOURCES: Final[Mapping[str, Kind]] = {
    each.shape.__name__: each
    for each in (
        Kind(AuthorizationPolicy, authorization_policy_checks.check, SECURITY),
        Kind(VirtualService, virtual_service_checks.check),
        Kind(DestinationRule, destination_rule_checks.check),
        Kind(ProxyConfig, proxy_config_checks.check, ("networking.istio.io/v1beta1",)),
        Kind(EnvoyFilter, envoy_filter_checks.check, ("networking.istio.io/v1alpha3",)),
        Kind(Gateway, gateway_checks.check),
        Kind(PeerAuthentication, peer_authentication_checks.check, SECURITY),
        Kind(RequestAuthentication, request_authentication_checks.check, SECURITY),
        Kind(ServiceEntry, service_entry_checks.check),
        Kind(Sidecar, sidecar_checks.check),
        Kind(WorkloadEntry, workload_entry_checks.check),
        Kind(WorkloadGroup, workload_group_checks.check),
    )
}
"""By the name that objects have under `kind`."""
