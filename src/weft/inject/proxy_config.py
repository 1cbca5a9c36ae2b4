"""The annotation `proxy.istio.io/config`: Istio's ProxyConfig as YAML."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_DURATION = re.compile(r"\d+(\.\d+)?(ms|s|m|h)")

# Istio's ProxyConfig (mesh.istio.io, v1alpha1) knows these too; they change nothing here yet
_WITHOUT_EFFECT = frozenset(
    {
        "availabilityZone",
        "binaryPath",
        "caCertificatesPem",
        "configPath",
        "connectionSettings",
        "controlPlaneAuthPolicy",
        "customConfigFile",
        "discoveryAddress",
        "discoveryRefreshDelay",
        "envoyAccessLogService",
        "envoyMetricsService",
        "envoyMetricsServiceAddress",
        "extraStatTags",
        "fileFlushInterval",
        "fileFlushMinSizeKb",
        "gatewayTopology",
        "image",
        "interceptionMode",
        "meshId",
        "privateKeyProvider",
        "proxyAdminPort",
        "proxyBootstrapTemplatePath",
        "proxyHeaders",
        "proxyStatsMatcher",
        "readinessProbe",
        "runtimeValues",
        "sds",
        "serviceCluster",
        "statNameLength",
        "statsCompression",
        "statsdUdpAddress",
        "tracing",
        "tracingServiceName",
        "zipkinAddress",
    }
)


class ConfigError(ValueError):
    """A field that is unknown or malformed; the message names it."""


@dataclass(frozen=True, slots=True)
class ProxyConfig:
    """The fields that are honoured. None and 0 leave a choice to the mesh; durations stay as written ("5s")."""

    concurrency: int | None = None
    hold_application: bool = False
    status_port: int = 0
    drain_duration: str = ""
    termination_drain_duration: str = ""
    metadata: tuple[tuple[str, str], ...] = ()
    warnings: tuple[str, ...] = field(default=())

    def as_json(self) -> dict[str, Any]:
        """What the agent is told in `PROXY_CONFIG`, in Istio's spelling."""
        written = {
            "concurrency": self.concurrency,
            "holdApplicationUntilProxyStarts": self.hold_application or None,
            "statusPort": self.status_port or None,
            "drainDuration": self.drain_duration or None,
            "terminationDrainDuration": self.termination_drain_duration or None,
            "proxyMetadata": dict(self.metadata) or None,
        }
        return {key: value for key, value in written.items() if value is not None}


def parse(text: str) -> ProxyConfig:
    """The configuration in a YAML text. ConfigError if it cannot be honoured."""
    if not text.strip():
        return ProxyConfig()
    return decode(_yaml(text))


def decode(values: Mapping[str, Any]) -> ProxyConfig:
    """The configuration in an object. ConfigError if it cannot be honoured."""
    known: dict[str, Any] = {}
    ignored = []
    for name, value in values.items():
        match name:
            case "concurrency":
                known["concurrency"] = _integer(name, value, 0, 1024)
            case "holdApplicationUntilProxyStarts":
                known["hold_application"] = _boolean(name, value)
            case "statusPort":
                known["status_port"] = _integer(name, value, 1, 65535)
            case "drainDuration":
                known["drain_duration"] = _duration(name, value)
            case "terminationDrainDuration":
                known["termination_drain_duration"] = _duration(name, value)
            case "proxyMetadata":
                known["metadata"] = _strings(name, value)
            case _ if name in _WITHOUT_EFFECT:
                ignored.append(f"annotation proxy.istio.io/config: {name} has no effect here")
            case _:
                raise ConfigError(f'there is no field "{name}". Check its spelling.')
    return ProxyConfig(**known, warnings=tuple(ignored))


def _yaml(text: str) -> Mapping[str, Any]:
    # most pods have no such annotation, and the agent never parses YAML
    import yaml

    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, Mapping):
        raise ConfigError('not an object. Write fields, as in "concurrency: 2".')
    return values


def _integer(name: str, value: Any, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ConfigError(f"{name}: {value!r} is not a whole number from {low} to {high}.")
    return value


def _boolean(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"{name}: {value!r} is neither true nor false.")
    return value


def _duration(name: str, value: Any) -> str:
    if not isinstance(value, str) or not _DURATION.fullmatch(value):
        raise ConfigError(f"{name}: {value!r} is not a duration. Write it as 5s or 1m.")
    return value


def _strings(name: str, value: Any) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, Mapping) or not all(isinstance(one, str) for pair in value.items() for one in pair):
        raise ConfigError(f"{name}: must map names to strings. Put values in quotes.")
    return tuple(sorted(value.items()))
