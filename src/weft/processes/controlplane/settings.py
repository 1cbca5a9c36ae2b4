"""What istiod is told: arguments with pilot-discovery's names, the pod's environment, the mesh's ConfigMap."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

from weft.adapters.jwks import Network, networks
from weft.adapters.kube.access import Access
from weft.api import mesh_config_decode
from weft.base.durations import parse_duration
from weft.base.flags import is_true
from weft.model.mesh_config import MeshConfig
from weft.model.mesh_settings import mesh_config
from weft.processes.controlplane.doorkeeper import Limits, Rate
from weft.processes.controlplane.issuers import TURN
from weft.processes.controlplane.issuing_settings import Issuing, issuing
from weft.processes.controlplane.succession import OwnAuthority

VERSION = version("weft")
MESH_CONFIG_MAP = "istio"
"""The ConfigMap with the mesh's settings, in istiod's namespace."""

EXTRA_ROOTS = Path("/cacerts/extra.pem")
"""Whom issuers of tokens are verified by beside the system's roots; a ConfigMap is mounted there, as in Istio."""

_NATIVE = "ENABLE_NATIVE_SIDECARS"
_PROVIDER = "WEFT_CNI_PROVIDER"
_BLOCKED = "BLOCKED_CIDRS_IN_JWKS_URIS"
_DEBUGGERS = "DEBUG_ENDPOINT_AUTH_ALLOWED_NAMESPACES"
_STREAMS = "WEFT_MOST_STREAMS_OF_A_CALLER"
_CALLS = "WEFT_MOST_CALLS_A_SECOND_OF_AN_ADDRESS"
_REFRESH = "PILOT_JWT_PUB_KEY_REFRESH_INTERVAL"
_OWN_LIFETIME = "CITADEL_SELF_SIGNED_CA_CERT_TTL"
_OWN_LOOKS = "CITADEL_SELF_SIGNED_ROOT_CERT_CHECK_INTERVAL"
_OWN_GRACE = "CITADEL_SELF_SIGNED_ROOT_CERT_GRACE_PERIOD_PERCENTILE"
_OWN_BITS = "CITADEL_SELF_SIGNED_CA_RSA_KEY_SIZE"
_UNTAINT = "PILOT_ENABLE_NODE_UNTAINT_CONTROLLERS"
_SHORTEST_RSA = 2048


USUAL_LIMITS = Limits()


class SettingsError(Exception):
    """What istiod was told cannot be used; the message says what and the way out."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Addresses are `ip:port`. `proxy_image` and `agent_command` are for the sidecars it injects.

    `native_sidecars` is None where the cluster's version is to decide. With `cni` pods are captured by the plugin,
    under `multus` by a network of theirs.

    Without a `plaintext` address that port is closed. Accounts of `debug_namespaces` see all debugging pages, as
    those of istiod's own namespace do. Keys of issuers of tokens are looked at every `keys_turn`, and never
    fetched from `no_keys_from`. `untaint`: nodes are opened to pods once their node process is ready.
    """

    access: Access
    plaintext: str
    secure: str
    https: str
    monitoring: str
    ready: str
    name: str
    namespace: str
    domain: str
    cluster_id: str
    revision: str
    proxy_image: str
    agent_command: tuple[str, ...]
    verbose: bool
    service: str = "istiod"
    native_sidecars: bool | None = None
    cni: bool = False
    multus: bool = False
    no_keys_from: tuple[Network, ...] = ()
    keys_turn: timedelta = TURN
    issuing: Issuing = field(default_factory=Issuing)
    debug_namespaces: frozenset[str] = frozenset()
    limits: Limits = USUAL_LIMITS
    own: OwnAuthority = field(default_factory=OwnAuthority)
    untaint: bool = False

    def own_authority(self, trust_domain: str) -> OwnAuthority:
        """How an authority of our own is made; Istio's are named after the trust domain."""
        return replace(self.own, organization=trust_domain)

    @property
    def server_names(self) -> tuple[str, ...]:
        """The DNS names that proxies and the API server reach us by."""
        short = f"{self.service}.{self.namespace}"
        return (f"{short}.svc", f"{short}.svc.{self.domain}", short)


