"""The settings of a new pod's proxy: what the mesh, ProxyConfigs and the pod's annotations say, put together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from weft.api.proxy_settings import ProxySettings
from weft.api.proxy_settings_checks import merged, read
from weft.api.report import Report
from weft.base.problem import At, Problem

ANNOTATION = "proxy.istio.io/config"


class ConfigError(ValueError):
    """Settings that cannot be honoured; the message names the field and the way out."""


@dataclass(frozen=True, slots=True)
class Effective:
    """`written` is what the agent is told in PROXY_CONFIG, in Istio's spelling; `warnings` are for its user."""

    written: Mapping[str, Any] = field(default_factory=dict)
    settings: ProxySettings = field(default_factory=ProxySettings)
    warnings: tuple[str, ...] = ()

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """The proxy's own variables, sorted."""
        return tuple(sorted((self.settings.proxy_metadata or {}).items()))


def effective(layers: Sequence[Mapping[str, Any]], text: str, others: Mapping[str, Any]) -> Effective:
    """The settings out of `layers`, weakest first, then the annotation's text, then other annotations' fields.

    Raises ConfigError for what the pod itself says and cannot be honoured. A layer of the mesh that cannot be is
    left out, with a warning: it must not keep the pods of others from starting.
    """
    good, warnings = [], []
    for layer in layers:
        settings, problems = read(layer, Report(At()))
        if settings is None:
            warnings.append(f"settings of the mesh's proxies are left out: {_said(problems[0])}")
        else:
            good.append(layer)
    own = merged(_yaml(text), others)
    settings, problems = read(own, Report(At()))
    if settings is None:
        raise ConfigError(_said(problems[0]))
    warnings += [f"annotation {ANNOTATION}: {_said(each)}" for each in problems]
    written = merged(*good, own)
    settings, problems = read(written, Report(At()))
    if settings is None:
        raise ConfigError(f"together with the mesh's settings: {_said(problems[0])}")
    return Effective(written, settings, tuple(warnings))


def _said(problem: Problem) -> str:
    where = f"{problem.at.field}: " if problem.at.field else ""
    return f"{where}{problem.message} {problem.hint}"


def _yaml(text: str) -> Mapping[str, Any]:
    if not text.strip():
        return {}
    # most pods have no such annotation
    import yaml

    try:
        values = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, Mapping) or not all(isinstance(key, str) for key in values):
        raise ConfigError('not an object. Write fields, as in "concurrency: 2".')
    return values
