"""The control plane's own metrics, in Prometheus' text format, under Istio's names."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

_BUCKETS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 3.0, 5.0, 10.0, 20.0, 30.0)
"""Seconds. Istio's buckets begin at 0.1; ours also tell milliseconds apart."""


@dataclass(slots=True)
class Certificates:
    """What became of requests for certificates."""

    requests: int = 0
    unauthenticated: int = 0
    unidentified: int = 0
    unreadable: int = 0
    unsigned: int = 0
    issued: int = 0

    def lines(self) -> Iterator[str]:
        """In the exposition format, under the names of Istio's authority."""
        for name, text, count in (
            ("csr_count", "Requests for certificates.", self.requests),
            ("authentication_failure_count", "Callers without a good token or certificate.", self.unauthenticated),
            ("id_extraction_err_count", "Callers who are no workload of the mesh.", self.unidentified),
            ("csr_parsing_err_count", "Requests that are not fit to be certified.", self.unreadable),
            ("csr_sign_err_count", "Good requests that could not be signed.", self.unsigned),
            ("success_cert_issuance_count", "Certificates issued.", self.issued),
        ):
            yield f"# HELP citadel_server_{name} {text}"
            yield f"# TYPE citadel_server_{name} counter"
            yield f"citadel_server_{name} {count}"


class Metrics:
    """Counters and one histogram. Gauges are given when the text is made, by whoever holds the value."""

    def __init__(self) -> None:
        self.pushes: Counter[str] = Counter()
        self.rejects: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.reviews: Counter[tuple[str, str]] = Counter()
        self.certificates = Certificates()
        self._convergence = [0] * (len(_BUCKETS) + 1)
        self._convergence_sum = 0.0

    def converged(self, seconds: float) -> None:
        """One proxy has confirmed a change that was this long under way."""
        self._convergence[bisect_left(_BUCKETS, seconds)] += 1
        self._convergence_sum += seconds

    def text(self, *, proxies: int, problems: int, version: str) -> str:
        """Everything, in the exposition format."""
        lines = [
            *_gauge("pilot_info", "The version of this control plane.", 1, f'{{version="{version}"}}'),
            *_gauge("pilot_xds", "Proxies connected.", proxies, f'{{version="{version}"}}'),
            *_gauge("weft_problems", "Problems in the configuration.", problems),
            *_counter("pilot_xds_pushes", "Responses sent to proxies.", "type", self.pushes),
            *_counter("pilot_total_xds_rejects", "Responses rejected by proxies.", "type", self.rejects),
            *_counter("pilot_total_xds_internal_errors", "Failed builds.", "at", self.errors),
            *_counter("sidecar_injection_requests_total", "Pods reviewed.", "result", self._reviews("inject")),
            *_counter("galley_validation_total", "Rules reviewed.", "result", self._reviews("validate")),
            *self.certificates.lines(),
            *self._histogram(),
        ]
        return "\n".join(lines) + "\n"

    def _reviews(self, webhook: str) -> Counter[str]:
        return Counter({result: count for (name, result), count in self.reviews.items() if name == webhook})

    def _histogram(self) -> Iterator[str]:
        name = "pilot_proxy_convergence_time"
        yield f"# HELP {name} Seconds from a change to its confirmation by a proxy."
        yield f"# TYPE {name} histogram"
        total = 0
        for bound, count in zip((*(f"{one:g}" for one in _BUCKETS), "+Inf"), self._convergence, strict=True):
            total += count
            yield f'{name}_bucket{{le="{bound}"}} {total}'
        yield f"{name}_sum {self._convergence_sum:.6f}"
        yield f"{name}_count {total}"


def _gauge(name: str, text: str, value: int, labels: str = "") -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} gauge"
    yield f"{name}{labels} {value}"


def _counter(name: str, text: str, label: str, values: Counter[str]) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} counter"
    for key, value in sorted(values.items()):
        yield f'{name}{{{label}="{key}"}} {value}'
