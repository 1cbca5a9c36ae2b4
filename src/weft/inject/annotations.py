"""The annotations with which a pod changes its sidecar. Each value is checked; an error names its annotation."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from weft.base import texts
from weft.base.texts import boolean, count, one_of, port
from weft.inject import proxy_config, stats
from weft.inject.images import of_type
from weft.inject.proxy_config import ANNOTATION as PROXY_CONFIG
from weft.inject.proxy_config import Effective
from weft.inject.settings import InjectSettings, Resources
from weft.model import interception
from weft.model.enrolment import INJECT, STATUS
from weft.model.interception import Interception

_TRAFFIC = "traffic.sidecar.istio.io/"
_SIDECAR = "sidecar.istio.io/"
_READINESS = "readiness.status.sidecar.istio.io/"
_LEVELS = ("trace", "debug", "info", "warning", "error", "critical", "off")
_QUANTITY = re.compile(r"\d+(\.\d+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?")
_COMPONENT_LEVELS = re.compile(r"[a-z0-9_]+:[a-z]+(,[a-z0-9_]+:[a-z]+)*")

_OF_OTHERS = frozenset(
    {
        "prometheus.istio.io/merge-metrics",
        "proxy.istio.io/overrides",
        INJECT,
        STATUS,
        PROXY_CONFIG,
    }
)


class AnnotationError(ValueError):
    """A value that cannot be honoured; the message names the annotation and what would be right."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """The timing of the sidecar's own readiness probe, in seconds and counts."""

    initial_delay: int = 1
    period: int = 2
    failures: int = 30


@dataclass(frozen=True, slots=True)
class Overrides:
    """What the pod asks for, with the mesh's values where it does not ask. Lists stay as the user wrote them.

    `native`: the sidecar is an init container that goes on running. `warnings` tell of annotations without effect.
    """

    image: str
    resources: Resources
    status_port: int
    log_level: str = "warning"
    component_log_level: str = "misc:error"
    agent_log_level: str = "default:info"
    interception: Interception = field(default_factory=Interception)
    rewrite_probes: bool = True
    merge_metrics: bool = True
    readiness: Readiness = field(default_factory=Readiness)
    native: bool = False
    bootstrap_override: str = ""
    volumes: tuple[Mapping[str, Any], ...] = ()
    mounts: tuple[Mapping[str, Any], ...] = ()
    proxy: Effective = field(default_factory=Effective)
    warnings: tuple[str, ...] = ()


def read(
    annotations: Mapping[str, str], settings: InjectSettings, layers: Sequence[Mapping[str, Any]] = ()
) -> Overrides:
    """What the annotations ask for. AnnotationError for a value that is malformed or not supported.

    `layers` are the proxy's settings that the pod does not make itself, weakest first.
    """
    reader = _Reader(annotations)
    usual = settings.resources
    proxy = _proxy(reader, annotations, layers)
    status_port = proxy.settings.status_port or settings.status_port
    image = reader.take(_SIDECAR + "proxyImage", settings.image, _image)
    kind = proxy.settings.image.image_type if proxy.settings.image else None
    for name, check in stats.ANNOTATIONS.items():
        reader.take(name, "", check)
    return Overrides(
        image=of_type(image, kind) if kind else image,
        resources=Resources(
            cpu=reader.take(_SIDECAR + "proxyCPU", usual.cpu, _quantity),
            memory=reader.take(_SIDECAR + "proxyMemory", usual.memory, _quantity),
            cpu_limit=reader.take(_SIDECAR + "proxyCPULimit", usual.cpu_limit, _quantity),
            memory_limit=reader.take(_SIDECAR + "proxyMemoryLimit", usual.memory_limit, _quantity),
        ),
        status_port=status_port,
        log_level=reader.take(_SIDECAR + "logLevel", "warning", one_of(*_LEVELS)),
        component_log_level=reader.take(_SIDECAR + "componentLogLevel", "misc:error", _component_levels),
        agent_log_level=reader.take(_SIDECAR + "agentLogLevel", "default:info", _agent_levels),
        interception=interception.read(reader.take, proxy.settings.interception_mode or interception.MODES[0]),
        rewrite_probes=reader.take(_SIDECAR + "rewriteAppHTTPProbers", "true", boolean) == "true",
        merge_metrics=reader.take("prometheus.istio.io/merge-metrics", "true", boolean) == "true",
        readiness=Readiness(
            initial_delay=int(reader.take(_READINESS + "initialDelaySeconds", "1", count)),
            period=int(reader.take(_READINESS + "periodSeconds", "2", count)),
            failures=int(reader.take(_READINESS + "failureThreshold", "30", count)),
        ),
        native=reader.take(_SIDECAR + "nativeSidecar", _spelled(settings.native_sidecars), boolean) == "true",
        bootstrap_override=reader.take(_SIDECAR + "bootstrapOverride", "", _name),
        volumes=_entries(reader.take(_SIDECAR + "userVolume", "{}", _named_objects)),
        mounts=_entries(reader.take(_SIDECAR + "userVolumeMount", "{}", _named_objects)),
        proxy=proxy,
        warnings=(*reader.unread(), *proxy.warnings),
    )


