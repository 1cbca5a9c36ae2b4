"""From a SpiderMultusConfig to the network that pods ask for: the CNI configuration of its type, and its plugins.

Only what a SpiderMultusConfig says is written: what it leaves out is decided by the SpiderCoordinator when a pod
starts, so that a change there reaches every network.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from weft.api.network_attachment import RESOURCE_NAME
from weft.api.spider_coordinator import CoordinatorSpec
from weft.api.spider_multus_config import (
    CNI_VERSION,
    CONFIG_NAME,
    CR_NAME,
    DEFAULT_CNI_VERSION,
    IbSriov,
    Ipoib,
    MultusConfigSpec,
    OnMaster,
    Ovs,
    Pools,
    SpiderMultusConfig,
    Sriov,
    WithPools,
)
from weft.api.underlay_shape import API_VERSION

Json = dict[str, Any]

_OVS_RESOURCE: Final = "ovs-cni.network.kubevirt.io"


class NoNetworkError(ValueError):
    """A SpiderMultusConfig of which no network can be made; the message names the field and the way out."""


@dataclass(frozen=True, slots=True)
class Network:
    """What becomes a NetworkAttachmentDefinition. Without `config`, a file of this name on the node is it."""

    namespace: str
    name: str
    annotations: dict[str, str]
    config: str = ""


def attachment_name(config: SpiderMultusConfig) -> str:
    """The name of the NetworkAttachmentDefinition."""
    return (config.metadata.annotations or {}).get(CR_NAME) or config.metadata.name


def network(config: SpiderMultusConfig) -> Network:
    """The network of a SpiderMultusConfig, or NoNetworkError."""
    annotations = dict(config.metadata.annotations or {})
    name, spec = attachment_name(config), config.spec
    if needed := resource(spec):
        annotations[RESOURCE_NAME] = needed
    if spec.cni_type == "custom":
        text = spec.custom_cni or ""
        if text:
            _decoded(text, "spec.customCNI")
        return Network(config.metadata.namespace, name, annotations, text)
    conflist = {
        "cniVersion": annotations.get(CNI_VERSION) or DEFAULT_CNI_VERSION,
        "name": annotations.get(CONFIG_NAME) or name,
        "plugins": [*_plugins(spec)],
    }
    text = json.dumps(conflist, separators=(",", ":"))
    return Network(config.metadata.namespace, name, annotations, text)


def manifest(config: SpiderMultusConfig, made: Network) -> Json:
    """The NetworkAttachmentDefinition, which belongs to its SpiderMultusConfig and goes with it."""
    owner = {
        "apiVersion": API_VERSION,
        "kind": "SpiderMultusConfig",
        "name": config.metadata.name,
        "uid": config.metadata.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
    metadata: Json = {"name": made.name, "namespace": made.namespace, "ownerReferences": [owner]}
    if made.annotations:
        metadata["annotations"] = made.annotations
    return {"metadata": metadata, "spec": {"config": made.config} if made.config else {}}


def block(spec: MultusConfigSpec) -> WithPools | None:
    """The block of the network's own type, where there is one."""
    field = spec.cni_type.replace("-", "")
    found: WithPools | None = None if field == "custom" else getattr(spec, field)
    return found


def pools(of: WithPools) -> Pools:
    """The pools of a network, under whichever name they are written."""
    written = of.ippools or of.spiderpool_config_pools or Pools()
    return Pools(
        ipv4=written.ipv4 or written.ipv4_ip_pool,
        ipv6=written.ipv6 or written.ipv6_ip_pool,
        match_master_subnet=written.match_master_subnet,
    )


def parent(of: OnMaster) -> str:
    """The interface of the node that the pod's is above: the master, the bond of several, or a VLAN of either."""
    return f"{_base(of)}.{of.vlan_id}" if of.vlan_id else _base(of)


def resource(spec: MultusConfigSpec) -> str:
    """The resource of a device plugin that a pod on the network needs."""
    match block(spec):
        case Sriov() | IbSriov() as card:
            return card.resource_name
        case Ovs() as port if port.device_id:
            return f"{_OVS_RESOURCE}/{port.bridge}"
        case OnMaster() as on:
            return on.rdma_resource_name or ""
        case _:
            return ""


def _plugins(spec: MultusConfigSpec) -> Iterator[Json]:
    """In the order in which they run."""
    of = block(spec)
    if of is None:
        field = spec.cni_type.replace("-", "")
        raise NoNetworkError(f"spec.{field} is missing, which cniType {spec.cni_type} needs. Add it.")
    yield from _main(spec.cni_type, of, {} if spec.disable_ipam else {"ipam": _ipam(of)})
    for index, text in enumerate(spec.chain_cni_json_data or ()):
        yield _chained(text, f"spec.chainCNIJsonData[{index}]")
    if spec.enable_coordinator is not False:
        yield _coordinator(spec.coordinator or CoordinatorSpec())
    if isinstance(of, Sriov) and of.mtu:
        yield {"type": "tuning", "mtu": of.mtu}


