"""What the agent of one pod is told: by its arguments, its environment and the pod's downward API files."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from weft.api.proxy_settings import ProxySettings
from weft.api.proxy_settings_checks import read as read_settings
from weft.api.report import Report
from weft.base.durations import parse_duration
from weft.base.flags import is_true
from weft.base.problem import At
from weft.inject import node
from weft.inject.bootstrap import ProxyPorts
from weft.processes.agent import identity_settings
from weft.processes.agent.identity_settings import IdentitySettings

Role = Literal["sidecar", "router"]
"""What a proxy is: beside one application, or a gateway."""

_MOST_WORKERS = 2
_ISTIOD = "istiod.istio-system.svc:15012"


class SettingsError(ValueError):
    """The agent was started in a way it cannot work; the message names the variable or file."""


@dataclass(frozen=True, slots=True)
class Paths:
    """Where the volumes of an injected pod are mounted.

    `sockets` is for an SDS of somebody else's; `credentials` and `certs` are for certificates in files.
    """

    proxy: Path = Path("/etc/istio/proxy")
    sockets: Path = Path("/var/run/secrets/workload-spiffe-uds")
    credentials: Path = Path("/var/run/secrets/workload-spiffe-credentials")
    certs: Path = Path("/etc/certs")
    token: Path = Path("/var/run/secrets/tokens/istio-token")
    root: Path = Path("/var/run/secrets/istio/root-cert.pem")
    pod: Path = Path("/etc/istio/pod")

    @property
    def sds(self) -> Path:
        """The socket on which Envoy is served its secrets: where nobody but the proxy can reach it."""
        return self.proxy / "SDS"

    @property
    def kept(self) -> Path:
        """The certificate, for the time after a restart."""
        return self.proxy / "identity.json"

    @property
    def xds(self) -> Path:
        """The socket on which Envoy is served its configuration."""
        return self.proxy / "XDS"

    @property
    def bootstrap(self) -> Path:
        """The file that Envoy is started with."""
        return self.proxy / "envoy-rev.json"


@dataclass(frozen=True, slots=True)
class Drain:
    """How a proxy ends: it goes on serving for `least`; with `until_idle`, longer, until no connection is left."""

    least: timedelta = timedelta(seconds=5)
    until_idle: bool = False
    envoy: timedelta = timedelta(seconds=45)


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything one agent needs to know.

    `probers` are the application's own probes by the path they are asked for; `scrape` is where its metrics are;
    `dns` says that the pod's queries come to us.
    """

    node: node.Node
    istiod: str
    authority: str = ""
    """Where certificates are asked for, where that is not at istiod's address."""
    proxy: ProxySettings = field(default_factory=ProxySettings)
    cluster_id: str = "Kubernetes"
    address: str = "127.0.0.1"
    namespace: str = "default"
    domain: str = "cluster.local"
    paths: Paths = field(default_factory=Paths)
    ports: ProxyPorts = field(default_factory=ProxyPorts)
    concurrency: int = _MOST_WORKERS
    log_level: str = "warning"
    component_log_level: str = "misc:error"
    agent_log_level: int = logging.INFO
    drain: Drain = field(default_factory=Drain)
    probers: Mapping[str, Any] = field(default_factory=dict)
    scrape: Mapping[str, str] = field(default_factory=dict)
    identity: IdentitySettings = field(default_factory=IdentitySettings)
    account: str = "default"
    flush_interval: timedelta = timedelta(seconds=1)
    bootstrap_override: Path | None = None
    dns: bool = False
    ignored: tuple[str, ...] = ()
    role: Role = "sidecar"


