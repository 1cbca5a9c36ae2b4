"""Connections of a case, beside its requests, and what becomes of them by the model and by the simulator.

`connections` of a case lists them, each with `connect`, the host or address and the port that the client dials
(`web:443`, `10.1.2.3:9000`), and `then`, the share of the connections by destination, as for requests:
`passthrough` is what goes where it was dialled, `closed` what leads nowhere. With `sni`, the client speaks TLS and
asks for that name (`""` for none); else it `says` something, by default no HTTP.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import yaml
from tests.cases.engine import Case, fqdn, load

from weft.base.names import host_matches
from weft.model.mesh_config import OutboundPolicy
from weft.model.routing import Destination
from weft.model.services import Protocol
from weft.model.streams import StreamMatch, StreamRoute
from weft.model.view import PortView, ServiceView
from weft.xds import names, simulate
from weft.xds.generate import Generator

Shares = tuple[tuple[str, float], ...]
PASSTHROUGH, CLOSED = "passthrough", "closed"


@dataclass(frozen=True)
class Connection:
    """A connection of a case. `server_name` is None in plaintext."""

    address: str
    port: int
    server_name: str | None
    says: str
    then: Shares


def load_connections(path: Path) -> tuple[Case, tuple[Connection, ...]]:
    """A case with its connections."""
    case, body = load(path), yaml.safe_load(path.read_text())
    return case, tuple(_connection(each, case) for each in body.get("connections", ()))


def _connection(body: dict[str, Any], case: Case) -> Connection:
    host, _, port = body["connect"].rpartition(":")
    namespace = case.view.proxy.namespace
    address = host if host[0].isdigit() else _address(_service(host, case))
    return Connection(
        address=address,
        port=int(port),
        server_name=body.get("sni"),
        says=body.get("says", "hello\n"),
        then=tuple(
            sorted((_destination(key, host, port, namespace), share) for key, share in body["then"].items())
        ),
    )


def _service(host: str, case: Case) -> ServiceView:
    name = fqdn(host, case.view.proxy.namespace)
    return next(each for each in case.view.services if each.service.hostname == name)


def _address(view: ServiceView) -> str:
    """What DNS says: the service's address; of a headless one, that of its first pod."""
    return next(iter(view.service.addresses), "") or view.ports[0].endpoints[0].address


def _destination(written: str, host: str, port: str, namespace: str) -> str:
    if written in {PASSTHROUGH, CLOSED}:
        return written
    if "|" in written:
        host, port, written = written.split("|")
    return f"{fqdn(host, namespace)}|{port}|{written}"


def by_model(connection: Connection, case: Case) -> Shares:
    """Where the connection goes by the model alone."""
    ranked = [
        (rank, route)
        for route in _routes(connection, case)
        if (rank := _rank(route.match, connection, case.view.proxy.address)) is not None
    ]
    if not ranked:
        passes = case.view.mesh.outbound is OutboundPolicy.ALLOW_ANY
        return ((PASSTHROUGH if passes else CLOSED, 100.0),)
    _, best = max(ranked, key=lambda each: each[0])
    total = sum(each.weight for each in best.destinations)
    found: dict[str, float] = {}
    for each in best.destinations:
        key = f"{each.hostname}|{each.port}|{each.subset}" if isinstance(each, Destination) else CLOSED
        found[key] = found.get(key, 0.0) + 100.0 * each.weight / total
    return _rounded(found)


def _routes(connection: Connection, case: Case) -> Iterator[StreamRoute]:
    """The routes of the services at the dialled address; where there is none, those of all without an address."""
    ports = [(view, port) for view in case.view.services for port in view.ports if port.number == connection.port]
    at = [(view, port) for view, port in ports if connection.address in _dialled(view, port, case)]
    # HTTP goes by its host, and leaves an address to what does not
    at = [each for each in at if not _protocol(*each).is_http] or at
    for view, port in at or ports:
        blocks = tuple(each for each in view.service.addresses if "/" in each)
        protocol = _protocol(view, port)
        named = protocol in {Protocol.TLS, Protocol.HTTPS}
        addresses = view.service.addresses if named else _given(view, case)
        if not at and (view.service.headless or (addresses and not blocks)):
            continue
        by_name = protocol in {Protocol.TLS, Protocol.HTTPS} and not (at and view.service.kubernetes)
        yield from port.streams
        if by_name:
            yield _itself(view, port, StreamMatch((view.service.hostname,), () if at else blocks))
        if at and not (port.streams and protocol in {Protocol.TLS, Protocol.HTTPS} and view.service.kubernetes):
            yield _itself(view, port, StreamMatch())
        if not by_name and not at and not port.streams:
            yield _itself(view, port, StreamMatch((), blocks))


def _protocol(view: ServiceView, port: PortView) -> Protocol:
    return next(each.protocol for each in view.service.ports if each.number == port.number)


def _itself(view: ServiceView, port: PortView, match: StreamMatch) -> StreamRoute:
    return StreamRoute(match, (Destination(view.service.hostname, port.number, "", 100),))


def _dialled(view: ServiceView, port: PortView, case: Case) -> set[str]:
    return {each.address for each in port.endpoints} if view.service.headless else set(_given(view, case))


def _given(view: ServiceView, case: Case) -> tuple[str, ...]:
    return view.service.dialled(answered=("DNS_CAPTURE", "true") in case.view.proxy.metadata)


def _rank(match: StreamMatch, connection: Connection, source: str) -> tuple[int, int, int] | None:
    """How telling a match is that takes the connection; None for one that does not."""
    name = (connection.server_name or "").lower()
    ranks = (
        _block_rank(match.destinations, connection.address),
        max((len(each) for each in match.server_names if host_matches(each, name)), default=None)
        if match.server_names
        else 0,
        _block_rank(match.sources, source),
    )
    blocks, names_, sources = ranks
    return None if blocks is None or names_ is None or sources is None else (blocks, names_, sources)


def _block_rank(blocks: tuple[str, ...], address: str) -> int | None:
    if not blocks:
        return 0
    networks = (ip_network(each) for each in blocks)
    return max((each.prefixlen for each in networks if ip_address(address) in each), default=None)


def outcome(connection: Connection, case: Case) -> simulate.Outcome:
    """What becomes of the connection by the resources that Envoy gets."""
    asked = simulate.Request(
        address=connection.address,
        port=connection.port,
        http=connection.says.endswith("HTTP/1.1\r\n\r\n"),
        tls=connection.server_name is not None,
        server_name=connection.server_name or "",
        source=case.view.proxy.address,
    )
    return simulate.simulate(asked, Generator().resources(case.view))


def by_simulator(connection: Connection, case: Case) -> Shares:
    """The same as a case writes it."""
    found: dict[str, float] = {}
    for each in outcome(connection, case).shares:
        key = destination(each.cluster)
        found[key] = found.get(key, 0.0) + each.percent
    return _rounded(found)


def destination(cluster: str) -> str:
    """A cluster as cases write it."""
    match cluster:
        case names.PASSTHROUGH:
            return PASSTHROUGH
        case names.BLACK_HOLE:
            return CLOSED
        case _:
            _, port, subset, hostname = cluster.split("|")
            return f"{hostname}|{port}|{subset}"


def _rounded(found: dict[str, float]) -> Shares:
    return tuple(sorted((key, round(share, 3)) for key, share in found.items() if share))
