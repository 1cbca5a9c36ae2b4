"""What the node process is told: flags or environment, under the names of Istio's `install-cni`."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from weft.processes.cni import flags
from weft.processes.cni.flags import Api, SettingsError, attribute, variable

PROGRAMS: Final = ("auto", "python", "self-contained")
"""What may be installed as the plugin: `auto` is Python where the node has one that will do."""

_TEXTS: Final = {
    "cni-net-dir": ("/etc/cni/net.d", "folder of network configurations, as the node sees it"),
    "mounted-cni-net-dir": ("/host/etc/cni/net.d", "the same, where it is mounted here"),
    "mounted-cni-bin-dir": ("/host/opt/cni/bin", "folder of the plugins' programs, where it is mounted here"),
    "cni-agent-run-dir": ("/var/run/istio-cni", "folder of our sockets, as the node sees it"),
    "mounted-cni-agent-run-dir": ("/var/run/istio-cni", "the same, where it is mounted here"),
    "host-root": ("/host", "the node's root, of which /usr is mounted here: the plugin is run by a Python of it"),
    "host-proc": ("/host/proc", "the node's /proc, where it is mounted here"),
    "cni-conf-name": ("", "configuration to join; without it the first valid one"),
    "istio-owned-cni-config-filename": ("02-istio-cni.conflist", "name of a configuration of our own"),
    "kubecfg-file-name": ("ZZZ-istio-cni-kubeconfig", "name of the plugin's kubeconfig"),
    "cni-plugin-program": ("auto", "what is installed as the plugin: " + ", ".join(PROGRAMS)),
    "exclude-namespaces": ("", "namespaces whose pods are left alone, with commas between"),
    "log-level": ("info", "level of our own log and the plugin's"),
    "pod-name": ("", "our pod"),
    "pod-namespace": ("istio-system", "the namespace of our pod"),
    "node-name": ("", "the node we are on"),
    "repair-node-name": ("", "the same, where node-name is not given"),
    "repair-broken-pod-label-key": ("cni.istio.io/uninitialized", "label of a broken pod"),
    "repair-broken-pod-label-value": ("true", "and its value"),
    "repair-sidecar-annotation": ("sidecar.istio.io/status", "annotation that pods of the mesh have"),
    "repair-init-container-name": ("istio-validation", "init container that fails where nothing is captured"),
    "repair-init-container-termination-message": ("", "how its last message ends; empty is any"),
    "repair-label-selectors": ("", "pods to look at, by labels"),
    "repair-field-selectors": ("", "pods to look at, by fields"),
}
_SWITCHES: Final = {
    "chained-cni-plugin": (True, "join a network's configuration; false: one by itself, for Multus"),
    "istio-owned-cni-config": (False, "leave the network's configuration alone, and put one of ours before it"),
    "native-nftables": (False, "rules by nftables instead of iptables"),
    "repair-enabled": (True, "look for pods that are not captured"),
    "repair-repair-pods": (False, "and capture their traffic"),
    "repair-delete-pods": (False, "or delete them"),
    "repair-label-pods": (False, "or label them"),
    "repair-run-as-daemon": (True, "go on looking"),
}
_NUMBERS: Final = {
    "monitoring-port": (15014, "port of the metrics"),
    "health-port": (8000, "port of the probes"),
    "repair-init-container-exit-code": (126, "exit code of that init container"),
    "repair-look-every": (600, "seconds until a pod that was captured is looked into again; 0: never"),
}


@dataclass(frozen=True, slots=True)
class Places:
    """Folders of the node. Texts are as the node sees them, paths where they are seen here."""

    net_dir: str
    run_dir: str
    mounted_net_dir: Path
    mounted_bin_dir: Path
    mounted_run_dir: Path
    proc: Path
    root: Path


@dataclass(frozen=True, slots=True)
class Plugin:
    """What is installed, and how. `level` is that of the plugin's log."""

    conf_name: str
    chained: bool
    own: bool
    own_name: str
    kubeconfig_name: str
    program: str
    level: str


@dataclass(frozen=True, slots=True)
class Repair:
    """How pods are found whose traffic is not captured, and what is done with them."""

    enabled: bool
    repair: bool
    delete: bool
    label: bool
    as_daemon: bool
    label_key: str
    label_value: str
    sidecar_annotation: str
    init_container: str
    exit_code: int
    termination_message: str
    label_selectors: str
    field_selectors: str
    every: int


@dataclass(frozen=True, slots=True)
class Settings:
    """`health` and `monitoring` are ports; `uninstall`: take everything away instead of running."""

    node: str
    pod: str
    namespace: str
    api: Api
    places: Places
    plugin: Plugin
    repair: Repair
    excluded: frozenset[str]
    native: bool
    level: str
    health: int
    monitoring: int
    uninstall: bool


