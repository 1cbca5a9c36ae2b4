"""What the controller of underlay networks is told, by flags or variables."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from weft.processes.cni import flags
from weft.processes.cni.flags import Api, SettingsError, attribute
from weft.underlay.admission.pool_checks import Families

COMMAND: Final = "spiderpool-controller"
"""Our subcommand, our Deployment, our webhooks' configurations, and who tells in Events."""

_TEXTS: Final = {
    "pod-name": ("", "our pod"),
    "pod-namespace": ("kube-system", "the namespace of our pod, our service and our key"),
    "spiderpool-log-level": ("info", "level of our log"),
    "spiderpool-cilium-configmap-namespace-name": ("kube-system/cilium-config", "Cilium's settings"),
    "spiderpool-gc-default-interval-duration": ("600", "seconds between looks for addresses of what is gone"),
    "spiderpool-gc-additional-grace-delay": ("0", "seconds that a pod may end later than it should"),
    "spiderpool-ip-rest-seconds": ("5", "seconds for which an address that was given back is nobody's"),
    "spiderpool-default-flexible-ip-number": ("1", "addresses that pools of applications have beyond their pods"),
}
_SWITCHES: Final = {
    "spiderpool-enable-ipv4": (True, "take pools of IPv4"),
    "spiderpool-enable-ipv6": (True, "take pools of IPv6"),
    "spiderpool-enable-multus-config": (True, "make networks of SpiderMultusConfigs"),
    "spiderpool-enable-subnet": (True, "look after SpiderSubnets"),
    "spiderpool-enable-auto-pool": (True, "make pools for applications that name subnets"),
    "spiderpool-enable-statefulset": (True, "let pods of a StatefulSet keep their addresses"),
    "spiderpool-enable-kubevirt-static-ip": (True, "let virtual machines keep their addresses"),
    "spiderpool-enable-validating-resources-deleted-webhook": (False, "keep pools in use from being deleted"),
    "spiderpool-gc-ip-enabled": (True, "take back addresses of what is gone"),
    "spiderpool-gc-terminating-pod-ip-enabled": (True, "take back addresses of pods that do not end"),
}
_NUMBERS: Final = {
    "spiderpool-health-port": (5720, "port of the probes"),
    "spiderpool-metric-http-port": (5721, "port of the metrics"),
    "spiderpool-webhook-port": (5722, "port of the webhooks"),
}
NAMES: Final = (*_TEXTS, *_SWITCHES, *_NUMBERS)
"""All flags."""


@dataclass(frozen=True, slots=True)
class Collecting:
    """How addresses of what is gone are taken back. Times in seconds; for `rest` nobody gets them then."""

    enabled: bool
    interval: int
    terminating: bool
    delay: int
    stateful_sets: bool
    kubevirt: bool
    rest: int


@dataclass(frozen=True, slots=True)
class Subnets:
    """Whether subnets are looked after, and pools made of them; `flexible`: addresses beyond those of pods."""

    enabled: bool
    pools: bool
    flexible: int


@dataclass(frozen=True, slots=True)
class Settings:
    """`health`, `metrics` and `webhooks` are ports; `cilium` is namespace and name of its ConfigMap."""

    pod: str
    namespace: str
    api: Api
    level: str
    health: int
    metrics: int
    webhooks: int
    families: Families
    keeps_used: bool
    networks: bool
    cilium: tuple[str, str]
    subnets: Subnets
    collecting: Collecting


def parse(arguments: Sequence[str], environment: Mapping[str, str], *, host: str) -> Settings:
    """Settings from what follows `weft spiderpool-controller`; wrong flags end the program.

    SettingsError for values. `host` is the machine's name, for where no pod's name is given.
    """
    parser = argparse.ArgumentParser(
        prog=f"weft {COMMAND}",
        description="Look after underlay networks: check them, make them, and take back addresses.",
        epilog="Every flag can be given as a variable: --spiderpool-health-port is SPIDERPOOL_HEALTH_PORT.",
    )
    flags.add(parser, {**_TEXTS, **_SWITCHES, **_NUMBERS}, environment)
    known = vars(parser.parse_args(arguments))
    texts = {name: known[attribute(name)].strip() for name in _TEXTS}
    yes = {name: flags.switch(name, known[attribute(name)]) for name in _SWITCHES}
    ports = {name: flags.number(name, known[attribute(name)]) for name in _NUMBERS}
    namespace, slash, name = texts["spiderpool-cilium-configmap-namespace-name"].partition("/")
    if not (namespace and slash and name):
        raise SettingsError(
            "SPIDERPOOL_CILIUM_CONFIGMAP_NAMESPACE_NAME names no ConfigMap. Write kube-system/cilium-config."
        )
    return Settings(
        pod=texts["pod-name"] or host,
        namespace=texts["pod-namespace"],
        api=flags.api(known["kubeconfig"], environment, needed=True),
        level=flags.level(texts["spiderpool-log-level"]),
        health=ports["spiderpool-health-port"],
        metrics=ports["spiderpool-metric-http-port"],
        webhooks=ports["spiderpool-webhook-port"],
        families=Families(yes["spiderpool-enable-ipv4"], yes["spiderpool-enable-ipv6"]),
        keeps_used=yes["spiderpool-enable-validating-resources-deleted-webhook"],
        networks=yes["spiderpool-enable-multus-config"],
        cilium=(namespace, name),
        subnets=Subnets(
            yes["spiderpool-enable-subnet"],
            yes["spiderpool-enable-auto-pool"],
            _count("spiderpool-default-flexible-ip-number", texts),
        ),
        collecting=Collecting(
            enabled=yes["spiderpool-gc-ip-enabled"],
            interval=max(_count("spiderpool-gc-default-interval-duration", texts), 1),
            terminating=yes["spiderpool-gc-terminating-pod-ip-enabled"],
            delay=_count("spiderpool-gc-additional-grace-delay", texts),
            stateful_sets=yes["spiderpool-enable-statefulset"],
            kubevirt=yes["spiderpool-enable-kubevirt-static-ip"],
            rest=_count("spiderpool-ip-rest-seconds", texts),
        ),
    )


def _count(name: str, texts: Mapping[str, str]) -> int:
    return flags.number(name, texts[name])