class _Reader:
    """Takes annotations one by one and remembers which were not asked for."""

    def __init__(self, annotations: Mapping[str, str]) -> None:
        self._annotations = annotations
        self._taken = set(_OF_OTHERS)

    def take(self, name: str, otherwise: str, check: Callable[[str], str]) -> str:
        self._taken.add(name)
        if name not in self._annotations:
            return otherwise
        value = str(self._annotations[name])
        try:
            return check(value.strip())
        except ValueError as error:
            raise AnnotationError(f'annotation {name}: "{value}" {error}') from error

    def unread(self) -> tuple[str, ...]:
        prefixes = (_SIDECAR, _TRAFFIC, _READINESS, "status.sidecar.istio.io/", "proxy.istio.io/")
        left = (name for name in self._annotations if name.startswith(prefixes) and name not in self._taken)
        return tuple(f"annotation {name} has no effect here" for name in sorted(left))


def _proxy(reader: _Reader, annotations: Mapping[str, str], layers: Sequence[Mapping[str, Any]]) -> Effective:
    """The proxy's settings, those that have annotations of their own among them."""
    own: dict[str, Any] = {}
    for name, (key, check) in _SETTINGS.items():
        if value := reader.take(name, "", check):
            own[key] = _value(key, value)
    for name, key in _STATS.items():
        if value := reader.take(name, "", str):
            own.setdefault("proxyStatsMatcher", {})[key] = _listed(value)
    try:
        return proxy_config.effective(layers, str(annotations.get(PROXY_CONFIG, "")), own)
    except proxy_config.ConfigError as error:
        raise AnnotationError(f"annotation {PROXY_CONFIG}: {error}") from error


def _value(key: str, value: str) -> Any:
    match key:
        case "statusPort":
            return int(value)
        case "statsCompression":
            return value == "true"
        case "extraStatTags":
            return _listed(value)
        case "image":
            return {"imageType": value}
        case _:
            return value


def _spelled(flag: bool) -> str:  # noqa: FBT001 -- the one thing this function is about
    return "true" if flag else "false"


def _listed(value: str) -> list[str]:
    return [part.strip() for part in value.split(",") if part.strip()]


def _entries(text: str) -> tuple[Mapping[str, Any], ...]:
    """Objects by their names (Istio's form of volumes in annotations), or listed."""
    value = json.loads(text)
    return (
        tuple({"name": name, **body} for name, body in value.items()) if isinstance(value, dict) else tuple(value)
    )


def _named_objects(value: str) -> str:
    hint = 'Write them by name, as in {"cache": {"emptyDir": {}}}.'
    try:
        parsed = json.loads(value)
    except ValueError as error:
        raise ValueError(f"is not JSON. {hint}") from error
    bodies = parsed.values() if isinstance(parsed, dict) else parsed if isinstance(parsed, list) else None
    if bodies is None or not all(isinstance(body, dict) for body in bodies):
        raise ValueError(f"does not hold objects. {hint}")
    if isinstance(parsed, list) and not all(isinstance(body.get("name"), str) for body in parsed):
        raise ValueError(f"holds an object without a name. {hint}")
    return value


_quantity = texts.matching(_QUANTITY, "100m, 0.5, 128Mi or 1Gi")
_image = texts.matching(re.compile(r"[\w.\-/:@]+"), "registry/name:tag")
_name = texts.matching(re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?"), "the name of a ConfigMap")
_component_levels = texts.matching(_COMPONENT_LEVELS, "misc:error,http:debug")
_agent_levels = texts.matching(re.compile(r"[\w\-]+:\w+(,[\w\-]+:\w+)*"), "default:info")

_SETTINGS: Mapping[str, tuple[str, Callable[[str], str]]] = {
    interception.STATUS_PORT: ("statusPort", port),
    _SIDECAR + "discoveryAddress": ("discoveryAddress", str),
    _SIDECAR + "extraStatTags": ("extraStatTags", str),
    interception.MODE: ("interceptionMode", one_of(*interception.MODES)),
    _SIDECAR + "proxyImageType": ("image", one_of("default", "distroless", "debug")),
    _SIDECAR + "statsCompression": ("statsCompression", boolean),
}
"""Annotations that are fields of `proxy.istio.io/config` under names of their own; they go over it."""

_STATS: Mapping[str, str] = {
    _SIDECAR + "statsInclusionPrefixes": "inclusionPrefixes",
    _SIDECAR + "statsInclusionRegexps": "inclusionRegexps",
    _SIDECAR + "statsInclusionSuffixes": "inclusionSuffixes",
}
