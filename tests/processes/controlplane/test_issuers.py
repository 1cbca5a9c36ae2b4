"""Keys of issuers of tokens, followed by istiod: what proxies verify with while they come, change and fail."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from aiohttp import web
from tests.cases.tokens import jwks
from tests.processes.controlplane.clients import proxies
from tests.processes.controlplane.cluster import Cluster
from tests.processes.controlplane.test_istiod import Istiod, cluster, running

from weft.adapters.jwks import FetchError
from weft.model.fake_key import NO_KEYS
from weft.model.request_authentication import KeySource, KeyTrouble
from weft.processes.controlplane.issuers import Issuers, Outlet
from weft.xds.resource import LISTENER

__all__ = ["cluster"]  # a fixture, found by its name

ONE, OTHER = KeySource("http://one/keys"), KeySource("http://other", discovery=True)
FAST = timedelta(milliseconds=20)


@dataclass
class Fetcher:
    """Answers by URL with keys, or fails with a reason."""

    keys: dict[str, str] = field(default_factory=dict)
    fails: dict[str, Exception] = field(default_factory=dict)
    asked: list[tuple[str, timedelta, bool]] = field(default_factory=list)

    async def fetch(self, url: str, timeout: timedelta, *, discovery: bool = False) -> str:
        self.asked.append((url, timeout, discovery))
        await asyncio.sleep(0)
        if url in self.fails:
            raise self.fails[url]
        return self.keys[url]


@dataclass
class Scene:
    """Issuers at work: what they put, and what is wanted of them."""

    issuers: Issuers
    fetcher: Fetcher
    wanted: dict[KeySource, timedelta]
    put: dict[KeySource, str | None]

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(3):
            while not condition():
                await asyncio.sleep(0.005)


@asynccontextmanager
async def scene(fetcher: Fetcher, *wanted: KeySource) -> AsyncIterator[Scene]:
    asked, put = dict.fromkeys(wanted, timedelta(seconds=3)), dict[KeySource, str | None]()
    issuers = Issuers(fetcher, lambda: asked, Outlet(put.__setitem__, lambda: None), FAST)
    task = asyncio.create_task(issuers.run())
    issuers.look()
    try:
        yield Scene(issuers, fetcher, asked, put)
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_keys_are_fetched_once_they_are_wanted_and_again_in_their_turn() -> None:
    async with scene(Fetcher({ONE.url: "a", OTHER.url: "b"}), ONE) as one:
        await one.until(lambda: one.put == {ONE: "a"})
        one.wanted[OTHER] = timedelta(seconds=7)
        one.issuers.look()
        await one.until(lambda: one.put == {ONE: "a", OTHER: "b"})
        # proxies wait for the first answers, so these are not waited for as long as a rule likes
        assert (OTHER.url, timedelta(seconds=5), True) in one.fetcher.asked
        await one.until(lambda: (OTHER.url, timedelta(seconds=7), True) in one.fetcher.asked)
        one.fetcher.keys[ONE.url] = "newer"
        await one.until(lambda: one.put[ONE] == "newer")


async def test_keys_that_nobody_asks_for_any_more_are_forgotten() -> None:
    async with scene(Fetcher({ONE.url: "a"}), ONE) as one:
        await one.until(lambda: one.put == {ONE: "a"})
        one.wanted.clear()
        one.issuers.look()
        await one.until(lambda: one.put == {ONE: None})


async def test_the_last_keys_stay_while_fetching_fails_and_that_is_told_until_it_does_not() -> None:
    async with scene(Fetcher({ONE.url: "a"}), ONE) as one:
        await one.until(lambda: one.put == {ONE: "a"})
        one.fetcher.fails[ONE.url] = FetchError("the answer is 500")
        await one.until(lambda: one.issuers.troubles == (KeyTrouble(ONE, "the answer is 500", kept=True),))
        assert one.put == {ONE: "a"}
        del one.fetcher.fails[ONE.url]
        await one.until(lambda: not one.issuers.troubles)


async def test_the_trouble_of_an_issuer_that_nobody_asks_for_any_more_is_forgotten() -> None:
    async with scene(Fetcher(fails={ONE.url: FetchError("gone")}), ONE) as one:
        await one.until(lambda: one.issuers.troubles == (KeyTrouble(ONE, "gone", kept=False),))
        one.wanted.clear()
        one.issuers.look()
        await one.until(lambda: not one.issuers.troubles)
        count = len(one.fetcher.asked)
        await asyncio.sleep(0.05)
        assert len(one.fetcher.asked) == count


async def test_one_issuer_that_breaks_our_code_does_not_end_the_others() -> None:
    async with scene(Fetcher({OTHER.url: "b"}, {ONE.url: ZeroDivisionError()}), ONE, OTHER) as one:
        await one.until(lambda: one.put == {OTHER: "b"} and len(one.issuers.troubles) == 1)


@dataclass
class Issuer:
    """A server whose answer can be changed; None is 500."""

    answer: str | None
    url: str = ""
    seconds: float = 0.0
    """How long it thinks."""

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["Issuer"]:
        async def page(_: web.Request) -> web.Response:
            await asyncio.sleep(self.seconds)
            return web.Response(text=self.answer) if self.answer else web.Response(status=500)

        app = web.Application()
        app.router.add_get("/keys", page)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/keys"
        try:
            yield self
        finally:
            await runner.cleanup()


def authentication(url: str) -> dict[str, Any]:
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "RequestAuthentication",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"jwtRules": [{"issuer": "https://one.example", "jwksUri": url}]},
    }


async def told(istiod: Istiod) -> list[tuple[str, str]]:
    found = await istiod.get("/debug/problems")
    return [(each["at"]["field"], each["message"]) for each in found if each["code"] == "WEFT0005"]


async def is_warned(istiod: Istiod) -> bool:
    """Whether somebody is told that keys are fetched from anywhere."""
    return any(each["code"] == "IST0175" for each in await istiod.get("/debug/problems"))


@asynccontextmanager
async def connected(istiod: Istiod) -> AsyncIterator[None]:
    """While a proxy is."""
    address = f"127.0.0.1:{istiod.ports['grpcAddr']}"
    async with proxies(address, ["v1.shop"], metadata={"NAMESPACE": "shop"}) as (proxy,):
        async with asyncio.timeout(10), proxy.got:
            await proxy.got.wait_for(lambda: LISTENER in proxy.has)
        yield


async def verifies_with(istiod: Istiod, keys: str) -> None:
    """Wait until the proxy has these keys inline."""
    deadline = time.monotonic() + 10
    while json.dumps(keys) not in json.dumps(await istiod.get("/debug/config_dump?proxyID=v1.shop")):
        assert time.monotonic() < deadline, keys
        await asyncio.sleep(0.05)


async def eventually(istiod: Istiod, wanted: Callable[[list[tuple[str, str]]], bool]) -> None:
    deadline = time.monotonic() + 10
    while not wanted(await told(istiod)):
        assert time.monotonic() < deadline, await told(istiod)
        await asyncio.sleep(0.05)


async def test_proxies_verify_with_fetched_keys_follow_their_rotation_and_keep_the_last(
    cluster: Cluster, tmp_path: Path
) -> None:
    quick = {"PILOT_JWT_PUB_KEY_REFRESH_INTERVAL": "100ms"}
    config = cluster.kubeconfig(tmp_path / "kubeconfig")
    async with Issuer(None).serving() as issuer, running(config, tmp_path, environment=quick) as istiod:
        cluster.put(authentication(issuer.url))
        async with connected(istiod):
            await verifies_with(istiod, NO_KEYS)
            assert await is_warned(istiod)
            message = f"no keys from {issuer.url}: the answer is 500."
            await eventually(istiod, lambda found: found == [("spec.jwtRules[0].jwksUri", message)])
            issuer.answer = jwks()
            await verifies_with(istiod, jwks())
            await eventually(istiod, lambda found: not found)
            rotated = json.dumps({"keys": json.loads(jwks())["keys"][:1]})
            issuer.answer = rotated
            await verifies_with(istiod, rotated)
            issuer.answer = None
            await eventually(istiod, lambda found: found == [("spec.jwtRules[0].jwksUri", message)])
            await verifies_with(istiod, rotated)


async def test_keys_are_not_fetched_from_ranges_that_a_setting_refuses(cluster: Cluster, tmp_path: Path) -> None:
    refused = {"BLOCKED_CIDRS_IN_JWKS_URIS": "10.0.0.0/8,127.0.0.0/8"}
    config = cluster.kubeconfig(tmp_path / "kubeconfig")
    async with Issuer(jwks()).serving() as issuer, running(config, tmp_path, environment=refused) as istiod:
        cluster.put(authentication(issuer.url))
        async with connected(istiod):
            await eventually(istiod, lambda found: "range that keys are not fetched from" in str(found))
            assert not await is_warned(istiod)
            await verifies_with(istiod, NO_KEYS)


async def test_a_restarted_istiod_refuses_no_token_while_it_asks_for_keys(
    cluster: Cluster, tmp_path: Path
) -> None:
    config = cluster.kubeconfig(tmp_path / "kubeconfig")
    async with Issuer(jwks(), seconds=0.7).serving() as issuer:
        cluster.put(authentication(issuer.url))
        async with running(config, tmp_path) as istiod, connected(istiod):
            dump = json.dumps(await istiod.get("/debug/config_dump?proxyID=v1.shop"))
            assert json.dumps(jwks()) in dump
            assert json.dumps(NO_KEYS) not in dump