def read(
    argv: Sequence[str],
    environment: Mapping[str, str],
    *,
    version: str,
    paths: Paths | None = None,
    role: Role = "sidecar",
) -> Settings:
    """The settings of an agent started with `argv` in `environment`."""
    paths = paths or Paths()
    flags, ignored = _flags(argv)
    proxy = _proxy(environment)
    domain = flags.get("domain", "").partition(".svc.")[2] or "cluster.local"
    try:
        introduced = node.node(
            {**environment, "DOMAIN_SUFFIX": domain},
            _downward(paths.pod / "labels"),
            _downward(paths.pod / "annotations"),
            version=version,
            role=role,
        )
    except KeyError as error:
        raise SettingsError(f"{error.args[0]} is not set: this program runs in a pod that was injected") from error
    return Settings(
        node=introduced,
        istiod=proxy.discovery_address or environment.get("CA_ADDR") or _ISTIOD,
        authority=environment.get("CA_ADDR") or proxy.discovery_address or _ISTIOD,
        proxy=proxy,
        cluster_id=environment.get("ISTIO_META_CLUSTER_ID", "Kubernetes"),
        identity=identity_settings.read(environment),
        account=environment.get("SERVICE_ACCOUNT", "default"),
        address=environment["INSTANCE_IP"],
        namespace=environment["POD_NAMESPACE"],
        domain=domain,
        paths=paths,
        ports=ProxyPorts(admin=proxy.proxy_admin_port or 15000, status=proxy.status_port or 15020),
        concurrency=_concurrency(proxy.concurrency, environment.get("ISTIO_CPU_LIMIT", "")),
        log_level=flags.get("proxyLogLevel", "warning"),
        component_log_level=flags.get("proxyComponentLogLevel", "misc:error"),
        agent_log_level=_log_level(flags.get("log_output_level", "")),
        drain=Drain(
            least=_duration(proxy.termination_drain_duration, timedelta(seconds=5)),
            until_idle=environment.get("EXIT_ON_ZERO_ACTIVE_CONNECTIONS", "").lower() == "true",
            envoy=_duration(proxy.drain_duration, timedelta(seconds=45)),
        ),
        probers=_json(environment, "ISTIO_KUBE_APP_PROBERS"),
        scrape=_json(environment, "ISTIO_PROMETHEUS_ANNOTATIONS"),
        flush_interval=_duration(proxy.file_flush_interval, timedelta(seconds=1)),
        bootstrap_override=Path(override) if (override := environment.get("ISTIO_BOOTSTRAP_OVERRIDE")) else None,
        dns=is_true(environment.get("ISTIO_META_DNS_CAPTURE", "")),
        ignored=ignored,
        role=role,
    )


def _proxy(environment: Mapping[str, str]) -> ProxySettings:
    settings, problems = read_settings(_json(environment, "PROXY_CONFIG"), Report(At(field="PROXY_CONFIG")))
    if settings is None:
        raise SettingsError(f"PROXY_CONFIG: {problems[0].at.field} {problems[0].message} {problems[0].hint}")
    return settings


def _flags(argv: Sequence[str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """The flags that mean something here, and the rest: Istio's agent has many, and none may stop a pod."""
    known = {"domain", "proxyLogLevel", "proxyComponentLogLevel", "log_output_level"}
    flags: dict[str, str] = {}
    ignored = []
    rest = list(argv)
    while rest:
        argument = rest.pop(0)
        name, equals, value = argument.removeprefix("--").partition("=")
        if name in known:
            flags[name] = value if equals or not rest else rest.pop(0)
        else:
            ignored.append(argument)
    return flags, tuple(ignored)


def _log_level(text: str) -> int:
    """The level of Istio's `--log_output_level=default:info,…`: the scope `default`, else the first."""
    scopes = dict(part.rpartition(":")[::2] for part in text.split(",") if part)
    name = scopes.get("default") or next(iter(scopes.values()), "info")
    levels = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}
    return levels.get(name, logging.CRITICAL if name in {"none", "fatal"} else logging.INFO)


def _concurrency(asked: int | None, cpu_limit: str) -> int:
    """Worker threads: what was asked for (0 is one per processor), else the processor limit, two at most."""
    if asked is not None:
        return asked
    return min(int(cpu_limit), _MOST_WORKERS) if cpu_limit.isdecimal() and int(cpu_limit) else _MOST_WORKERS


def _json(environment: Mapping[str, str], name: str) -> dict[str, Any]:
    try:
        value = json.loads(environment.get(name) or "{}")
    except ValueError as error:
        raise SettingsError(f"{name} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise SettingsError(f"{name} is not a JSON object")
    return value


def _downward(path: Path) -> dict[str, str]:
    try:
        return node.downward(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(
            f"cannot read {path}: {error.strerror}. The volume istio-podinfo is missing"
        ) from error


def _duration(text: str | None, otherwise: timedelta) -> timedelta:
    return parse_duration(text) if text else otherwise
