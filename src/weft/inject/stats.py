"""Which statistics Envoy keeps and how, as far as pods decide it by annotations and settings."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from weft.api.proxy_settings import ProxySettings
from weft.base.durations import parse_duration

_PREFIX: Final = "sidecar.istio.io/stats"
_BUCKETS, _BINS = f"{_PREFIX}HistogramBuckets", f"{_PREFIX}HistogramBins"
_FLUSH, _EVICTION = f"{_PREFIX}FlushInterval", f"{_PREFIX}EvictionInterval"

# Clusters dominate a proxy's memory, and most of that is statistics: keep the ones people ask for
_KEPT: Final = (
    ("prefix", "reporter="),
    ("prefix", "cluster_manager"),
    ("prefix", "listener_manager"),
    ("prefix", "server"),
    ("prefix", "cluster.xds-grpc"),
    ("prefix", "wasm"),
    ("suffix", "rbac.allowed"),
    ("suffix", "rbac.denied"),
    ("suffix", "shadow_allowed"),
    ("suffix", "shadow_denied"),
    ("suffix", "downstream_cx_active"),
    ("suffix", "ssl.handshake"),
    ("suffix", "ssl.fail_verify_san"),
    ("suffix", "ssl.fail_verify_error"),
    ("contains", "istio_"),
    ("contains", ".fault."),
    ("suffix", "upstream_rq_retry"),
)
_DEFAULT_TAGS: Final = (
    *("http_conn_manager_prefix", "listener_address", "response_code", "response_code_class", "tcp_prefix"),
    *("rds_route_config", "virtual_host"),
)


def config(settings: ProxySettings, annotations: Mapping[str, str], domain: str) -> dict[str, Any]:
    """Envoy's stats_config (envoy.config.metrics.v3.StatsConfig)."""
    matcher = settings.proxy_stats_matcher
    wanted: list[dict[str, Any]] = [{kind: text} for kind, text in _KEPT]
    if matcher is not None:
        wanted += [{"prefix": text} for text in matcher.inclusion_prefixes]
        wanted += [{"suffix": text} for text in matcher.inclusion_suffixes]
        wanted += [{"safe_regex": {"regex": text}} for text in matcher.inclusion_regexps]
    buckets = _histograms(annotations)
    return {
        "use_all_default_tags": False,
        "stats_tags": _tags(settings, domain),
        "stats_matcher": {"inclusion_list": {"patterns": wanted}},
        **({"histogram_bucket_settings": buckets} if buckets else {}),
    }


def intervals(annotations: Mapping[str, str]) -> dict[str, str]:
    """The bootstrap's fields that say how often statistics are flushed, and unused ones forgotten."""
    named = {"stats_flush_interval": _FLUSH, "stats_eviction_interval": _EVICTION}
    return {
        field: f"{parse_duration(annotations[name]).total_seconds():.3f}s"
        for field, name in named.items()
        if name in annotations
    }


def _tags(settings: ProxySettings, domain: str) -> list[dict[str, str]]:
    """What becomes a label of a metric. Envoy's own rule for clusters would cut names at their first dot."""
    regex = rf"^cluster\.((.+?(\..+?\.svc\.{re.escape(domain)})?)\.)"
    # a telemetry filter writes labels into names as `label.=.value;.`
    extra = ({"tag_name": tag, "regex": rf"({tag}\.=\.(.*?);\.)"} for tag in settings.extra_stat_tags or ())
    return [
        {"tag_name": "cluster_name", "regex": regex},
        *({"tag_name": f"envoy.{name}"} for name in _DEFAULT_TAGS),
        *extra,
    ]


def _histograms(annotations: Mapping[str, str]) -> list[dict[str, Any]]:
    buckets: dict[str, list[float]] = json.loads(annotations.get(_BUCKETS, "{}"))
    bins: dict[str, int] = json.loads(annotations.get(_BINS, "{}"))
    found: list[dict[str, Any]] = []
    for prefix in sorted({*buckets, *bins}):
        one: dict[str, Any] = {"match": {"prefix": prefix}}
        if prefix in buckets:
            one["buckets"] = buckets[prefix]
        if prefix in bins:
            one["bins"] = bins[prefix]
        found.append(one)
    return found


def _is_positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _buckets(value: str) -> str:
    hint = 'Write rising numbers by prefix, as in {"istiocustom": [1, 5, 10]}.'
    for numbers in _object(value, hint).values():
        good = isinstance(numbers, list) and numbers and all(_is_positive(one) for one in numbers)
        if not good or sorted(set(numbers)) != numbers:
            raise ValueError(f"does not hold bounds of buckets. {hint}")
    return value


def _bins(value: str) -> str:
    hint = 'Write a whole number from 1 to 46082 by prefix, as in {"istiocustom": 100}.'
    for number in _object(value, hint).values():
        if not _is_positive(number) or not isinstance(number, int) or number > 46082:
            raise ValueError(f"does not hold numbers of bins. {hint}")
    return value


def _object(value: str, hint: str) -> dict[str, Any]:
    try:
        parsed = json.loads(value)
    except ValueError as error:
        raise ValueError(f"is not JSON. {hint}") from error
    if isinstance(parsed, dict):
        return parsed
    raise ValueError(f"is not an object. {hint}")


def _interval(value: str) -> str:
    seconds = parse_duration(value).total_seconds()
    if not 0.001 <= seconds <= 300:
        raise ValueError("is out of range. Write 1ms to 300s, as in 5s.")
    return value


ANNOTATIONS: Final[Mapping[str, Callable[[str], str]]] = {
    _BUCKETS: _buckets,
    _BINS: _bins,
    _FLUSH: _interval,
    _EVICTION: _interval,
}
"""The annotations that the agent reads, each with its check: ValueError for what it cannot use."""
