"""Routes as they apply to one host, after VirtualServices are resolved against the registry."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum


class MatchKind(StrEnum):
    """How a string is compared. PRESENT asks only that the header is there."""

    EXACT = "exact"
    PREFIX = "prefix"
    REGEX = "regex"
    PRESENT = "present"


@dataclass(frozen=True, slots=True)
class StringMatch:
    """One comparison; `ignore_case` holds for uris."""

    kind: MatchKind
    value: str = ""
    ignore_case: bool = False


@dataclass(frozen=True, slots=True)
class RequestMatch:
    """Conditions that must all hold. No conditions match every request.

    `headers` and `without_headers` pair lower-case header names with comparisons.
    """

    name: str = ""
    uri: StringMatch | None = None
    method: StringMatch | None = None
    authority: StringMatch | None = None
    scheme: StringMatch | None = None
    headers: tuple[tuple[str, StringMatch], ...] = ()
    without_headers: tuple[tuple[str, StringMatch], ...] = ()
    query: tuple[tuple[str, StringMatch], ...] = ()


@dataclass(frozen=True, slots=True)
class Destination:
    """A service port, or one subset of it, with its share of the requests.

    Weights are relative to the sum over the route: percent where users wrote weights that sum to 100.
    """

    hostname: str
    port: int
    subset: str
    weight: int


@dataclass(frozen=True, slots=True)
class Unresolved:
    """A destination that leads nowhere: its share of the requests gets 503."""

    reason: str
    weight: int


@dataclass(frozen=True, slots=True)
class Abort:
    """Answer `percentage` percent of the requests with `status` instead of forwarding them."""

    percentage: float
    status: int


@dataclass(frozen=True, slots=True)
class Delay:
    """Hold `percentage` percent of the requests for `duration` first."""

    percentage: float
    duration: timedelta


@dataclass(frozen=True, slots=True)
class Retries:
    """`attempts` further tries. `retry_on` is Envoy's comma-separated list; empty means Istio's default."""

    attempts: int
    per_try_timeout: timedelta | None = None
    retry_on: str = ""


@dataclass(frozen=True, slots=True)
class HttpRoute:
    """One entry of `spec.http`: the first route that matches takes the request. No matches: it takes all.

    `retries` None means the mesh's default (2 attempts); attempts 0 means none. `timeout` None means no limit.
    """

    destinations: tuple[Destination | Unresolved, ...]
    name: str = ""
    matches: tuple[RequestMatch, ...] = ()
    timeout: timedelta | None = None
    retries: Retries | None = None
    abort: Abort | None = None
    delay: Delay | None = None


@dataclass(frozen=True, slots=True)
class HostRoutes:
    """The routes in force for requests to one host and port. `rule` is the VirtualService's `name.namespace`.

    Without a VirtualService, `routes` is one route to the service itself and `rule` is empty.
    """

    routes: tuple[HttpRoute, ...]
    rule: str = ""
