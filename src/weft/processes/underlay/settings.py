"""What the node process of underlay networks is told, by flags or variables."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from weft.processes.cni import flags
from weft.processes.cni.flags import Api, SettingsError, attribute

__all__ = ["Multus", "Places", "Settings", "SettingsError", "parse"]

_TEXTS: Final = {
    "cni-net-dir": ("/etc/cni/net.d", "folder of network configurations, as the node sees it"),
    "mounted-cni-net-dir": ("/host/etc/cni/net.d", "the same, where it is mounted here"),
    "cni-bin-dir": ("/opt/cni/bin", "folder of the plugins' programs, as the node sees it"),
    "mounted-cni-bin-dir": ("/host/opt/cni/bin", "the same, where it is mounted here"),
    "spiderpool-run-dir": ("/var/run/spidernet", "folder of our socket, as the node sees it"),
    "mounted-spiderpool-run-dir": ("/var/run/spidernet", "the same, where it is mounted here"),
    "multus-cache-dir": ("/var/lib/cni/multus", "folder of what pods have by us, as the node sees it"),
    "mounted-multus-cache-dir": ("/var/lib/cni/multus", "the same, where it is mounted here"),
    "host-root": ("/hostroot", "the node's root, where it is mounted here: other plugins are run in it"),
    "node-name": ("", "the node we are on"),
    "pod-name": ("", "our pod"),
    "pod-namespace": ("kube-system", "the namespace of our pod"),
    "spiderpool-log-level": ("info", "level of our log"),
    "spiderpool-cluster-network": (
        "",
        "NetworkAttachmentDefinition of the network that all pods have; without it the node's first one",
    ),
    "spiderpool-default-coordinator-name": ("default", "the SpiderCoordinator that is in force"),
    "multus-conf-name": ("00-multus.conf", "name of the configuration that puts us before that network"),
    "multus-global-namespaces": ("", "namespaces whose networks all pods may name, with commas between"),
}
_SWITCHES: Final = {
    "spiderpool-install-multus": (True, "be the node's first network, so that pods can have several"),
    "multus-namespace-isolation": (False, "let pods name networks of their own namespace only"),
    "spiderpool-enable-ipv4": (True, "give addresses of IPv4"),
    "spiderpool-enable-ipv6": (True, "give addresses of IPv6"),
    "spiderpool-enable-statefulset": (True, "let pods of a StatefulSet keep their addresses"),
    "spiderpool-enable-kubevirt-static-ip": (True, "let virtual machines keep their addresses"),
    "spiderpool-enable-subnet": (True, "serve pods that name subnets"),
    "spiderpool-enable-ip-conflict-detection": (False, "ask the network whether an address is somebody's"),
    "spiderpool-enable-gateway-detection": (False, "ask the network whether the gateway is there"),
}
_NUMBERS: Final = {
    "spiderpool-health-port": (5710, "port of the probes"),
    "spiderpool-metric-http-port": (5711, "port of the metrics"),
    "spiderpool-ip-rest-seconds": (5, "seconds for which an address that was given back is nobody's"),
}
NAMES: Final = (*_TEXTS, *_SWITCHES, *_NUMBERS)
"""All flags."""


@dataclass(frozen=True, slots=True)
class Places:
    """Folders of the node. Texts are as the node sees them, paths where they are seen here."""

    net_dir: str
    bin_dir: str
    run_dir: str
    cache_dir: str
    mounted_net_dir: Path
    mounted_bin_dir: Path
    mounted_run_dir: Path
    mounted_cache_dir: Path
    root: Path


@dataclass(frozen=True, slots=True)
class Multus:
    """How pods get their networks. `default` is a NetworkAttachmentDefinition, `NAME` or `NAMESPACE/NAME`."""

    install: bool
    default: str
    conf_name: str
    isolated: bool
    shared: frozenset[str]


@dataclass(frozen=True, slots=True)
class Addresses:
    """How pods get addresses. `rest`: so many seconds after it was given back an address is used again."""

    ipv4: bool
    ipv6: bool
    stateful_sets: bool
    kubevirt: bool
    subnets: bool
    conflicts: bool
    gateways: bool
    rest: int


@dataclass(frozen=True, slots=True)
class Settings:
    """`coordinator` is a SpiderCoordinator's name; `health` and `metrics` are ports.

    `uninstall`: take everything away instead of running.
    """

    node: str
    pod: str
    namespace: str
    api: Api
    places: Places
    multus: Multus
    addresses: Addresses
    coordinator: str
    level: str
    health: int
    metrics: int
    uninstall: bool


def parse(arguments: Sequence[str], environment: Mapping[str, str], *, host: str) -> Settings:
    """Settings from what follows `weft spiderpool-agent`; wrong flags end the program. SettingsError for values.

    `host` is the machine's name, for where no node's name is given.
    """
    known = vars(_parser(environment).parse_args(arguments))
    texts = {name: known[attribute(name)].strip() for name in _TEXTS}
    yes = {name: flags.switch(name, known[attribute(name)]) for name in _SWITCHES}
    numbers = {name: flags.number(name, known[attribute(name)]) for name in _NUMBERS}
    conf_name = texts["multus-conf-name"]
    if "/" in conf_name or not conf_name.endswith(".conf"):
        raise SettingsError(f"MULTUS_CONF_NAME: {conf_name!r} is no name of a file. Write one as 00-multus.conf.")
    return Settings(
        node=texts["node-name"] or host,
        pod=texts["pod-name"] or host,
        namespace=texts["pod-namespace"],
        api=flags.api(known["kubeconfig"], environment, needed=not known["uninstall"]),
        places=Places(
            net_dir=texts["cni-net-dir"],
            bin_dir=texts["cni-bin-dir"],
            run_dir=texts["spiderpool-run-dir"],
            mounted_net_dir=Path(texts["mounted-cni-net-dir"]),
            mounted_bin_dir=Path(texts["mounted-cni-bin-dir"]),
            mounted_run_dir=Path(texts["mounted-spiderpool-run-dir"]),
            cache_dir=texts["multus-cache-dir"],
            mounted_cache_dir=Path(texts["mounted-multus-cache-dir"]),
            root=Path(texts["host-root"]),
        ),
        multus=Multus(
            install=yes["spiderpool-install-multus"],
            default=texts["spiderpool-cluster-network"],
            conf_name=conf_name,
            isolated=yes["multus-namespace-isolation"],
            shared=frozenset(filter(None, map(str.strip, texts["multus-global-namespaces"].split(",")))),
        ),
        addresses=Addresses(
            ipv4=yes["spiderpool-enable-ipv4"],
            ipv6=yes["spiderpool-enable-ipv6"],
            stateful_sets=yes["spiderpool-enable-statefulset"],
            kubevirt=yes["spiderpool-enable-kubevirt-static-ip"],
            subnets=yes["spiderpool-enable-subnet"],
            conflicts=yes["spiderpool-enable-ip-conflict-detection"],
            gateways=yes["spiderpool-enable-gateway-detection"],
            rest=numbers["spiderpool-ip-rest-seconds"],
        ),
        coordinator=texts["spiderpool-default-coordinator-name"],
        level=flags.level(texts["spiderpool-log-level"]),
        health=numbers["spiderpool-health-port"],
        metrics=numbers["spiderpool-metric-http-port"],
        uninstall=known["uninstall"],
    )


def _parser(environment: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="weft spiderpool-agent",
        description="Install the plugins of underlay networks on a node, and answer them.",
        epilog="Every flag can be given as a variable: --cni-net-dir is CNI_NET_DIR.",
    )
    flags.add(parser, {**_TEXTS, **_SWITCHES, **_NUMBERS}, environment)
    parser.add_argument("--uninstall", action="store_true", help="take away what is installed, and end")
    return parser
