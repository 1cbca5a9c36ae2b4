"""What a client asks of TLS towards a host, after DestinationRules are resolved."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class TlsMode(StrEnum):
    """What a DestinationRule asks of the connection. AUTO: mTLS where the endpoint takes it."""

    AUTO = "AUTO"
    DISABLE = "DISABLE"
    ISTIO_MUTUAL = "ISTIO_MUTUAL"
    SIMPLE = "SIMPLE"
    MUTUAL = "MUTUAL"

    @property
    def originates(self) -> bool:
        """Whether it is TLS of the host's own, not that of the mesh."""
        return self in {TlsMode.SIMPLE, TlsMode.MUTUAL}


@dataclass(frozen=True, slots=True)
class ClientTls:
    """How TLS towards a host is begun. What is empty is the default of its mode.

    `names` are what the server's certificate must be for, one of them. `certificate`, `key`, `roots` and `revoked`
    are files where the proxy runs; `credential` names a Secret in their place.
    """

    mode: TlsMode = TlsMode.AUTO
    sni: str = ""
    names: tuple[str, ...] = ()
    certificate: str = ""
    key: str = ""
    roots: str = ""
    revoked: str = ""
    credential: str = ""
    verify: bool = True


AUTO: Final = ClientTls()
"""mTLS wherever the endpoint takes it."""
