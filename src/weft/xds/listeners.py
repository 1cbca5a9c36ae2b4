"""Where the application's own connections come in, by the address that it dialled (LDS, outbound)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from google.protobuf import wrappers_pb2

from weft.model.streams import EVERY, StreamMatch
from weft.xds import encode, listeners_http, names, streams
from weft.xds.endpoints import address
from weft.xds.proto import base_pb2, listener_components_pb2, listener_pb2
from weft.xds.resource import LISTENER, Resource
from weft.xds.streams import Stream

DETECTION_TIMEOUT = timedelta(seconds=5)
"""How long a connection may stay silent before it is taken for one in which the server speaks first."""

PLAIN_HTTP = ("http/1.0", "http/1.1", "h2c")
"""What the HTTP inspector finds in plaintext."""
ANYWHERE = "0.0.0.0"
"""The address of listeners that take what is dialled at any address."""

_CHAIN: Any = listener_components_pb2
_FILTER_CHAINS: int = listener_pb2.Listener.DESCRIPTOR.fields_by_name["filter_chains"].number


@dataclass(frozen=True, slots=True)
class OutboundListener:
    """The listener of one address and port.

    Requests are looked for where there is a `table` of their routes. `streams` are the routes of connections, no
    two with one match; what none of them takes goes to the cluster `otherwise`. `silence` is how long a client may
    say nothing before the inspectors give up, 0 for ever. `bound`: the application dials this very address, which
    may be a Unix socket (`unix://…`, port 0); else 15001 hands connections over. `looks_up`:
    requests may go to any host, by the DNS.
    """

    address: str
    port: int
    table: str = ""
    streams: tuple[Stream, ...] = ()
    otherwise: str = names.PASSTHROUGH
    silence: timedelta = DETECTION_TIMEOUT
    looks_up: bool = False
    bound: bool = False

    @property
    def name(self) -> str:
        """`ADDRESS_PORT`, or the path of a socket."""
        return f"{self.address}_{self.port}" if self.port else self.address


def virtual_outbound(otherwise: str = names.PASSTHROUGH, port: int = names.OUTBOUND_PORT) -> Resource:
    """15001: takes every connection that leaves the pod, and hands it to the listener of the dialled address.

    What no listener takes goes to the cluster `otherwise`. Where the mesh has another port, pods that were made
    before still come by the usual one.
    """
    ports = tuple(dict.fromkeys((port, names.OUTBOUND_PORT)))
    itself = [
        _CHAIN.FilterChain(
            name="virtualOutbound-blackhole" + (f"-{each}" if each != port else ""),
            filter_chain_match=_CHAIN.FilterChainMatch(destination_port=wrappers_pb2.UInt32Value(value=each)),
            filters=[listeners_http.tcp(names.BLACK_HOLE)],
        )
        for each in ports
    ]
    others = _CHAIN.FilterChain(name="virtualOutbound-catchall-tcp", filters=[listeners_http.tcp(otherwise)])
    listener = listener_pb2.Listener(
        name=names.VIRTUAL_OUTBOUND,
        address=address(ANYWHERE, port),
        additional_addresses=additional(ANYWHERE, ports[1:]),
        use_original_dst=wrappers_pb2.BoolValue(value=True),
        traffic_direction=base_pb2.OUTBOUND,
        filter_chains=[*itself, others],
    )
    return encode.resource(LISTENER, listener.name, listener)


def additional(host: str, ports: tuple[int, ...]) -> list[Any]:
    """Further addresses of a listener."""
    return [listener_pb2.AdditionalAddress(address=address(host, port)) for port in ports]


def outbound_listener(config: OutboundListener, encoded: Callable[[Stream, str], bytes] | None = None) -> Resource:
    """`ADDRESS_PORT`. `encoded` gives the serialized chain of a stream, if some are remembered."""
    name = config.name
    listener = listener_pb2.Listener(
        name=name,
        address=address(config.address, config.port),
        traffic_direction=base_pb2.OUTBOUND,
    )
    if not config.bound:
        listener.bind_to_port.value = False
    if config.table or any(each.route.match.server_names for each in config.streams):
        listener.listener_filters.append(listeners_http.tls_inspector())
    if config.table:
        listener.listener_filters.append(listeners_http.http_inspector())
    if listener.listener_filters:
        wait_for_first_bytes(listener, config.silence)
    listener.filter_chains.extend(_requests(config, name))
    listener.default_filter_chain.CopyFrom(_otherwise(config))
    body = listener.SerializeToString(deterministic=True)
    chain = encoded or stream_chain
    more = (encode.framed(_FILTER_CHAINS, chain(*each)) for each in _streams(config))
    return encode.from_bytes(LISTENER, name, b"".join((body, *more)))


def stream_chain(stream: Stream, transport: str) -> bytes:
    """The serialized chain of a stream."""
    return bytes(streams.chain(stream, transport).SerializeToString(deterministic=True))


def wait_for_first_bytes(listener: Any, timeout: timedelta) -> None:
    """Let the inspectors wait for the client; for ever if `timeout` is 0."""
    listener.listener_filters_timeout.CopyFrom(encode.duration(timeout))
    listener.continue_on_listener_filters_timeout = bool(timeout)


def _streams(config: OutboundListener) -> Iterator[tuple[Stream, str]]:
    """The streams that have a chain of their own, each with the transport that it is for.

    Envoy does not go back: once a chain for plaintext exists, plaintext is looked for among such chains only.
    """
    for stream in config.streams:
        match = stream.route.match
        if match == EVERY:
            continue
        both = config.table and not match.server_names
        for transport in ("raw_buffer", "tls") if both else ("",):
            yield stream, transport


def _requests(config: OutboundListener, name: str) -> Iterator[Any]:
    """The chain of requests; and one for the blocks of addresses by which connections are told apart first."""
    if not config.table:
        return
    blocks = dict.fromkeys(
        block for each in config.streams if each.sniffed for block in each.route.match.destinations
    )
    for destinations in ((), tuple(blocks)) if blocks else ((),):
        chain = f"outbound_{name}" + ("_blocks" if destinations else "")
        match = streams.chain_match(StreamMatch(destinations=destinations))
        match.transport_protocol = "raw_buffer"
        match.application_protocols.extend(PLAIN_HTTP)
        # a table of its own is that of one host; any other host passes as dialled
        host, own, _ = config.table.partition(":")
        handler = listeners_http.outbound_http(
            f"outbound_{name}",
            config.table,
            host if own and config.port else "localhost",
            looks_up=config.looks_up,
        )
        yield _CHAIN.FilterChain(name=chain, filter_chain_match=match, filters=[handler])


def _otherwise(config: OutboundListener) -> Any:
    every = next((each for each in config.streams if each.route.match == EVERY), None)
    if every is not None:
        return streams.chain(every)
    return _CHAIN.FilterChain(name="PassthroughFilterChain", filters=[listeners_http.tcp(config.otherwise)])
