"""Keys of issuers of tokens, fetched over HTTP."""

import ipaddress
import json
import socket
import ssl
from collections.abc import Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp

from weft.api.jwks import jwks_fault

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

NEVER: Final[tuple[Network, ...]] = (
    ipaddress.ip_network("169.254.0.0/16"),
    ipaddress.ip_network("fe80::/10"),
    ipaddress.ip_network("fd00:ec2::254/128"),
    ipaddress.ip_network("fd20:ce::254/128"),
)
"""Link-local addresses, and those of clouds' metadata: keys of tokens are nowhere there, and secrets are."""

_LARGEST: Final = 1 << 20


class FetchError(OSError):
    """There are no keys; the message says why."""


class KeyFetcher:
    """Fetches JWKS, but nothing from addresses in NEVER and `refused`, whatever a name or a redirect leads to.

    Issuers are verified by the system's roots and by those in the file `roots`, which may come, change and go.
    """

    def __init__(self, refused: Sequence[Network] = (), roots: Path | None = None) -> None:
        self._refused = (*NEVER, *refused)
        self._roots = roots
        self._trusting: tuple[str, ssl.SSLContext] | None = None

    async def fetch(self, url: str, timeout: timedelta, *, discovery: bool = False) -> str:
        """The JWKS at a URL; with `discovery`, at the `jwks_uri` of the document there. Raises FetchError."""
        connector = aiohttp.TCPConnector(socket_factory=self._socket, force_close=True, ssl=self._trust())
        limit = aiohttp.ClientTimeout(total=timeout.total_seconds())
        try:
            async with aiohttp.ClientSession(connector=connector, timeout=limit) as session:
                text = await _get(session, url)
                if discovery:
                    text = await _get(session, _where(text))
        except TimeoutError:
            raise FetchError(f"no answer within {timeout.total_seconds():g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise FetchError(_said(error)) from error
        fault = jwks_fault(text)
        if fault:
            raise FetchError(f"the answer {fault}")
        return text

    def _trust(self) -> ssl.SSLContext:
        """A context that verifies issuers; made anew when the file of roots is another."""
        try:
            own = self._roots.read_text() if self._roots is not None else ""
        except FileNotFoundError:
            own = ""
        except (OSError, ValueError) as error:
            raise FetchError(f"{self._roots} cannot be read ({error})") from None
        if self._trusting is None or self._trusting[0] != own:
            context = ssl.create_default_context()
            try:
                if own:
                    context.load_verify_locations(cadata=own)
            except ssl.SSLError:
                raise FetchError(f"{self._roots} has no certificates in PEM") from None
            self._trusting = (own, context)
        return self._trusting[1]

    def _socket(self, info: Any) -> socket.socket:
        """A socket for an address that names were resolved to, right before it is dialled."""
        family, kind, protocol, _, address = info
        at = ipaddress.ip_address(address[0].partition("%")[0])
        if isinstance(at, ipaddress.IPv6Address) and at.ipv4_mapped is not None:
            at = at.ipv4_mapped
        if any(at.version == each.version and at in each for each in self._refused):
            raise FetchError(f"{at} is in a range that keys are not fetched from")
        return socket.socket(family, kind, protocol)


def networks(written: str) -> tuple[Network, ...]:
    """Address ranges as `BLOCKED_CIDRS_IN_JWKS_URIS` has them, divided by commas. Raises ValueError."""
    parts: Iterable[str] = (part.strip() for part in written.split(","))
    return tuple(ipaddress.ip_network(part, strict=False) for part in parts if part)


async def _get(session: aiohttp.ClientSession, url: str) -> str:
    async with session.get(url, headers={"accept": "application/json"}) as response:
        if response.status != 200:
            raise FetchError(f"the answer is {response.status}")
        body = await response.content.read(_LARGEST + 1)
        while len(body) <= _LARGEST and (more := await response.content.read(_LARGEST + 1)):
            body += more
        if len(body) > _LARGEST:
            raise FetchError(f"the answer is longer than {_LARGEST} bytes")
        return body.decode()


def _where(document: str) -> str:
    """The `jwks_uri` of a document of OpenID Connect Discovery."""
    try:
        found = json.loads(document)
    except ValueError:
        raise FetchError("the issuer's document is not JSON") from None
    url = found.get("jwks_uri") if isinstance(found, dict) else None
    if not isinstance(url, str) or urlsplit(url).scheme not in {"http", "https"}:
        raise FetchError("the issuer's document has no jwks_uri")
    return url


def _said(error: BaseException) -> str:
    """Why it failed: our own word, which aiohttp wraps in its, or else that one."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, FetchError):
            return str(inner)
        inner = inner.__cause__ or inner.__context__
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        reason = getattr(error.certificate_error, "verify_message", "") or str(error.certificate_error)
        return f"its certificate is not trusted ({reason.rstrip('.')})"
    if isinstance(error, ConnectionResetError | aiohttp.ServerDisconnectedError):
        return "the connection was closed, as by a port that takes the mesh's mTLS only"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f'"{error.host}" is not known to the DNS'
    return str(error) or type(error).__name__
