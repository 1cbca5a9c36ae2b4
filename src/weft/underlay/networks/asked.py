"""The networks that a pod asks for, as its annotations name them, and what each network's plugins are told.

Annotations are Multus's: `k8s.v1.cni.cncf.io/networks` is a list of names or of objects as JSON, and
`v1.multus-cni.io/default-network` one of them, for the pod's first interface.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_interface
from typing import Any, Final

import msgspec

Json = dict[str, Any]
Address = IPv4Address | IPv6Address

NETWORKS: Final = "k8s.v1.cni.cncf.io/networks"
DEFAULT_NETWORK: Final = "v1.multus-cni.io/default-network"
_USUAL_VERSION: Final = "0.3.1"
_OLD: Final = {"coordinattor": "coordinator"}
"""Types that older releases of Spiderpool have written."""
_MOST: Final = 64
"""Interfaces of a pod."""
_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_INTERFACE: Final = re.compile(r"[^\s/:]{1,15}")
_MAC: Final = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}")
_GUID: Final = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){7}")


class NetworksError(ValueError):
    """What a pod asks for, or a network says, cannot be used; the message says what and the way out."""


@dataclass(frozen=True, slots=True)
class Selection:
    """A network that a pod asks for. `gateways` is None where it asks for no default route."""

    namespace: str
    name: str
    interface: str = ""
    ips: tuple[str, ...] = ()
    mac: str = ""
    guid: str = ""
    ports: tuple[Json, ...] = ()
    bandwidth: Mapping[str, Any] = field(default_factory=dict)
    gateways: tuple[Address, ...] | None = None
    device: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class _Element(msgspec.Struct):
    """An object of the annotation, with the keys that it has there."""

    name: str
    namespace: str = ""
    interface: str | None = None
    ips: list[str] | None = None
    mac: str | None = None
    guid: str | None = msgspec.field(default=None, name="infiniband-guid")
    ports: list[Json] | None = msgspec.field(default=None, name="portMappings")
    bandwidth: Json | None = None
    gateways: list[str] | None = msgspec.field(default=None, name="default-route")
    device: str | None = msgspec.field(default=None, name="deviceID")
    arguments: Json | None = msgspec.field(default=None, name="cni-args")


def selections(written: str, namespace: str, annotation: str = NETWORKS) -> tuple[Selection, ...]:
    """The networks that an annotation asks for, or NetworksError. `namespace` is that of names without one."""
    if not written.strip():
        return ()
    read = _objects if any(one in written for one in '[{"') else _names
    try:
        found = read(written, namespace)
        _check_all(found)
    except NetworksError as error:
        raise NetworksError(f"annotation {annotation}: {error}") from None
    return found


def _objects(written: str, namespace: str) -> tuple[Selection, ...]:
    try:
        elements = msgspec.json.decode(written, type=list[_Element])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NetworksError(f'it is no list of networks as JSON, as [{{"name": "macvlan"}}]: {error}') from None
    return tuple(
        Selection(
            namespace=each.namespace or namespace,
            name=each.name,
            interface=each.interface or "",
            ips=tuple(each.ips or ()),
            mac=each.mac or "",
            guid=each.guid or "",
            ports=tuple(each.ports or ()),
            bandwidth=each.bandwidth or {},
            gateways=None if each.gateways is None else tuple(_gateway(one) for one in each.gateways),
            device=each.device or "",
            arguments=each.arguments or {},
        )
        for each in elements
    )


def _names(written: str, namespace: str) -> tuple[Selection, ...]:
    return tuple(_named(each.strip(), namespace) for each in written.split(","))


def _named(written: str, namespace: str) -> Selection:
    path, at, interface = written.partition("@")
    if written.count("/") > 1 or written.count("@") > 1 or (at and not interface):
        raise NetworksError(f"{written!r} is no network. Write NAME, NAMESPACE/NAME or NAMESPACE/NAME@INTERFACE")
    before, slash, name = path.rpartition("/")
    return Selection(before if slash else namespace, name, interface)


def _gateway(written: str) -> Address:
    try:
        return ip_address(written)
    except ValueError:
        raise NetworksError(f"default-route {written!r} is no address of a gateway") from None


def _check_all(found: Sequence[Selection]) -> None:
    if len(found) > _MOST:
        raise NetworksError(f"{len(found)} networks are more than {_MOST}")
    for each in found:
        _check(each)


def _check(one: Selection) -> None:
    for what, written in (("name", one.name), ("namespace", one.namespace)):
        if not _NAME.fullmatch(written):
            raise NetworksError(
                f"the {what} {written!r} of a network is none that Kubernetes allows: "
                "lower case letters, digits, '-' and '.' (DNS-1123)"
            )
    if one.interface and (not _INTERFACE.fullmatch(one.interface) or one.interface in {".", ".."}):
        raise NetworksError(
            f"{one}: {one.interface!r} is no name of an interface: 1 to 15 characters, no '/' or ':'"
        )
    for address in one.ips:
        try:
            ip_interface(address)
        except ValueError:
            raise NetworksError(
                f"{one}: {address!r} in ips is no address. Write 10.6.0.9 or 10.6.0.9/16"
            ) from None
    if one.mac and not _MAC.fullmatch(one.mac):
        raise NetworksError(f"{one}: mac {one.mac!r} is none. Write six pairs of digits, as 02:00:0a:06:00:09")
    if one.guid and not _GUID.fullmatch(one.guid):
        raise NetworksError(f"{one}: infiniband-guid {one.guid!r} is none. Write eight pairs of digits")


def of_interface(annotations: Mapping[str, str], namespace: str, interface: str, first: str, own: str) -> str:
    """The attachment of a pod's interface, as namespace/name; "" for the network of all pods, if that has no name.

    `first` names that network, and `own` is the namespace of such names.
    """
    chosen = selections(annotations.get(NETWORKS, ""), namespace)
    named = [each.interface or f"net{place}" for place, each in enumerate(chosen, 1)]
    if interface in named:
        return str(chosen[named.index(interface)])
    over = selections(annotations.get(DEFAULT_NETWORK, "") or first, own, DEFAULT_NETWORK)
    return str(over[0]) if over else ""


def interfaces(chosen: Sequence[Selection], first: str) -> tuple[str, ...]:
    """The interface of each: what it asks for, or `net` and its place. `first` is taken already."""
    names = tuple(each.interface or f"net{place}" for place, each in enumerate(chosen, 1))
    for place, name in enumerate(names):
        if name == first or name in names[:place]:
            raise NetworksError(f"two networks of the pod want the interface {name}. Name another after @")
    return names


def gateways(chosen: Sequence[Selection | None]) -> tuple[tuple[frozenset[int], tuple[Address, ...]], ...]:
    """What becomes of each network's default routes: IP versions to drop, and gateways to go by instead."""
    wanted = [address for each in chosen if each for address in each.gateways or ()]
    for version in (4, 6):
        if len(several := [address for address in wanted if address.version == version]) > 1:
            raise NetworksError(
                f"default-route: {' and '.join(map(str, several))} are two gateways of IPv{version}. Choose one"
            )
    # an empty list says: this network's own gateway, and nobody else's
    own = [place for place, each in enumerate(chosen) if each and each.gateways == ()]
    plans = []
    for place, each in enumerate(chosen):
        asked = (each.gateways or ()) if each else ()
        drop = {address.version for address in wanted}
        if own and place not in own:
            drop = {4, 6}
        plans.append((frozenset(drop), asked))
    return tuple(plans)