def parse(arguments: Sequence[str], environment: Mapping[str, str], *, host: str) -> Settings:
    """Settings from `discovery …`; wrong arguments end the program. SettingsError where the cluster is not known.

    `host` is the machine's name, for where no pod name is given.
    """
    parser = argparse.ArgumentParser(prog="weft controlplane", description="The control plane (istiod).")
    parser.add_argument("command", choices=["discovery"])
    parser.add_argument("--kubeconfig", type=Path, help="inside a pod, its service account is used instead")
    parser.add_argument("--grpcAddr", default="", help="plaintext xDS, which proves nothing of its callers; off")
    parser.add_argument("--secureGRPCAddr", default=":15012", help="xDS and certificates over TLS")
    parser.add_argument("--httpsAddr", default=":15017", help="webhooks")
    parser.add_argument("--monitoringAddr", default=":15014", help="metrics and debugging")
    parser.add_argument("--httpAddr", default=":8080", help="readiness")
    parser.add_argument("--namespace", default=environment.get("POD_NAMESPACE", "istio-system"))
    parser.add_argument("--domain", default="cluster.local")
    parser.add_argument("--log_output_level", default="default:info", help="default:debug tells more")
    known = parser.parse_args(arguments)
    return Settings(
        access=_access(known.kubeconfig, environment),
        plaintext=_address(known.grpcAddr),
        secure=_address(known.secureGRPCAddr),
        https=_address(known.httpsAddr),
        monitoring=_address(known.monitoringAddr),
        ready=_address(known.httpAddr),
        name=environment.get("POD_NAME", host),
        namespace=known.namespace,
        domain=known.domain,
        cluster_id=environment.get("CLUSTER_ID", "Kubernetes"),
        revision=environment.get("REVISION", "default"),
        proxy_image=environment.get("WEFT_PROXY_IMAGE", f"weft.local/proxyv2:{VERSION}"),
        # the proxy's image holds the same environment as ours
        agent_command=(sys.executable, "-m", "weft", "agent"),
        verbose="debug" in known.log_output_level,
        native_sidecars=_native_sidecars(environment.get(_NATIVE, "")),
        cni=is_true(environment.get("WEFT_CNI", "")),
        multus=_multus(environment.get(_PROVIDER, "")),
        no_keys_from=_no_keys_from(environment.get(_BLOCKED, "")),
        keys_turn=_turn(environment.get(_REFRESH, "")),
        limits=_limits(environment),
        issuing=_issuing(environment),
        debug_namespaces=frozenset(filter(None, map(str.strip, environment.get(_DEBUGGERS, "").split(",")))),
        own=_own(environment),
        untaint=is_true(environment.get(_UNTAINT, "")),
    )


def _native_sidecars(written: str) -> bool | None:
    match written.strip().lower():
        case "" | "auto":
            return None
        case "true" | "false" as word:
            return word == "true"
        case _:
            raise SettingsError(f"{_NATIVE}: {written!r} is neither true, false nor auto. Write one of them.")


def _multus(written: str) -> bool:
    match written.strip().lower():
        case "" | "default":
            return False
        case "multus":
            return True
        case _:
            raise SettingsError(f"{_PROVIDER}: {written!r} is neither default nor multus. Write one of them.")