def parse(arguments: Sequence[str], environment: Mapping[str, str], *, host: str) -> Settings:
    """Settings from what follows `weft install-cni`; wrong flags end the program. SettingsError for wrong values.

    `host` is the machine's name, for where no node's name is given.
    """
    known = vars(_parser(environment).parse_args(arguments))
    texts = {name: known[attribute(name)].strip() for name in _TEXTS}
    yes = {name: flags.switch(name, known[attribute(name)]) for name in _SWITCHES}
    numbers = {name: flags.number(name, known[attribute(name)]) for name in _NUMBERS}
    levels = _levels(known["log_output_level"], flags.level(texts["log-level"]))
    for name in ("cni-conf-name", "istio-owned-cni-config-filename", "kubecfg-file-name"):
        _is_a_name(name, texts[name])
    if texts["cni-plugin-program"] not in PROGRAMS:
        raise SettingsError(
            f"{variable('cni-plugin-program')}: {texts['cni-plugin-program']!r} is none of {', '.join(PROGRAMS)}."
        )
    return Settings(
        node=texts["node-name"] or texts["repair-node-name"] or host,
        pod=texts["pod-name"] or host,
        namespace=texts["pod-namespace"],
        api=flags.api(known["kubeconfig"], environment, needed=not known["uninstall"]),
        places=Places(
            net_dir=texts["cni-net-dir"],
            run_dir=texts["cni-agent-run-dir"],
            mounted_net_dir=Path(texts["mounted-cni-net-dir"]),
            mounted_bin_dir=Path(texts["mounted-cni-bin-dir"]),
            mounted_run_dir=Path(texts["mounted-cni-agent-run-dir"]),
            proc=Path(texts["host-proc"]),
            root=_root(texts, by_hand=known["uninstall"]),
        ),
        plugin=Plugin(
            conf_name=texts["cni-conf-name"],
            chained=yes["chained-cni-plugin"],
            own=yes["istio-owned-cni-config"],
            own_name=texts["istio-owned-cni-config-filename"],
            kubeconfig_name=texts["kubecfg-file-name"],
            program=texts["cni-plugin-program"],
            level=levels["plugin"],
        ),
        repair=_repair(texts, yes, numbers),
        excluded=frozenset(filter(None, map(str.strip, texts["exclude-namespaces"].split(",")))),
        native=yes["native-nftables"],
        level=levels["agent"],
        health=numbers["health-port"],
        monitoring=numbers["monitoring-port"],
        uninstall=known["uninstall"],
    )


def _root(texts: Mapping[str, str], *, by_hand: bool) -> Path:
    """Where the node's root is seen. Who uninstalls by hand may be on the node itself."""
    root = Path(texts["host-root"])
    return Path("/") if by_hand and not (root / "usr").exists() else root


def _repair(texts: Mapping[str, str], yes: Mapping[str, bool], numbers: Mapping[str, int]) -> Repair:
    return Repair(
        enabled=yes["repair-enabled"],
        repair=yes["repair-repair-pods"],
        delete=yes["repair-delete-pods"],
        label=yes["repair-label-pods"],
        as_daemon=yes["repair-run-as-daemon"],
        label_key=texts["repair-broken-pod-label-key"],
        label_value=texts["repair-broken-pod-label-value"],
        sidecar_annotation=texts["repair-sidecar-annotation"],
        init_container=texts["repair-init-container-name"],
        exit_code=numbers["repair-init-container-exit-code"],
        termination_message=texts["repair-init-container-termination-message"],
        label_selectors=texts["repair-label-selectors"],
        field_selectors=texts["repair-field-selectors"],
        every=numbers["repair-look-every"],
    )


def _parser(environment: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="weft install-cni",
        description="Install the CNI plugin on a node, answer it, and repair pods that are not captured.",
        epilog="Every flag can be given as a variable: --cni-net-dir is CNI_NET_DIR.",
    )
    flags.add(parser, {**_TEXTS, **_SWITCHES, **_NUMBERS}, environment)
    parser.add_argument("--log_output_level", default="", help="levels by scope: default:info,cni-plugin:debug")
    parser.add_argument("--uninstall", action="store_true", help="take away what is installed, and end")
    return parser


def _is_a_name(name: str, written: str) -> None:
    if "/" in written or written in {".", ".."}:
        raise SettingsError(
            f"{variable(name)}: {written!r} is no name of a file. Write one as 10-calico.conflist."
        )


def _levels(written: str, usual: str) -> dict[str, str]:
    """Levels of our own log and of the plugin's, from Istio's `scope:level,…`."""
    given = dict[str, str]()
    for each in filter(None, map(str.strip, written.split(","))):
        scope, _, level = each.rpartition(":")
        given[scope or "default"] = flags.level(level)
    every = given.get("all", given.get("cni", given.get("default", usual)))
    return {"agent": given.get("cni-agent", every), "plugin": given.get("cni-plugin", every)}
