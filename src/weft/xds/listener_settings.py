"""What the mesh's settings add to every listener of every proxy: access logs, and how paths are made alike."""

from dataclasses import dataclass
from typing import Any

from weft.model.mesh_config import AccessLog, MeshConfig, PathNormalization
from weft.xds import access_logs, encode
from weft.xds.external_authorization import denied_by
from weft.xds.listeners_http import HTTP_FILTER, TCP_FILTER
from weft.xds.path_normalization import normalize
from weft.xds.proto import http_connection_manager_pb2, listener_pb2, tcp_proxy_pb2
from weft.xds.resource import LISTENER, Resource

_HCM: Any = http_connection_manager_pb2.HttpConnectionManager


@dataclass(frozen=True, slots=True)
class Settings:
    """`unmatched`: connections that no filter chain takes are logged too."""

    log: AccessLog
    unmatched: bool
    paths: PathNormalization


def settings(mesh: MeshConfig) -> Settings | None:
    """The settings; None where listeners are as they should be without."""
    found = Settings(mesh.access_log, mesh.listener_log, mesh.paths)
    return found if found.log.file or found.paths is not PathNormalization.BASE else None


def applied(value: tuple[Resource, Settings]) -> Resource:
    """A listener with the settings."""
    resource, found = value
    listener = listener_pb2.Listener.FromString(resource.body)
    for chain in (*listener.filter_chains, listener.default_filter_chain):
        asked = denied_by(chain.filters)
        for each in chain.filters:
            if each.name == HTTP_FILTER:
                manager = _HCM.FromString(each.typed_config.value)
                _requests(manager, found)
                each.typed_config.CopyFrom(encode.packed(manager))
            elif each.name == TCP_FILTER and found.log.file:
                proxy = tcp_proxy_pb2.TcpProxy.FromString(each.typed_config.value)
                proxy.access_log.append(access_logs.logger(found.log, asked=asked))
                each.typed_config.CopyFrom(encode.packed(proxy))
    if not listener.default_filter_chain.filters:
        listener.ClearField("default_filter_chain")
    if found.log.file and found.unmatched:
        listener.access_log.append(access_logs.logger(found.log, only=access_logs.NO_ROUTE))
    return encode.resource(LISTENER, resource.name, listener)


def _requests(manager: Any, found: Settings) -> None:
    if found.log.file:
        log = access_logs.logger(found.log, asked=denied_by(manager.http_filters))
        manager.access_log.append(log)
    if found.paths is not PathNormalization.BASE:
        normalize(manager, found.paths)
