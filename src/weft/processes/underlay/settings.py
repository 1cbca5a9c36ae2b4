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
    "mounted-cni-bin-dir": ("/host/opt/cni/bin", "folder of the plugins' programs, where it is mounted here"),
    "spiderpool-run-dir": ("/var/run/spidernet", "folder of our socket, as the node sees it"),
    "mounted-spiderpool-run-dir": ("/var/run/spidernet", "the same, where it is mounted here"),
    "mounted-multus-cache-dir": (
        "/var/lib/cni/multus",
        "folder in which is kept what pods have, where it is mounted here",
    ),
    "host-root": ("/host", "the node's root, as far as it is mounted here"),
    "host-proc": ("/host/proc", "the node's /proc, where it is mounted here"),
    "node-name": ("", "the node we are on"),
    "spiderpool-pod-name": ("", "our pod"),
    "spiderpool-pod-namespace": ("kube-system", "the namespace of our pod"),
    "spiderpool-log-level": ("info", "level of our log"),
    "multus-default-cni-cr-name": (
        "",
        "NetworkAttachmentDefinition of the network that all pods have; without it the node's first one",
    ),
    "multus-conf-name": ("00-multus.conf", "name of the configuration that puts us before that network"),
    "multus-global-namespaces": ("", "namespaces whose networks all pods may name, with commas between"),
}
_SWITCHES: Final = {
    "multus-install": (True, "be the node's first network, so that pods can have several"),
    "multus-namespace-isolation": (False, "let pods name networks of their own namespace only"),
    "spiderpool-enabled-ipv4": (True, "give addresses of IPv4"),
    "spiderpool-enabled-ipv6": (True, "give addresses of IPv6"),
    "spiderpool-enabled-stateful-set": (True, "let pods of a StatefulSet keep their addresses"),
    "spiderpool-enabled-kubevirt-static-ip": (True, "let virtual machines keep their addresses"),
    "spiderpool-enabled-spider-subnet": (True, "make pools from subnets that pods name"),
    "spiderpool-enabled-ip-conflict-detection": (False, "ask the network whether an address is somebody's"),
    "spiderpool-enabled-gateway-detection": (False, "ask the network whether the gateway is there"),
}
_NUMBERS: Final = {
    "spiderpool-health-port": (5710, "port of the probes"),
    "spiderpool-metric-http-port": (5711, "port of the metrics"),
    "spiderpool-ip-rest-seconds": (5, "seconds for which an address that was given back is nobody's"),
}


@dataclass(frozen=True, slots=True)
class Places:
    """Folders of the node. Texts are as the node sees them, paths where they are seen here."""

    net_dir: str
    run_dir: str
    mounted_net_dir: Path
    mounted_bin_dir: Path
    mounted_run_dir: Path
    cache_dir: Path
    root: Path
    proc: Path


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
    """`health` and `metrics` are ports; `uninstall`: take everything away instead of running."""

    node: str
    pod: str
    namespace: str
    api: Api
    places: Places
    multus: Multus
    addresses: Addresses
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
        pod=texts["spiderpool-pod-name"] or host,
        namespace=texts["spiderpool-pod-namespace"],
        api=flags.api(known["kubeconfig"], environment, needed=not known["uninstall"]),
        places=Places(
            net_dir=texts["cni-net-dir"],
            run_dir=texts["spiderpool-run-dir"],
            mounted_net_dir=Path(texts["mounted-cni-net-dir"]),
            mounted_bin_dir=Path(texts["mounted-cni-bin-dir"]),
            mounted_run_dir=Path(texts["mounted-spiderpool-run-dir"]),
            cache_dir=Path(texts["mounted-multus-cache-dir"]),
            root=Path(texts["host-root"]),
            proc=Path(texts["host-proc"]),
        ),
        multus=Multus(
            install=yes["multus-install"],
            default=texts["multus-default-cni-cr-name"],
            conf_name=conf_name,
            isolated=yes["multus-namespace-isolation"],
            shared=frozenset(filter(None, map(str.strip, texts["multus-global-namespaces"].split(",")))),
        ),
        addresses=Addresses(
            ipv4=yes["spiderpool-enabled-ipv4"],
            ipv6=yes["spiderpool-enabled-ipv6"],
            stateful_sets=yes["spiderpool-enabled-stateful-set"],
            kubevirt=yes["spiderpool-enabled-kubevirt-static-ip"],
            subnets=yes["spiderpool-enabled-spider-subnet"],
            conflicts=yes["spiderpool-enabled-ip-conflict-detection"],
            gateways=yes["spiderpool-enabled-gateway-detection"],
            rest=numbers["spiderpool-ip-rest-seconds"],
        ),
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