def listed(config: str, name: str) -> Json:
    """The list of plugins of a NetworkAttachmentDefinition's configuration, or NetworksError."""
    try:
        found = msgspec.json.decode(config)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NetworksError(f"spec.config is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise NetworksError("spec.config is no JSON object")
    version = found.get("cniVersion") or _USUAL_VERSION
    if "plugins" not in found:
        found = {
            "plugins": [{key: value for key, value in found.items() if key not in {"name", "cniVersion"}}]
        } | {"name": found.get("name")}
    plugins = found["plugins"]
    if not isinstance(plugins, list) or not plugins:
        raise NetworksError("spec.config: plugins is no list of plugins")
    if not all(isinstance(each, dict) and isinstance(each.get("type"), str) and each["type"] for each in plugins):
        raise NetworksError("spec.config: a plugin has no type")
    plugins = [{**each, "type": _OLD.get(each["type"], each["type"])} for each in plugins]
    return {**found, "cniVersion": version, "name": found.get("name") or name, "plugins": plugins}


def finished(network: Json, chosen: Selection | None, runtime: Mapping[str, Any] | None = None) -> Json:
    """A network's list with what a pod asks for, each plugin told what it is capable of.

    `runtime` is what the container runtime itself has for the pod's first network (`runtimeConfig`).
    """
    capable = dict(runtime or {}) | (_capabilities(chosen) if chosen else {})
    plugins = [_plugin(each, chosen, capable) for each in network["plugins"]]
    if chosen and chosen.device:
        plugins[0] = plugins[0] | {"deviceID": chosen.device, "pciBusID": chosen.device}
    return {**network, "plugins": plugins}


def _capabilities(chosen: Selection) -> Json:
    given = {
        "portMappings": list(chosen.ports),
        "bandwidth": dict(chosen.bandwidth),
        "ips": list(chosen.ips),
        "mac": chosen.mac,
        "infinibandGUID": chosen.guid,
        "deviceID": chosen.device,
    }
    return {name: value for name, value in given.items() if value}


def _plugin(plugin: Json, chosen: Selection | None, capable: Mapping[str, Any]) -> Json:
    capabilities = plugin.get("capabilities")
    able = capabilities if isinstance(capabilities, dict) else {}
    told = {name: value for name, value in capable.items() if able.get(name) is True}
    made = {**plugin, "runtimeConfig": told} if told else dict(plugin)
    arguments = (dict(chosen.arguments) | ({"ips": list(chosen.ips)} if chosen.ips else {})) if chosen else {}
    if arguments:
        args = made["args"] if isinstance(made.get("args"), dict) else {}
        cni = args["cni"] if isinstance(args.get("cni"), dict) else {}
        made["args"] = {**args, "cni": {**cni, **arguments}}
    return made


def missing(pod: str, chosen: Selection) -> str:
    """What Multus says where there is no such network; `pod` is NAMESPACE/NAME."""
    return (
        f"Multus: [{pod}]: error loading k8s delegates k8s args: TryLoadPodDelegates: error in getting k8s "
        "network for pod: GetNetworkDelegates: failed getting the delegate: getKubernetesDelegate: cannot find a "
        f"network-attachment-definition ({chosen.name}) in namespace ({chosen.namespace}): "
        f'network-attachment-definitions.k8s.cni.cncf.io "{chosen.name}" not found'
    )
