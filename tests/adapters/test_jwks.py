"""Keys of issuers, fetched from a server on the loopback."""

import asyncio
import ipaddress
import json
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web
from tests.cases.tokens import jwks
from tests.support.envoy import Identity
from tests.support.identities import Authority

from weft.adapters.jwks import FetchError, KeyFetcher, networks

SOON = timedelta(seconds=2)
PAGES = {
    "/keys": jwks(),
    "/moved": "/keys",
    "/metadata": "http://169.254.169.254/latest",
    "/.well-known/openid-configuration": '{"issuer": "ORIGIN", "jwks_uri": "ORIGIN/keys"}',
    "/discovers-metadata": '{"jwks_uri": "http://169.254.169.254/keys"}',
    "/file": '{"jwks_uri": "file:///etc/passwd"}',
    "/secret": "root:x:0:0",
    "/none": '{"keys": [{"kty": "RSA"}]}',
    "/endless": " " * (1 << 20) + jwks(),
}
"""By path the text, or where it leads to."""


@asynccontextmanager
async def issuer(identity: Identity | None = None, folder: Path = Path()) -> AsyncIterator[str]:
    """The URL of a server with an issuer's pages, good ones and others; over TLS, if it has a certificate."""

    async def page(request: web.Request) -> web.Response:
        found = PAGES.get(request.path)
        if found is None:
            raise web.HTTPNotFound
        if found.startswith(("http", "/")):
            raise web.HTTPFound(found)
        return web.Response(text=found.replace("ORIGIN", f"http://{request.host}"))

    app = web.Application()
    app.router.add_get("/{path:.*}", page)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    context = None
    if identity is not None:
        (folder / "issuer.pem").write_text(identity.chain + identity.key)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(folder / "issuer.pem")
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    port = runner.addresses[0][1]
    try:
        yield f"http://127.0.0.1:{port}" if context is None else f"https://localhost:{port}"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("path", ["/keys", "/moved"])
async def test_keys_are_fetched_where_the_rule_says(path: str) -> None:
    async with issuer() as url:
        assert await KeyFetcher().fetch(f"{url}{path}", SOON) == jwks()


async def test_an_issuer_tells_where_its_keys_are() -> None:
    async with issuer() as url:
        document = f"{url}/.well-known/openid-configuration"
        assert json.loads(await KeyFetcher().fetch(document, SOON, discovery=True)) == json.loads(jwks())


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/gone", "the answer is 404"),
        ("/secret", "the answer is not JSON"),
        ("/none", "the answer has no key that tokens can be verified with"),
        ("/endless", "the answer is longer than 1048576 bytes"),
        ("/metadata", "169.254.169.254 is in a range that keys are not fetched from"),
    ],
)
async def test_an_answer_that_is_no_key_set_is_told_and_not_taken(path: str, said: str) -> None:
    async with issuer() as url:
        with pytest.raises(FetchError) as found:
            await KeyFetcher().fetch(f"{url}{path}", SOON)
    assert str(found.value) == said


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/discovers-metadata", "169.254.169.254 is in a range that keys are not fetched from"),
        ("/file", "the issuer's document has no jwks_uri"),
        ("/secret", "the issuer's document is not JSON"),
    ],
)
async def test_an_issuer_leads_nowhere_that_keys_are_not_fetched_from(path: str, said: str) -> None:
    async with issuer() as url:
        with pytest.raises(FetchError) as found:
            await KeyFetcher().fetch(f"{url}{path}", SOON, discovery=True)
    assert str(found.value) == said


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"])
async def test_refused_ranges_are_not_dialled_by_whatever_name(host: str) -> None:
    fetcher = KeyFetcher(networks("10.0.0.0/8, 127.0.0.0/8,::1/128"))
    async with issuer() as url:
        port = url.rpartition(":")[2]
        with pytest.raises(FetchError, match="in a range that keys are not fetched from"):
            await fetcher.fetch(f"http://{host}:{port}/keys", SOON)


async def test_a_server_that_is_silent_is_told_after_its_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/keys"
        with pytest.raises(FetchError, match=r"no answer within 0\.05 s"):
            await KeyFetcher().fetch(url, timedelta(milliseconds=50))


def test_ranges_are_written_with_commas() -> None:
    assert networks("10.1.2.3/8") == (ipaddress.ip_network("10.0.0.0/8"),)
    assert networks("") == ()
    with pytest.raises(ValueError, match="does not appear to be an IPv4 or IPv6 network"):
        networks("10.0.0.0/8,everything")


async def test_an_issuer_with_a_certificate_of_ones_own_authority_is_believed_once_its_root_is_there(
    tmp_path: Path,
) -> None:
    authority, roots = Authority("issuers"), tmp_path / "extra.pem"
    fetcher = KeyFetcher(roots=roots)
    async with issuer(authority.serve("localhost"), tmp_path) as url:
        for trusted, said in (
            ("", "its certificate is not trusted"),
            (Authority("others").roots, "its certificate is not trusted"),
            ("no certificate", f"{roots} has no certificates in PEM"),
        ):
            if trusted:
                roots.write_text(trusted)
            with pytest.raises(FetchError, match=said):
                await fetcher.fetch(f"{url}/keys", SOON)
        roots.write_text(Authority("others").roots + authority.roots)
        assert await fetcher.fetch(f"{url}/keys", SOON) == jwks()
        # it vouches for the names in its certificates only
        with pytest.raises(FetchError, match="IP address mismatch"):
            await fetcher.fetch(f"{url.replace('localhost', '127.0.0.1')}/keys", SOON)
        roots.unlink()
        with pytest.raises(FetchError, match="its certificate is not trusted"):
            await fetcher.fetch(f"{url}/keys", SOON)


async def test_a_server_that_hangs_up_is_told_to_take_mtls_only_perhaps() -> None:
    def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(FetchError, match="takes the mesh's mTLS only"):
            await KeyFetcher().fetch(f"http://127.0.0.1:{port}/keys", SOON)
