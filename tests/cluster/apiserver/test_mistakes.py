"""The mistakes that people make are refused as Kubernetes refuses them, word by word."""

import io
import re
from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec
import pytest
from tests.cluster.apiserver.mistakes import Mistake, Obj, mistakes, printed
from tests.cluster.apiserver.servers import Home, Kubectl

from weft.adapters.kube.client import Kube
from weft.adapters.kube.kinds import SERVICEACCOUNTS
from weft.cluster.apiserver.rest.server import Server

HERE = "default"
# what the real kubectl is made to say itself; its own checks come first elsewhere
BY_KUBECTL = (
    "containers",
    "deployments",
    "unknown fields",
    "access",
)


@dataclass
class Client:
    """Creates and changes objects, and tells what kubectl would print."""

    session: aiohttp.ClientSession
    server: Server
    origin: str

    def path(self, obj: Obj, base: Obj) -> str:
        kind = self.server.cluster.scheme.by_kind(base["apiVersion"].rpartition("/")[0], base["kind"])
        assert kind
        start = f"/apis/{kind.group}/{kind.version}" if kind.group else "/api/v1"
        return f"{start}/namespaces/{HERE}/{kind.plural}" if kind.namespaced else f"{start}/{kind.plural}"

    async def send(self, method: str, path: str, obj: Any, **query: str) -> tuple[Obj, list[str]]:
        async with self.session.request(
            method,
            self.origin + path,
            data=io.BytesIO(msgspec.json.encode(obj)),
            params=query,
            headers={"Content-Type": "application/json"},
        ) as response:
            warnings = [re.sub(r"\\(.)", r"\1", text[7:-1]) for text in response.headers.getall("Warning", [])]
            return msgspec.json.decode(await response.read()), warnings

    async def made(self, mistake: Mistake, base: Obj) -> tuple[str, str]:
        """What kubectl would print of the mistake, and the UID of the object that it changed."""
        path = self.path(mistake.bad, base)
        query = {"dryRun": "All", "fieldValidation": mistake.validation}
        if mistake.sound is None:
            answer, warnings = await self.send("POST", path, mistake.bad, **query)
            return _told(answer, warnings), ""
        sound, _ = await self.send("POST", path, mistake.sound)
        assert "uid" in sound["metadata"], sound
        here = f"{path}/{sound['metadata']['name']}"
        try:
            changed = _over(sound, mistake.sound, mistake.bad)
            answer, warnings = await self.send("PUT", here, changed, **query)
            return _told(answer, warnings), sound["metadata"]["uid"]
        finally:
            await self.send("DELETE", here, {"gracePeriodSeconds": 0})


def _told(answer: Obj, warnings: list[str]) -> str:
    if answer.get("kind") == "Status" and answer.get("status") == "Failure":
        return printed(answer)
    return "\n".join(f"Warning: {warning}" for warning in warnings)


def _over(live: Any, was: Any, becomes: Any) -> Any:
    """The live object with what the manifest changed, as kubectl's three-way merge has it."""
    if isinstance(live, dict) and isinstance(was, dict) and isinstance(becomes, dict):
        result = {key: value for key, value in live.items() if key not in was or key in becomes}
        for key, value in becomes.items():
            result[key] = _over(live.get(key), was.get(key), value)
        return result
    if isinstance(live, list) and isinstance(was, list) and isinstance(becomes, list):
        pairs = [_over(*three) for three in zip(live, was, becomes, strict=False)]
        return pairs + becomes[len(was) :] + live[len(was) :]
    return live if was == becomes and live is not None else becomes


@pytest.fixture
async def client(home: Home, server: Server, kube: Kube) -> Any:
    await kube.create(SERVICEACCOUNTS, {"metadata": {"name": "default", "namespace": HERE}})
    connector = aiohttp.TCPConnector(ssl=home.access.ssl_context())
    async with aiohttp.ClientSession(connector=connector) as session:
        yield Client(session, server, home.access.server)


def _differs(mistake: Mistake, told: str, uid: str) -> bool:
    expected = mistake.expected(uid)
    return not told.startswith(expected) if mistake.begins else told != expected


@pytest.mark.parametrize("group", list(mistakes()))
async def test_a_mistake_is_refused_with_the_reasons_that_kubectl_users_know(client: Client, group: str) -> None:
    wrong = []
    for mistake in mistakes()[group]:
        base = mistake.sound or _typed(mistake)
        told, uid = await client.made(mistake, base)
        if _differs(mistake, told, uid):
            wrong.append(f"{mistake.about}\n  expected: {mistake.expected(uid)}\n  told:     {told}")
    assert not wrong, "\n" + "\n".join(wrong)


def _typed(mistake: Mistake) -> Obj:
    """The kind whose path a manifest is sent to, which may be another than it says."""
    name = mistake.about.partition(" {")[0]
    bases: dict[str, Obj] = {
        "configmap": {"apiVersion": "v1", "kind": "ConfigMap"},
        "deployment": {"apiVersion": "apps/v1", "kind": "Deployment"},
    }
    return bases.get(name, mistake.bad)


@pytest.mark.parametrize("group", BY_KUBECTL)
async def test_kubectl_prints_the_same(client: Client, kubectl: Kubectl, group: str) -> None:
    wrong = []
    for mistake in [each for each in mistakes()[group] if each.sound is None and each.validation == "Strict"][:9]:
        manifest = msgspec.json.encode(mistake.bad).decode()
        result = await kubectl("create", "--dry-run=server", "-f", "-", stdin=manifest, ok=False)
        told = result.err.strip().replace('error when creating "STDIN": ', "")
        if told != mistake.expected():
            wrong.append(f"{mistake.about}\n  expected: {mistake.expected()}\n  told:     {told}")
    assert not wrong, "\n" + "\n".join(wrong)