def _main(cni_type: str, of: WithPools, ipam: Json) -> Iterator[Json]:
    """The plugin that makes the interface, what has to be there before it, and what belongs to it."""
    match of:
        case OnMaster():
            yield from _on_master(cni_type, of, ipam)
        case Sriov():
            rates = {"vlan": of.vlan_id, "min_tx_rate": of.min_tx_rate_mbps, "max_tx_rate": of.max_tx_rate_mbps}
            yield {"type": cni_type} | _given(rates) | ipam
            if of.enable_rdma or of.rdma_isolation:
                yield {"type": "rdma"}
        case IbSriov():
            yield {"type": cni_type} | _infiniband(of) | ipam
        case Ipoib():
            yield {"type": cni_type, "master": of.master} | ipam
        case Ovs():
            trunk = [
                _given({"minID": each.min_id, "maxID": each.max_id, "id": each.id}) for each in of.trunk or ()
            ]
            more = {"vlan": of.vlan, "trunk": trunk or None, "deviceID": of.device_id or None}
            yield {"type": cni_type, "bridge": of.bridge} | _given(more) | ipam


def _on_master(cni_type: str, on: OnMaster, ipam: Json) -> Iterator[Json]:
    if cni_type == "vlan":
        # the plugin makes the VLAN's interface itself, so the node needs only the bond
        if on.bond and len(on.master) > 1:
            yield _ifacer(on, 0)
        yield {"type": cni_type, "master": _base(on), "vlanId": on.vlan_id or 0, "mtu": on.mtu or 0} | ipam
        return
    if on.vlan_id or len(on.master) > 1:
        yield _ifacer(on, on.vlan_id or 0)
    mode = "bridge" if cni_type == "macvlan" else "l2"
    yield {"type": cni_type, "master": parent(on), "mode": mode, "mtu": on.mtu or 0} | ipam


def _infiniband(of: IbSriov) -> Json:
    kubernetes = of.ib_kubernetes_enabled or False
    return {
        **_given({"pkey": of.pkey}),
        "link_state": of.link_state or "enable",
        "rdmaIsolation": of.rdma_isolation is not False,
        "ibKubernetesEnabled": kubernetes,
        **({"capabilities": {"infinibandGUID": True}} if kubernetes else {}),
    }


def _base(of: OnMaster) -> str:
    if len(of.master) == 1:
        return of.master[0]
    if not of.master or of.bond is None:
        raise NoNetworkError("master names no interface, or several without bond. Write one, or add bond.")
    return of.bond.name


def _ifacer(on: OnMaster, vlan: int) -> Json:
    bond = on.bond if len(on.master) > 1 else None
    joined = {"name": bond.name, "mode": bond.mode} | _given({"options": bond.options}) if bond else None
    return {"type": "ifacer", "interfaces": list(on.master)} | _given({"vlanID": vlan or None, "bond": joined})


def _ipam(of: WithPools) -> Json:
    chosen = pools(of)
    lists = {
        "default_ipv4_ippool": list(chosen.ipv4) if chosen.ipv4 else None,
        "default_ipv6_ippool": list(chosen.ipv6) if chosen.ipv6 else None,
        "match_master_subnet": chosen.match_master_subnet or None,
    }
    return {"type": "spiderpool"} | _given(lists)


def _coordinator(spec: CoordinatorSpec) -> Json:
    """All that is set, and nothing else."""
    settings = {
        "mode": spec.mode,
        "tunePodRoutes": spec.tune_pod_routes,
        "hijackCIDR": list(spec.hijack_cidr) if spec.hijack_cidr else None,
        "policyRoutes": [{"dst": each.dst, "gw": each.gw} for each in spec.policy_routes or ()] or None,
        "podMACPrefix": spec.pod_mac_prefix or None,
        "podDefaultRouteNIC": spec.pod_default_route_nic or None,
        "hostRuleTable": spec.host_rule_table,
        "podRPFilter": spec.pod_rp_filter,
        "txQueueLen": spec.tx_queue_len,
        "vethLinkAddress": spec.veth_link_address or None,
        "vethMTU": spec.veth_mtu,
    }
    return {"type": "coordinator"} | _given(settings)


def _chained(text: str, field: str) -> Json:
    found = _decoded(text, field)
    if not isinstance(found.get("type"), str) or not found["type"]:
        raise NoNetworkError(f'{field} has no "type". Write one plugin: {{"type": "tuning", …}}.')
    return found


def _decoded(text: str, field: str) -> Json:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NoNetworkError(f"{field} is no JSON: {error}. Write one object.") from None
    if not isinstance(found, dict):
        raise NoNetworkError(f"{field} is no JSON object. Write {{…}}.")
    return found


def _given(values: Json) -> Json:
    return {key: value for key, value in values.items() if value is not None}
