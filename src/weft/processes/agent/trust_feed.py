"""What to verify others with, on the stream that carries Envoy's configuration (Istio's PCDS).

It is acknowledged once Envoy verifies others with it: istiod signs by a new root when everybody has acknowledged.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.message import DecodeError

from weft.pki import messages, pem
from weft.pki.messages import MessageError
from weft.pki.pem import PemError
from weft.pki.succession import Trusted
from weft.xds import protobuf
from weft.xds.resource import PROXY_CONFIG

_log = logging.getLogger("weft.agent.identity")
_xds: Any = discovery_pb2
_NONCE = 5  # DeltaDiscoveryResponse.nonce


class TrustFeed:
    """Knows across streams what was learned. `learn` returns when Envoy has it; TimeoutError if it does not."""

    type_url = PROXY_CONFIG

    def __init__(self, learn: Callable[[Trusted], Awaitable[None]]) -> None:
        self._learn = learn
        self._versions: dict[str, str] = {}

    def opening(self) -> bytes:
        """What to ask on a new stream, once Envoy has introduced itself there."""
        request = _xds.DeltaDiscoveryRequest(type_url=PROXY_CONFIG, initial_resource_versions=self._versions)
        return _encoded(request)

    async def take(self, message: bytes) -> bytes:
        """Take a response; the request that acknowledges it, or refuses what cannot be trusted."""
        try:
            response = _xds.DeltaDiscoveryResponse.FromString(message)
            for one in response.resources:
                trusted = messages.decode_trust(one.resource.value)
                for roots in (trusted.roots, *(each.roots for each in trusted.bundles)):
                    pem.load_certificates(roots)
                await self._learn(trusted)
                self._versions[one.name] = one.version
        except (DecodeError, MessageError, PemError, TimeoutError) as error:
            trouble = str(error) or "Envoy does not take it"
            _log.error("istiod's roots are not used: %s", trouble)
            refusal = _xds.DeltaDiscoveryRequest(type_url=PROXY_CONFIG)
            refusal.response_nonce = protobuf.last_text(message, _NONCE)
            refusal.error_detail.message = trouble
            return _encoded(refusal)
        return _encoded(_xds.DeltaDiscoveryRequest(type_url=PROXY_CONFIG, response_nonce=response.nonce))


def _encoded(request: Any) -> bytes:
    body: bytes = request.SerializeToString()
    return body
