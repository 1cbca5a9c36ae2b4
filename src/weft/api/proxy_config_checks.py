"""What must hold of a ProxyConfig beyond its shape."""

from collections.abc import Iterator

from weft.api.checks import check_labels
from weft.api.proxy_config import ProxyConfig
from weft.api.proxy_settings_checks import check_variables
from weft.api.report import Report
from weft.base.problem import Problem


def check(config: ProxyConfig, report: Report) -> Iterator[Problem]:
    """Give all that is wrong with it."""
    spec = config.spec
    if spec.selector is not None:
        yield from check_labels(spec.selector.match_labels, "spec.selector.matchLabels", report)
    yield from check_variables(spec.environment_variables or {}, "spec.environmentVariables", report)
