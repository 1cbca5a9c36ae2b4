"""Probes and lifecycle hooks of containers."""

import re
from typing import Any

from weft.cluster.apiserver.errors import forbidden_field, invalid_value, required, unsupported
from weft.cluster.apiserver.validation.rules import Found, non_negative, port_or_name

Obj = dict[str, Any]
_PROBES = ("exec", "httpGet", "tcpSocket", "grpc")
_HOOKS = ("exec", "httpGet", "tcpSocket", "sleep")
_SCHEMES = ("HTTP", "HTTPS")
_HEADER = re.compile(r"[-A-Za-z0-9]+")
_SAYS_HEADER = (
    "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for"
    " validation is '[-A-Za-z0-9]+')"
)
_COUNTS = ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold")
SIDECARS_ONLY = "may not be set for init containers without restartPolicy=Always"


def all_of(container: Obj, path: str, grace: int | None) -> Found:
    """The hooks and probes of a container that keeps running."""
    for name, hook in (container.get("lifecycle") or {}).items():
        if name in {"postStart", "preStop"}:
            yield from _handler(hook, f"{path}.lifecycle.{name}", _HOOKS, grace)
    if "livenessProbe" in container:
        yield from _once(container["livenessProbe"], f"{path}.livenessProbe")
    if "readinessProbe" in container:
        yield from _readiness(container["readinessProbe"], f"{path}.readinessProbe")
    if "startupProbe" in container:
        yield from _once(container["startupProbe"], f"{path}.startupProbe")


def none_of(container: Obj, path: str) -> Found:
    """An init container that ends has no hooks and probes."""
    for name in ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe"):
        if name in container:
            yield forbidden_field(f"{path}.{name}", SIDECARS_ONLY)


def _once(probe: Obj, path: str) -> Found:
    yield from _probe(probe, path)
    if probe.get("successThreshold", 1) != 1:
        yield invalid_value(f"{path}.successThreshold", probe["successThreshold"], "must be 1")


def _readiness(probe: Obj, path: str) -> Found:
    yield from _probe(probe, path)
    if (seconds := probe.get("terminationGracePeriodSeconds")) is not None:
        yield invalid_value(
            f"{path}.terminationGracePeriodSeconds", seconds, "must not be set for readinessProbes"
        )


def _probe(probe: Obj, path: str) -> Found:
    yield from _handler(probe, path, _PROBES, None)
    yield from non_negative(probe, path, *_COUNTS)
    if probe.get("terminationGracePeriodSeconds", 1) <= 0:
        seconds = probe["terminationGracePeriodSeconds"]
        yield invalid_value(f"{path}.terminationGracePeriodSeconds", seconds, "must be greater than 0")


def _handler(given: Obj, path: str, kinds: tuple[str, ...], grace: int | None) -> Found:
    chosen = [kind for kind in kinds if given.get(kind) is not None]
    if not chosen:
        yield required(path, "must specify a handler type")
        return
    yield from _action(chosen[0], given[chosen[0]], f"{path}.{chosen[0]}", grace)
    for kind in chosen[1:]:
        yield forbidden_field(f"{path}.{kind}", "may not specify more than 1 handler type")


def _action(kind: str, given: Obj, path: str, grace: int | None) -> Found:
    match kind:
        case "exec":
            if not given.get("command"):
                yield required(f"{path}.command")
        case "httpGet":
            yield from _http_get(given, path)
        case "sleep":
            if grace is not None and not 0 <= given.get("seconds", 0) <= grace:
                why = f"must be non-negative and less than terminationGracePeriodSeconds ({grace})"
                yield invalid_value(path, given.get("seconds", 0), why)
        case _:
            yield from port_or_name(given.get("port"), f"{path}.port")


def _http_get(given: Obj, path: str) -> Found:
    if not given.get("path"):
        yield required(f"{path}.path")
    yield from port_or_name(given.get("port"), f"{path}.port")
    if given.get("scheme", "HTTP") not in _SCHEMES:
        yield unsupported(f"{path}.scheme", given["scheme"], _SCHEMES)
    for header in given.get("httpHeaders") or ():
        if not _HEADER.fullmatch(header.get("name", "")):
            yield invalid_value(f"{path}.httpHeaders", header.get("name", ""), _SAYS_HEADER)
