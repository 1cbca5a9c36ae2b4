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

    `headers` and `without_headers` pair lower-case header names with comparisons. `name` and `stat_prefix` are no
    conditions: they name what matches, in logs and in statistics. `claims` and `without_claims` pair paths of a
    token's claims with comparisons.
    """

    name: str = ""
    stat_prefix: str = ""
    uri: StringMatch | None = None
    method: StringMatch | None = None
    authority: StringMatch | None = None
    scheme: StringMatch | None = None
    headers: tuple[tuple[str, StringMatch], ...] = ()
    without_headers: tuple[tuple[str, StringMatch], ...] = ()
    query: tuple[tuple[str, StringMatch], ...] = ()
    claims: tuple[tuple[tuple[str, ...], StringMatch], ...] = ()
    without_claims: tuple[tuple[tuple[str, ...], StringMatch], ...] = ()


@dataclass(frozen=True, slots=True)
class HeaderChanges:
    """Headers to set, to add to those that are there, and to remove. Values may hold Envoy's `%COMMAND%`s."""

    set: tuple[tuple[str, str], ...] = ()
    add: tuple[tuple[str, str], ...] = ()
    remove: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Headers:
    """Changes of a message's headers. `authority` replaces the request's host, if not empty."""

    request: HeaderChanges = HeaderChanges()
    response: HeaderChanges = HeaderChanges()
    authority: str = ""


UNCHANGED = Headers()


@dataclass(frozen=True, slots=True)
class Destination:
    """A service port, or one subset of it, with its share of the requests.

    Weights are relative to the sum over the route: percent where users wrote weights that sum to 100.
    """

    hostname: str
    port: int
    subset: str
    weight: int
    headers: Headers = UNCHANGED


@dataclass(frozen=True, slots=True)
class Unresolved:
    """A destination that leads nowhere: its share of the requests gets 503."""

    reason: str
    weight: int


@dataclass(frozen=True, slots=True)
class Abort:
    """Answer `percentage` percent of the requests with a status instead of forwarding them: HTTP's or gRPC's."""

    percentage: float
    status: int = 0
    grpc_status: int | None = None


@dataclass(frozen=True, slots=True)
class Delay:
    """Hold `percentage` percent of the requests for `duration` first."""

    percentage: float
    duration: timedelta


@dataclass(frozen=True, slots=True)
class Retries:
    """`attempts` further tries. `retry_on` is Envoy's comma-separated list; empty means Istio's default.

    `backoff` is the wait before the first of them, at most tenfold later; None means Envoy's 25 ms.
    """

    attempts: int
    per_try_timeout: timedelta | None = None
    retry_on: str = ""
    backoff: timedelta | None = None
    elsewhere: bool = True
    """Not on an endpoint that was tried before."""
    other_localities: bool = False
    """Also where the client's own locality would take the request."""


@dataclass(frozen=True, slots=True)
class Redirect:
    """Send the client elsewhere. What is empty or 0 stays as the client asked for it.

    `path` replaces the whole path, `prefix` what the match took of it. `port_of_scheme`: the scheme's own port.
    """

    path: str = ""
    prefix: str = ""
    authority: str = ""
    scheme: str = ""
    port: int = 0
    port_of_scheme: bool = False
    status: int = 301


@dataclass(frozen=True, slots=True)
class Answer:
    """A response without a destination."""

    status: int
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Rewrite:
    """Changes of a request on its way: what the match took of the path, or all that `pattern` fits; the host."""

    path: str = ""
    pattern: str = ""
    substitution: str = ""
    authority: str = ""


@dataclass(frozen=True, slots=True)
class Mirror:
    """A destination that gets copies of `percentage` percent of the requests; nobody waits for its answers."""

    destination: Destination
    percentage: float = 100.0


@dataclass(frozen=True, slots=True)
class CorsPolicy:
    """What browsers may do across origins. The names are those of the headers that say so.

    `forward_others`: preflights of other origins reach the service; otherwise they are answered here.
    """

    allow_origins: tuple[StringMatch, ...]
    allow_methods: tuple[str, ...] = ()
    allow_headers: tuple[str, ...] = ()
    expose_headers: tuple[str, ...] = ()
    max_age: timedelta | None = None
    allow_credentials: bool | None = None
    forward_others: bool = True


@dataclass(frozen=True, slots=True)
class HttpRoute:
    """One entry of `spec.http`: the first route that matches takes the request. No matches: it takes all.

    `retries` None means the mesh's default (2 attempts); attempts 0 means none. `timeout` None means no limit.
    With `outcome`, the proxy answers by itself and there are no destinations.
    """

    destinations: tuple[Destination | Unresolved, ...]
    name: str = ""
    matches: tuple[RequestMatch, ...] = ()
    timeout: timedelta | None = None
    retries: Retries | None = None
    abort: Abort | None = None
    delay: Delay | None = None
    outcome: Redirect | Answer | None = None
    rewrite: Rewrite | None = None
    mirrors: tuple[Mirror, ...] = ()
    cors: CorsPolicy | None = None
    headers: Headers = UNCHANGED


@dataclass(frozen=True, slots=True)
class HostRoutes:
    """The routes in force for requests to one host and port. `rule` is the VirtualService's `name.namespace`.

    Without a VirtualService, `routes` is one route to the service itself and `rule` is empty.
    """

    routes: tuple[HttpRoute, ...]
    rule: str = ""
