"""What is wrong with a SpiderMultusConfig: by itself, and beside the networks and pools that exist."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from weft.api import codes
from weft.api.network_attachment import NetworkAttachmentDefinition
from weft.api.report import Report
from weft.api.spider_ippool import SpiderIPPool
from weft.api.spider_multus_config import (
    CNI_VERSION,
    CNI_VERSIONS,
    CR_NAME,
    Bond,
    IbSriov,
    Ipoib,
    MultusConfigSpec,
    OnMaster,
    Ovs,
    SpiderMultusConfig,
    Sriov,
    WithPools,
)
from weft.base.names import is_dns_label
from weft.base.problem import Problem, Severity
from weft.base.texts import interface
from weft.underlay.coordinator.checks import check_past, check_settings
from weft.underlay.networks import network_config
from weft.underlay.networks.attachments import is_made_of
from weft.underlay.networks.network_config import NoNetworkError, attachment_name

_BLOCKS: Final = ("macvlan", "ipvlan", "vlan", "sriov", "ovs", "ibsriov", "ipoib")
_LONGEST_NAME: Final = 253
_WILD: Final = frozenset("*?[]")


def check_network(
    config: SpiderMultusConfig,
    configs: Iterable[SpiderMultusConfig],
    attachments: Iterable[NetworkAttachmentDefinition],
    pools: Mapping[str, SpiderIPPool],
    pen: Report,
) -> Iterator[Problem]:
    """The network by itself, and its name and pools beside others'."""
    itself = [*_check_annotations(config, pen), *_check_block(config.spec, pen)]
    yield from itself
    if all(each.severity is not Severity.ERROR for each in itself):
        try:
            network_config.network(config)
        except NoNetworkError as error:
            yield pen.error("", str(error), "")
    if config.spec.coordinator:
        yield from check_settings(config.spec.coordinator, "spec.coordinator", pen)
        if config.spec.enable_coordinator is False:
            yield pen.warning(
                "spec.coordinator", "has no effect while enableCoordinator is false.", "Remove either."
            )
        if config.spec.coordinator.pod_cidr_type:
            hint = "The ranges are the cluster's: write it in the SpiderCoordinator."
            yield pen.warning("spec.coordinator.podCIDRType", "has no effect in one network.", hint)
    yield from _check_name(config, configs, attachments, pen)
    if (of := network_config.block(config.spec)) is not None:
        yield from _check_pools(config.spec, of, pools, pen)


def check_network_change(old: SpiderMultusConfig, new: SpiderMultusConfig, pen: Report) -> Iterator[Problem]:
    """Pods know the network by its name, which stays."""
    before, after = attachment_name(old), attachment_name(new)
    if before != after:
        yield pen.error(
            f'metadata.annotations["{CR_NAME}"]',
            f'the network is "{before}", and cannot be renamed "{after}".',
            "Make another SpiderMultusConfig of that name, then delete this one.",
        )


def _check_annotations(config: SpiderMultusConfig, pen: Report) -> Iterator[Problem]:
    annotations = config.metadata.annotations or {}
    if (name := annotations.get(CR_NAME)) is not None:
        good = len(name) <= _LONGEST_NAME and all(map(is_dns_label, name.split(".")))
        if not good:
            hint = "Write lower case letters, digits, - and dots."
            yield pen.error(f'metadata.annotations["{CR_NAME}"]', f'"{name}" cannot be a name.', hint)
    if (version := annotations.get(CNI_VERSION)) is not None and version not in CNI_VERSIONS:
        yield pen.error(
            f'metadata.annotations["{CNI_VERSION}"]',
            f'"{version}" is no version that is served.',
            f"Write one of {', '.join(CNI_VERSIONS)}.",
        )


def _check_block(spec: MultusConfigSpec, pen: Report) -> Iterator[Problem]:
    own = "" if spec.cni_type == "custom" else spec.cni_type.replace("-", "")
    for name in _BLOCKS:
        if name != own and getattr(spec, name) is not None:
            yield pen.error(f"spec.{name}", f"does not go with cniType {spec.cni_type}.", "Remove one of them.")
    if own and spec.custom_cni:
        yield pen.error("spec.customCNI", f"does not go with cniType {spec.cni_type}.", "Remove one of them.")
    if not own:
        return
    of = network_config.block(spec)
    if of is None:
        yield pen.error(f"spec.{own}", f"is missing, which cniType {spec.cni_type} needs.", "Add it.")
        return
    yield from check_past(of, f"spec.{own}", pen)
    yield from _check_own(spec.cni_type, of, f"spec.{own}", pen)


def _check_own(cni_type: str, of: WithPools, path: str, pen: Report) -> Iterator[Problem]:
    match of:
        case OnMaster():
            yield from _check_masters(cni_type, of, path, pen)
        case Sriov():
            low, high = of.min_tx_rate_mbps, of.max_tx_rate_mbps
            if low and high and low > high:
                yield pen.error(f"{path}.minTxRateMbps", f"is more than maxTxRateMbps {high}.", "Swap them.")
            yield from _check_given(of.resource_name, f"{path}.resourceName", "vendor.com/name", pen)
        case IbSriov():
            yield from _check_given(of.resource_name, f"{path}.resourceName", "vendor.com/name", pen)
        case Ipoib():
            yield from _check_interface(of.master, f"{path}.master", pen)
        case Ovs():
            yield from _check_ovs(of, pen)


