"""Providers that decide about requests and connections (MeshConfig, extensionProviders), and where they are."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from weft.api import extension_providers as api
from weft.base.durations import parse_duration
from weft.model.registered import Registered
from weft.model.services import Resolution

_AS_DIALLED: Final = frozenset({Resolution.NONE, Resolution.DYNAMIC_DNS})
TIMEOUT: Final = timedelta(seconds=600)
"""How long an answer may take where nothing is said (Istio, extensionProviders)."""


@dataclass(frozen=True, slots=True)
class Body:
    """That a provider sees bodies of up to `most` bytes; `partial`: longer ones too, cut; else they get 413."""

    most: int
    partial: bool = False
    as_bytes: bool = False


@dataclass(frozen=True, slots=True)
class OverHttp:
    """What an HTTP provider sees besides method, path, host, length and Authorization; what becomes of answers.

    Names of headers may begin or end with `*`.
    """

    path_prefix: str = ""
    shown: tuple[str, ...] = ()
    added: tuple[tuple[str, str], ...] = ()
    to_upstream: tuple[str, ...] = ()
    to_client_denied: tuple[str, ...] = ()
    to_client_allowed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Provider:
    """Whom to ask, and how; by gRPC where `http` is None.

    `namespace` tells services of one host apart, empty: whichever is there. `status_on_error` is answered where it
    cannot be asked, 0: 403. `clear_route_cache`: the route is chosen anew for what it allows. `field` is where all
    this is written.
    """

    name: str
    host: str
    namespace: str
    port: int
    timeout: timedelta
    fail_open: bool = False
    clear_route_cache: bool = False
    status_on_error: int = 0
    body: Body | None = None
    http: OverHttp | None = None
    field: str = ""


@dataclass(frozen=True, slots=True)
class Unanswerable:
    """Nobody can be asked, why, and the way out."""

    reason: str
    hint: str


def providers(written: tuple[api.ExtensionProvider, ...]) -> tuple[Provider, ...]:
    """Translate those that decide; they have passed their checks."""
    return tuple(
        _provider(each.name, kind, f"extensionProviders[{index}].{field}")
        for index, each in enumerate(written)
        for field, kind in (
            ("envoyExtAuthzHttp", each.envoy_ext_authz_http),
            ("envoyExtAuthzGrpc", each.envoy_ext_authz_grpc),
        )
        if kind is not None
    )


def service_of(
    provider: Provider, namespace: str, services: Mapping[str, Registered]
) -> Registered | Unanswerable:
    """The service that proxies of a namespace ask; whom it is exported to makes no difference."""
    where = f"the ConfigMap of the mesh, {provider.field}"
    shared = services.get(provider.host)
    own = provider.namespace
    found = None
    if shared is not None:
        ranked = (shared.seen_from(own or namespace), *shared.all)
        found = next((each for each in ranked if each and own in {"", each.service.namespace}), None)
    if found is None:
        message = f'provider "{provider.name}" is at host "{provider.host}", which is not found'
        return Unanswerable(message, f"Create the Service or a ServiceEntry, or mend service in {where}.")
    if found.service.headless or found.service.resolution in _AS_DIALLED:
        message = f'provider "{provider.name}" is at host "{provider.host}", whose clients choose the address'
        return Unanswerable(
            message, "Give the Service a cluster IP, or its ServiceEntry resolution: STATIC or DNS."
        )
    known = [each.number for each in found.service.ports]
    if provider.port not in known:
        message = (
            f'provider "{provider.name}" is at port {provider.port} of "{provider.host}", which has no such port'
        )
        listed = ", ".join(map(str, known)) or "none"
        return Unanswerable(message, f"Use one of its ports ({listed}): port in {where}.")
    return found


def _provider(name: str, written: api.ExtAuthzHttp | api.ExtAuthzGrpc, field: str) -> Provider:
    namespace, _, host = written.service.rpartition("/")
    body = written.include_request_body_in_check
    return Provider(
        name=name,
        host=host.lower().removesuffix("."),
        namespace=namespace,
        port=written.port or 0,
        timeout=TIMEOUT if written.timeout is None else parse_duration(written.timeout),
        fail_open=written.fail_open,
        clear_route_cache=written.clear_route_cache,
        status_on_error=int(written.status_on_error or 0),
        body=None
        if body is None
        else Body(body.max_request_bytes, body.allow_partial_message, body.pack_as_bytes),
        http=_over_http(written) if isinstance(written, api.ExtAuthzHttp) else None,
        field=field,
    )


def _over_http(written: api.ExtAuthzHttp) -> OverHttp:
    return OverHttp(
        path_prefix=written.path_prefix,
        # the new name goes before the deprecated one
        shown=written.include_request_headers_in_check or written.include_headers_in_check,
        added=tuple(sorted(written.include_additional_headers_in_check.items())),
        to_upstream=written.headers_to_upstream_on_allow,
        to_client_denied=written.headers_to_downstream_on_deny,
        to_client_allowed=written.headers_to_downstream_on_allow,
    )
