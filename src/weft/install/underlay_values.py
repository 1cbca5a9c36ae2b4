"""What an operator chooses of the underlay networks, under the names that Spiderpool's Helm chart gives it.

`coordinator.vethLinkAddress=169.254.100.1` is what follows `--set`, in Helm's way of writing it.
"""

import difflib
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

import msgspec

Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]


class BadValueError(ValueError):
    """A value that cannot be used; the message says which, and the way out."""


class Global(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Where things lie on the nodes, and where images come from."""

    image_registry_override: str = ""
    cni_bin_host_path: str = "/opt/cni/bin"
    cni_conf_host_path: str = "/etc/cni/net.d"
    ipam_unix_socket_host_path: str = msgspec.field(
        name="ipamUNIXSocketHostPath", default="/var/run/spidernet/spiderpool.sock"
    )
    config_name: str = "spiderpool-conf"
    cilium_config_map: str = "kube-system/cilium-config"


class Deleting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Addresses of pods whose deletion takes longer than their grace, given back `delay` seconds after it."""

    enabled: bool = True
    delay: Annotated[int, msgspec.Meta(ge=0)] = 0


class Scan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The look through all addresses."""

    interval_in_second: Annotated[int, msgspec.Meta(ge=1)] = 600


class Gc(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Addresses of what is gone."""

    enabled: bool = True
    gc_all: Scan = Scan()
    deleting: Deleting = msgspec.field(name="GcDeletingTimeOutPod", default=Deleting())


class AutoPool(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Pools that are made of a subnet for an application."""

    enable: bool = True
    redundant: Annotated[int, msgspec.Meta(ge=0)] = msgspec.field(name="defaultRedundantIPNumber", default=1)


class Subnets(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """SpiderSubnet."""

    enable: bool = True
    auto_pool: AutoPool = AutoPool()


class Ipam(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """How addresses are given. For so many seconds after it was given back (Weft's own value) nobody gets one."""

    enable_ipv4: bool = msgspec.field(name="enableIPv4", default=True)
    enable_ipv6: bool = msgspec.field(name="enableIPv6", default=True)
    enable_stateful_set: bool = True
    enable_kubevirt: bool = msgspec.field(name="enableKubevirtStaticIP", default=True)
    enable_conflict_detection: bool = msgspec.field(name="enableIPConflictDetection", default=False)
    enable_gateway_detection: bool = False
    ip_rest_seconds: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 5
    spider_subnet: Subnets = Subnets()
    gc: Gc = Gc()


class Coordinator(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The SpiderCoordinator that is made. What is not given here is the kind's own default."""

    enabled: bool = True
    name: str = "default"
    mode: Literal["auto", "underlay", "overlay", "disabled"] = "auto"
    pod_cidr_type: Literal["auto", "cluster", "calico", "cilium", "none"] = msgspec.field(
        name="podCIDRType", default="auto"
    )
    tune_pod_routes: bool = True
    hijack_cidr: tuple[str, ...] = msgspec.field(name="hijackCIDR", default=("169.254.0.0/16",))
    veth_link_address: str = ""
    detect_gateway: bool | None = None
    detect_ip_conflict: bool | None = msgspec.field(name="detectIPConflict", default=None)
    pod_default_route_nic: str | None = msgspec.field(name="podDefaultRouteNIC", default=None)
    pod_mac_prefix: str | None = msgspec.field(name="podMACPrefix", default=None)
    host_rule_table: int | None = None
    pod_rp_filter: int | None = msgspec.field(name="podRPFilter", default=None)
    tx_queue_len: int | None = None
    veth_mtu: int | None = msgspec.field(name="vethMTU", default=None)


class MultusCni(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The plugin that gives pods several interfaces. Without `default`, the node's first network is in force."""

    install: bool = True
    default: str = msgspec.field(name="defaultCniCRName", default="")


class Multus(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Multus, and the networks that are made of SpiderMultusConfigs."""

    enable_multus_config: bool = True
    multus_cni: MultusCni = msgspec.field(name="multusCNI", default=MultusCni())


class DefaultPool(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Pools that are made at the installation, which serve every pod that names none."""

    install_ipv4: bool = msgspec.field(name="installIPv4IPPool", default=False)
    ipv4_name: str = msgspec.field(name="ipv4IPPoolName", default="default-v4-ippool")
    ipv4_subnet: str = ""
    ipv4_ranges: tuple[str, ...] = msgspec.field(name="ipv4IPRanges", default=())
    ipv4_gateway: str = ""
    install_ipv6: bool = msgspec.field(name="installIPv6IPPool", default=False)
    ipv6_name: str = msgspec.field(name="ipv6IPPoolName", default="default-v6-ippool")
    ipv6_subnet: str = ""
    ipv6_ranges: tuple[str, ...] = msgspec.field(name="ipv6IPRanges", default=())
    ipv6_gateway: str = ""


class Prometheus(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The port of the metrics."""

    port: Port = 5711


class Debug(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """How much is logged."""

    log_level: Literal["debug", "info", "warn", "error"] = "info"


class Agent(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The node process. `http_port` is that of its probes."""

    http_port: Port = 5710
    prometheus: Prometheus = Prometheus()
    debug: Debug = Debug()


class PodResourceInject(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whether pods get networks by the annotations `cni.spidernet.io/…-resource-inject`."""

    enabled: bool = False


class Controller(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The controller. `enable_validating…`: a pool with addresses in use is not deleted."""

    replicas: Annotated[int, msgspec.Meta(ge=1)] = 1
    http_port: Port = 5720
    webhook_port: Port = 5722
    prometheus: Prometheus = Prometheus(port=5721)
    debug: Debug = Debug()
    refuse_deletion: bool = msgspec.field(name="enableValidatingResourcesDeletedWebhook", default=False)
    pod_resource_inject: PodResourceInject = PodResourceInject()


class Values(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """All of it."""

    global_: Global = msgspec.field(name="global", default=Global())
    ipam: Ipam = Ipam()
    coordinator: Coordinator = Coordinator()
    multus: Multus = Multus()
    default_pool: DefaultPool = msgspec.field(name="clusterDefaultPool", default=DefaultPool())
    agent: Agent = msgspec.field(name="spiderpoolAgent", default=Agent())
    controller: Controller = msgspec.field(name="spiderpoolController", default=Controller())


def read(settings: Sequence[str]) -> Values:
    """The values that `--set` options make, the later over the earlier. BadValueError for what cannot be meant.

    >>> read(["coordinator.mode=overlay,ipam.gc.gcAll.intervalInSecond=60"]).coordinator.mode
    'overlay'
    """
    tree: dict[str, Any] = {}
    for each in settings:
        for setting in _split(each):
            path, equals, text = setting.partition("=")
            if not equals:
                raise BadValueError(
                    f"--set {each}: {setting!r} has no value. Write it as coordinator.mode=overlay."
                )
            _put(tree, path.strip(), text)
    try:
        return msgspec.convert(tree, Values)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$.")
        raise BadValueError(f"--set {where.rstrip('`')}: {what}.") from error


def names() -> list[str]:
    """All names that may follow `--set`."""
    return list(_names(Values, ""))


def defaults() -> dict[str, Any]:
    """All values as they are without any option, by name: text for `--help` and the reference."""
    return {name: _at(msgspec.to_builtins(Values()), name) for name in names()}


def _at(tree: Any, name: str) -> Any:
    for part in name.split("."):
        tree = tree[part]
    return tree


def _names(shape: type[msgspec.Struct], above: str) -> Iterator[str]:
    for field in msgspec.structs.fields(shape):
        inner = field.type
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
            yield from _names(inner, f"{above}{field.encode_name}.")
        else:
            yield f"{above}{field.encode_name}"


def _put(tree: dict[str, Any], path: str, text: str) -> None:
    if path not in (known := names()):
        near = difflib.get_close_matches(path, known, 3, 0.5) or known
        raise BadValueError(f"--set {path}: there is no such value. There are: {', '.join(near)}.")
    *above, last = path.split(".")
    for part in above:
        tree = tree.setdefault(part, {})
    tree[last] = _value(text)


def _split(text: str) -> Iterator[str]:
    """Settings of one option, by commas that are not within braces."""
    depth, part = 0, ""
    for char in text:
        depth += {"{": 1, "}": -1}.get(char, 0)
        if char == "," and not depth:
            yield part
            part = ""
        else:
            part += char
    if part or not text:
        yield part


def _value(text: str) -> Any:
    """As Helm reads one: true, false, whole numbers, `{a,b}` lists; all else is text."""
    if text.startswith("{") and text.endswith("}"):
        return [each.strip() for each in text[1:-1].split(",") if each.strip()]
    if text in {"true", "false"}:
        return text == "true"
    whole = text.removeprefix("-")
    is_number = whole.isascii() and whole.isdecimal() and (whole == "0" or whole[0] != "0")
    return int(text) if is_number else text
