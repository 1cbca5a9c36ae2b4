"""Counts and latencies of requests, under Kubernetes' names (`apiserver/pkg/endpoints/metrics`)."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from weft.cluster.apiserver.cluster import Cluster

_BOUNDS = (0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0)
_LONG = frozenset({"WATCH", "CONNECT"})


@dataclass(frozen=True, slots=True, order=True)
class Request:
    """What a request was about; all but the verb are empty where it was no resource."""

    verb: str
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    scope: str = ""

    def labels(self) -> str:
        """As Prometheus reads them."""
        pairs = (
            ("component", "apiserver"),
            ("group", self.group),
            ("resource", self.resource),
            ("scope", self.scope),
            ("subresource", self.subresource),
            ("verb", self.verb),
            ("version", self.version),
        )
        return ",".join(f'{name}="{value}"' for name, value in pairs)


@dataclass(slots=True)
class _Histogram:
    buckets: list[int] = field(default_factory=lambda: [0] * (len(_BOUNDS) + 1))
    total: float = 0.0

    def lines(self, name: str, labels: str) -> Iterator[str]:
        count = 0
        for bound, number in zip((*map(str, _BOUNDS), "+Inf"), self.buckets, strict=True):
            count += number
            yield f'{name}_bucket{{{labels},le="{bound}"}} {count}'
        yield f"{name}_sum{{{labels}}} {self.total:.6f}"
        yield f"{name}_count{{{labels}}} {count}"


@dataclass(slots=True)
class Metrics:
    """What has been answered so far, and how many answers are under way."""

    _answers: Counter[tuple[Request, int]] = field(default_factory=Counter)
    _seconds: dict[Request, _Histogram] = field(default_factory=dict)
    _under_way: Counter[Request] = field(default_factory=Counter)

    def begin(self, request: Request) -> None:
        """A request has come."""
        self._under_way[request] += 1

    def end(self, request: Request, code: int, seconds: float) -> None:
        """It has been answered. A code of 0 stands for a client that went away."""
        self._under_way[request] -= 1
        if code:
            self._answers[request, code] += 1
        if request.verb not in _LONG:
            histogram = self._seconds.setdefault(request, _Histogram())
            histogram.buckets[bisect_left(_BOUNDS, seconds)] += 1
            histogram.total += seconds

    def text(self, cluster: Cluster) -> str:
        """Everything, in Prometheus' text format."""
        return "\n".join((*self._requests(), *_storage(cluster))) + "\n"

    def _requests(self) -> Iterator[str]:
        name = "apiserver_request_total"
        yield f"# HELP {name} Counter of requests by verb, resource and HTTP response code."
        yield f"# TYPE {name} counter"
        for (request, code), count in sorted(self._answers.items()):
            yield f'{name}{{code="{code}",{request.labels()}}} {count}'
        name = "apiserver_request_duration_seconds"
        yield f"# HELP {name} Response latency distribution in seconds for each verb and resource."
        yield f"# TYPE {name} histogram"
        for request, histogram in sorted(self._seconds.items(), key=lambda item: item[0]):
            yield from histogram.lines(name, request.labels())
        name = "apiserver_longrunning_requests"
        yield f"# HELP {name} Gauge of all active long-running apiserver requests."
        yield f"# TYPE {name} gauge"
        for request, count in sorted(self._under_way.items()):
            if request.verb in _LONG:
                yield f"{name}{{{request.labels()}}} {count}"


def _storage(cluster: Cluster) -> Iterator[str]:
    yield "# TYPE apiserver_storage_revision gauge"
    yield f"apiserver_storage_revision {cluster.store.revision}"
    yield "# TYPE apiserver_storage_objects gauge"
    for group, plural in sorted({(kind.group, kind.plural) for kind in cluster.scheme.kinds()}):
        if count := cluster.store.count(f"{group}/{plural}"):
            resource = f"{plural}.{group}" if group else plural
            yield f'apiserver_storage_objects{{resource="{resource}"}} {count}'
