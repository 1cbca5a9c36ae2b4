"""istiod's names, on the stream that carries Envoy's configuration: asked for beside Envoy, kept from it."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.message import DecodeError

from weft.model.name_table import Named
from weft.xds import protobuf
from weft.xds.name_messages import NameTableError, decode
from weft.xds.resource import NAME_TABLE

_log = logging.getLogger("weft.agent.dns")
_xds: Any = discovery_pb2


class NameFeed:
    """Keeps the names across streams. `changed` is told all of them whenever one is another."""

    type_url = NAME_TABLE

    def __init__(self, changed: Callable[[Sequence[Named]], None]) -> None:
        self._changed = changed
        self._names: dict[str, tuple[Named, ...]] = {}
        self._versions: dict[str, str] = {}

    def opening(self) -> bytes:
        """What to ask on a new stream, once Envoy has introduced itself there."""
        request = _xds.DeltaDiscoveryRequest(type_url=NAME_TABLE, initial_resource_versions=self._versions)
        return _encoded(request)

    async def take(self, message: bytes) -> bytes:
        """Take a response; the request that acknowledges it, or refuses what is no table."""
        try:
            response = _xds.DeltaDiscoveryResponse.FromString(message)
            learned = {one.name: decode(one.resource.value) for one in response.resources}
        except (DecodeError, NameTableError) as error:
            _log.error("istiod sent names that cannot be read: %s", error)
            refusal = _xds.DeltaDiscoveryRequest(type_url=NAME_TABLE)
            refusal.response_nonce = protobuf.last_text(message, 5)
            refusal.error_detail.message = str(error)
            return _encoded(refusal)
        self._names |= learned
        self._versions |= {one.name: one.version for one in response.resources}
        for name in response.removed_resources:
            self._names.pop(name, None)
            self._versions.pop(name, None)
        self._changed([info for infos in self._names.values() for info in infos])
        return _encoded(_xds.DeltaDiscoveryRequest(type_url=NAME_TABLE, response_nonce=response.nonce))


def _encoded(request: Any) -> bytes:
    body: bytes = request.SerializeToString()
    return body