def _check_masters(cni_type: str, on: OnMaster, path: str, pen: Report) -> Iterator[Problem]:
    if not on.master:
        yield pen.error(f"{path}.master", "is empty.", "Write the node's interface, such as ens192.")
        return
    for index, each in enumerate(on.master):
        yield from _check_interface(each, f"{path}.master[{index}]", pen)
    if len(set(on.master)) < len(on.master):
        yield pen.error(f"{path}.master", "has an interface twice.", "Keep one of them.")
    if len(on.master) > 1:
        if on.bond is None:
            hint = "Add bond with a name and a mode, which joins them."
            yield pen.error(f"{path}.bond", "is missing: there are several masters.", hint)
            return
        yield from _check_bond(on.bond, f"{path}.bond", pen)
    elif on.bond is not None:
        yield pen.warning(f"{path}.bond", "has no effect with one master.", "Add a second master, or remove it.")
    if cni_type == "vlan" and not on.vlan_id:
        yield pen.error(f"{path}.vlanID", "is missing, which cniType vlan needs.", "Write 1 to 4094.")
    elif cni_type != "vlan" and on.vlan_id:
        yield from _check_interface(network_config.parent(on), f"{path}.vlanID", pen)


def _check_bond(bond: Bond, path: str, pen: Report) -> Iterator[Problem]:
    yield from _check_interface(bond.name, f"{path}.name", pen)
    for option in (bond.options or "").split(";"):
        name, equals, value = option.partition("=")
        if option.strip() and not (equals and name.strip() and value.strip()):
            hint = "Write them like miimon=100;fail_over_mac=1."
            yield pen.error(f"{path}.options", f'"{option}" is no option.', hint)


def _check_ovs(port: Ovs, pen: Report) -> Iterator[Problem]:
    yield from _check_given(port.bridge, "spec.ovs.bridge", "br1", pen)
    for index, each in enumerate(port.trunk or ()):
        place = f"spec.ovs.trunk[{index}]"
        if (each.min_id is None) != (each.max_id is None):
            yield pen.error(place, "has one end.", "Write minID and maxID, or id.")
        elif each.min_id is not None and each.max_id is not None and each.min_id > each.max_id:
            yield pen.error(place, f"begins at {each.min_id} and ends at {each.max_id}.", "Swap them.")


def _check_name(
    config: SpiderMultusConfig,
    configs: Iterable[SpiderMultusConfig],
    attachments: Iterable[NetworkAttachmentDefinition],
    pen: Report,
) -> Iterator[Problem]:
    name, meta = attachment_name(config), config.metadata
    for each in configs:
        same = each.metadata.namespace == meta.namespace and attachment_name(each) == name
        if same and each.metadata.name != meta.name:
            message = f'SpiderMultusConfig {each.metadata.name} makes the network "{name}" already.'
            yield pen.error(f'metadata.annotations["{CR_NAME}"]', message, "Give one of them another name.")
    for found in attachments:
        here = (found.metadata.namespace, found.metadata.name) == (meta.namespace, name)
        if here and not is_made_of(found, config):
            message = f'NetworkAttachmentDefinition "{name}" is there already and not made of this.'
            hint = f"It stays as it is. Delete it, or choose another name by the annotation {CR_NAME}."
            yield pen.warning("metadata.name", message, hint)


def _check_pools(
    spec: MultusConfigSpec, of: WithPools, pools: Mapping[str, SpiderIPPool], pen: Report
) -> Iterator[Problem]:
    own = spec.cni_type.replace("-", "")
    old = of.ippools is None and of.spiderpool_config_pools is not None
    path = f"spec.{own}.{'spiderpoolConfigPools' if old else 'ippools'}"
    if old:
        hint = f"Rename it ippools, and its lists ipv4 and ipv6: spec.{own}.ippools.ipv4."
        yield pen.warning(path, "is what older releases call ippools.", hint, codes.DEPRECATED)
    chosen = network_config.pools(of)
    if spec.disable_ipam and (chosen.ipv4 or chosen.ipv6):
        yield pen.warning(path, "has no effect while disableIPAM is true.", "Remove either.")
    for version, names in ((4, chosen.ipv4), (6, chosen.ipv6)):
        for name in names or ():
            found = pools.get(name)
            if found is not None and ":" in found.spec.subnet and version == 4:
                yield pen.error(path, f"SpiderIPPool {name} is IPv6, in the list of IPv4.", "Move it.")
            elif found is not None and ":" not in found.spec.subnet and version == 6:
                yield pen.error(path, f"SpiderIPPool {name} is IPv4, in the list of IPv6.", "Move it.")
            elif found is None and not _WILD & set(name):
                yield pen.warning(path, f"there is no SpiderIPPool {name} yet.", "Pods wait until there is.")


def _check_interface(name: str, field: str, pen: Report) -> Iterator[Problem]:
    try:
        interface(name)
    except ValueError as error:
        yield pen.error(field, f'"{name}" {error}', "")


def _check_given(value: str, field: str, example: str, pen: Report) -> Iterator[Problem]:
    if not value:
        yield pen.error(field, "is empty.", f"Write it like {example}.")