def _own(environment: Mapping[str, str]) -> OwnAuthority:
    """An authority of our own: Istio's variables, and no key of RSA unless its size is given."""
    usual = OwnAuthority()
    bits = _number(environment, _OWN_BITS, 0)
    if bits and bits < _SHORTEST_RSA:
        raise SettingsError(f"{_OWN_BITS}: {bits} bits are too few. Envoy wants {_SHORTEST_RSA} or more.")
    percentile = _number(environment, _OWN_GRACE, round(usual.grace * 100))
    if not 0 < percentile < 100:
        raise SettingsError(
            f"{_OWN_GRACE}: {percentile} is not between 0 and 100. Write what Istio does by default: 20."
        )
    lifetime = _span(environment, _OWN_LIFETIME, usual.lifetime)
    if lifetime < timedelta(hours=1):
        raise SettingsError(
            f"{_OWN_LIFETIME}: less than an hour is no life for a root. Write a duration such as 87600h."
        )
    return OwnAuthority(
        lifetime=lifetime,
        grace=percentile / 100,
        every=max(timedelta(), _span(environment, _OWN_LOOKS, usual.every)),
        rsa_bits=bits,
    )


def _number(environment: Mapping[str, str], name: str, otherwise: int) -> int:
    written = environment.get(name, "").strip()
    if written and not written.removeprefix("-").isdecimal():
        raise SettingsError(f"{name}: {written!r} is no whole number.")
    return int(written) if written else otherwise


def _span(environment: Mapping[str, str], name: str, otherwise: timedelta) -> timedelta:
    written = environment.get(name, "").strip()
    try:
        return parse_duration(written) if written else otherwise
    except ValueError as error:
        raise SettingsError(f"{name}: {error}. Write a duration such as 24h.") from None


def _no_keys_from(written: str) -> tuple[Network, ...]:
    try:
        return networks(written)
    except ValueError as error:
        raise SettingsError(f"{_BLOCKED}: {error}. Write ranges such as 10.0.0.0/8,127.0.0.0/8.") from None


def _limits(environment: Mapping[str, str]) -> Limits:
    chosen = dict[str, int]()
    for name in (_STREAMS, _CALLS):
        written = environment.get(name, "")
        if written and not (written.isascii() and written.isdigit() and int(written)):
            raise SettingsError(f"{name}: {written!r} is no number. Write one such as 50.")
        chosen[name] = int(written or 0)
    limits = USUAL_LIMITS
    if streams := chosen[_STREAMS]:
        limits = replace(limits, streams=streams)
    if calls := chosen[_CALLS]:
        limits = replace(limits, calls=Rate(4 * calls, calls))
    return limits


def _turn(written: str) -> timedelta:
    try:
        return parse_duration(written) if written else TURN
    except ValueError as error:
        raise SettingsError(f"{_REFRESH}: {error}. Write a duration such as 20m.") from None


def _issuing(environment: Mapping[str, str]) -> Issuing:
    try:
        return issuing(environment)
    except ValueError as error:
        raise SettingsError(str(error)) from None


def mesh(config_map: Mapping[str, Any], settings: Settings) -> MeshConfig:
    """The settings in ConfigMap `istio` to start with: the fields that are right, for the rest Istio's defaults.

    SettingsError if the text cannot be read at all: the trust domain is in it.
    """
    decoded = mesh_config_decode.decode(config_map, settings.namespace, MESH_CONFIG_MAP)
    unread = next((each for each in decoded.problems if each.at.field == mesh_config_decode.PLACE), None)
    if unread is not None:
        raise SettingsError(f"ConfigMap {settings.namespace}/{MESH_CONFIG_MAP}, key mesh {unread.message}")
    return mesh_config(decoded.salvaged, settings.namespace)


def _access(kubeconfig: Path | None, environment: Mapping[str, str]) -> Access:
    if kubeconfig is not None:
        return Access.from_kubeconfig(kubeconfig)
    host, port = environment.get("KUBERNETES_SERVICE_HOST"), environment.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise SettingsError("Not in a pod: give the cluster with --kubeconfig FILE.")
    return Access.in_cluster(host, port)


def _address(written: str) -> str:
    """`:15010` is every IPv4 address, as in Go."""
    return f"0.0.0.0{written}" if written.startswith(":") else written
