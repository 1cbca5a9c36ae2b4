"""SpiderMultusConfig (spiderpool.spidernet.io): a network, of which a NetworkAttachmentDefinition is made."""

from typing import Annotated, Final, Literal

from msgspec import Meta, field

from weft.api.spider_coordinator import CoordinatorSpec
from weft.api.underlay_shape import Natural, Object, Part, VlanID, past

CR_NAME: Final = "multus.spidernet.io/cr-name"
"""Annotation: the name of the NetworkAttachmentDefinition, where it is another one."""
CNI_VERSION: Final = "multus.spidernet.io/cni-version"
"""Annotation: the version of CNI that its configuration speaks."""
CONFIG_NAME: Final = "cni.spidernet.io/cniconfig-name"
"""Annotation: the name within that configuration, by which chained plugins such as cilium-cni know it."""
NETWORK_INJECT: Final = "cni.spidernet.io/network-resource-inject"
RDMA_INJECT: Final = "cni.spidernet.io/rdma-resource-inject"
"""Annotations: pods with the same value get all networks that have it."""
CNI_VERSIONS: Final = ("0.3.0", "0.3.1", "0.4.0", "1.0.0")
DEFAULT_CNI_VERSION: Final = "0.3.1"

CniType = Literal["macvlan", "ipvlan", "vlan", "sriov", "ovs", "ib-sriov", "ipoib", "custom"]


class Pools(Part, frozen=True, kw_only=True):
    """The pools that a network's addresses come from, in order; `*`, `?` and `[]` are wildcards."""

    ipv4: tuple[str, ...] | None = None
    ipv6: tuple[str, ...] | None = None
    match_master_subnet: Annotated[
        bool | None, Meta(description="Only pools of the subnet that the master has an address of.")
    ] = None
    ipv4_ip_pool: Annotated[tuple[str, ...] | None, Meta(description="What older releases call ipv4.")] = field(
        default=None, name="IPv4IPPool"
    )
    ipv6_ip_pool: Annotated[tuple[str, ...] | None, Meta(description="What older releases call ipv6.")] = field(
        default=None, name="IPv6IPPool"
    )


class WithPools(Part, frozen=True, kw_only=True):
    """A network whose addresses come from pools."""

    ippools: Pools | None = None
    spiderpool_config_pools: Annotated[Pools | None, Meta(description="What older releases call ippools.")] = None


class Bond(Part, frozen=True, kw_only=True):
    """Several interfaces of a node joined to one."""

    name: Annotated[str, Meta(description="The name of the joined interface.")]
    mode: Annotated[int, Meta(ge=0, le=6, description="The mode, as the kernel numbers them.")] = 0
    options: Annotated[str | None, Meta(description="Options of the bond: miimon=100;fail_over_mac=1.")] = None


class OnMaster(WithPools, frozen=True, kw_only=True):
    """An interface above one of the node's."""

    master: Annotated[
        tuple[str, ...], Meta(description="The node's interface; several of them are joined by bond.")
    ]
    vlan_id: Annotated[VlanID | None, Meta(description="The VLAN of the interface; 0 is none.")] = field(
        default=None, name="vlanID"
    )
    mtu: Annotated[Natural | None, Meta(description="The MTU of the pod's interface; 0 is the master's.")] = None
    bond: Bond | None = None
    rdma_resource_name: Annotated[
        str | None, Meta(description="A resource of the RDMA device plugin that a pod on this network needs.")
    ] = None
    enable_rdma: Annotated[bool | None, past("rdmaResourceName serves.")] = None


class Sriov(WithPools, frozen=True, kw_only=True):
    """A virtual function of a network card."""

    resource_name: Annotated[str, Meta(description="The resource of the device plugin: vendor.com/name.")]
    vlan_id: VlanID | None = field(default=None, name="vlanID")
    mtu: Natural | None = None
    min_tx_rate_mbps: Annotated[Natural | None, Meta(description="0 is no limit.")] = None
    max_tx_rate_mbps: Annotated[Natural | None, Meta(description="0 is no limit.")] = None
    enable_rdma: Annotated[bool | None, Meta(description="The pod gets the RDMA device as well.")] = None
    rdma_isolation: bool | None = None


class IbSriov(WithPools, frozen=True, kw_only=True):
    """A virtual function of an InfiniBand card."""

    resource_name: Annotated[str, Meta(description="The resource of the device plugin: vendor.com/name.")]
    pkey: Annotated[str | None, Meta(description="The partition's key, such as 0x8001.")] = None
    link_state: Literal["auto", "enable", "disable"] | None = None
    rdma_isolation: bool | None = None
    ib_kubernetes_enabled: bool | None = None


class Ipoib(WithPools, frozen=True, kw_only=True):
    """IP over InfiniBand, above an interface of the node."""

    master: str


class Trunk(Part, frozen=True, kw_only=True):
    """VLANs that a port of Open vSwitch accepts: one, or from the least to the greatest."""

    id: VlanID | None = None
    min_id: VlanID | None = field(default=None, name="minID")
    max_id: VlanID | None = field(default=None, name="maxID")


class Ovs(WithPools, frozen=True, kw_only=True):
    """A port of a bridge of Open vSwitch."""

    bridge: str
    vlan: Annotated[VlanID | None, Meta(description="The VLAN of the port; without it, all of trunk.")] = None
    trunk: tuple[Trunk, ...] | None = None
    device_id: Annotated[str | None, Meta(description="The PCI address of a virtual function.")] = field(
        default=None, name="deviceID"
    )


class MultusConfigSpec(Part, frozen=True, kw_only=True):
    """A network: exactly the block of its type, and what goes beside it."""

    cni_type: CniType = "custom"
    macvlan: OnMaster | None = None
    ipvlan: OnMaster | None = None
    vlan: OnMaster | None = None
    sriov: Sriov | None = None
    ovs: Ovs | None = None
    ibsriov: IbSriov | None = None
    ipoib: Ipoib | None = None
    enable_coordinator: Annotated[bool | None, Meta(description="Puts routes in order; true by default.")] = None
    disable_ipam: Annotated[bool | None, Meta(description="The interface gets no address of Spiderpool's.")] = (
        field(default=None, name="disableIPAM")
    )
    coordinator: Annotated[
        CoordinatorSpec | None, Meta(description="Where this network differs from the SpiderCoordinator.")
    ] = None
    chain_cni_json_data: Annotated[
        tuple[str, ...] | None, Meta(description="JSON of plugins that run after the main one, in this order.")
    ] = field(default=None, name="chainCNIJsonData")
    custom_cni: Annotated[str | None, Meta(description="JSON of the whole network, for cniType custom.")] = field(
        default=None, name="customCNI"
    )


class SpiderMultusConfig(Object, frozen=True, kw_only=True):
    """A network for pods."""

    spec: MultusConfigSpec = MultusConfigSpec()
