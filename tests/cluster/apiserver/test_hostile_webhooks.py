"""Webhooks that hang, lie or talk without end: the write is refused in Kubernetes' words, or passes."""

import asyncio
import base64
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from tests.cluster.apiserver.processes import until
from tests.cluster.apiserver.servers import Home
from tests.cluster.apiserver.test_bad_connections import open_files

from weft.adapters.kube.client import ApiError, Kube
from weft.cluster.apiserver.rest.server import Server

MAPS = "/api/v1/namespaces/default/configmaps"
HOOKS = "/apis/admissionregistration.k8s.io/v1/{}webhookconfigurations"
Script = Callable[[dict[str, Any], asyncio.StreamWriter], Awaitable[None]]
"""From the review to whatever is written."""


def http(body: bytes, code: int = 200, *more: str) -> bytes:
    lines = [f"HTTP/1.1 {code} X", "Content-Type: application/json", f"Content-Length: {len(body)}", *more, "", ""]
    return "\r\n".join(lines).encode() + body


def says(body: bytes, code: int = 200, *more: str) -> Script:
    async def script(_: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        writer.write(http(body, code, *more))

    return script


def raw(text: bytes) -> Script:
    async def script(_: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        writer.write(text)

    return script


def answers(**response: Any) -> Script:
    async def script(review: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        found = {"uid": review["request"]["uid"], "allowed": True, **response}
        writer.write(http(json.dumps({**review, "request": None, "response": found}).encode()))

    return script


def patches(*operations: dict[str, Any]) -> Script:
    packed = base64.b64encode(json.dumps(operations).encode()).decode()
    return answers(patch=packed, patchType="JSONPatch")


async def hangs(_: dict[str, Any], writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        await writer.drain()
        await asyncio.sleep(60)


async def floods(_: dict[str, Any], writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000000\r\n\r\n")
    with contextlib.suppress(ConnectionError):
        for _number in range(100):
            writer.write(b" " * 1_000_000)
            await writer.drain()


@dataclass
class Hook:
    kube: Kube
    url: str
    bundle: str
    script: Script = hangs

    async def add(self, sort: str, policy: str) -> None:
        webhook = {
            "name": "hook.example.com",
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "failurePolicy": policy,
            "timeoutSeconds": 1,
            "rules": [
                {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}
            ],
            "clientConfig": {"url": self.url, "caBundle": self.bundle},
        }
        await self.kube.call("POST", HOOKS.format(sort), body={"metadata": {"name": "h"}, "webhooks": [webhook]})

    async def create(self) -> str:
        """A creation's refusal; empty where there is none."""
        try:
            await self.kube.call("POST", MAPS, body={"metadata": {"name": "c"}, "data": {"a": "b"}})
        except ApiError as error:
            return f"{error.code} {error}"
        return ""


@pytest.fixture
async def hook(home: Home, kube: Kube, server: Server) -> AsyncIterator[Hook]:
    home.authority.issue("hook", "hook", sans=("127.0.0.1",))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(home.path / "pki/hook.crt", home.path / "pki/hook.key")
    bundle = base64.b64encode((home.path / "pki/ca.crt").read_bytes()).decode()
    found = Hook(kube, "", bundle)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length:"))
            await found.script(json.loads(await reader.readexactly(length)), writer)
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    found.url = f"https://127.0.0.1:{listening.sockets[0].getsockname()[1]}/"
    await kube.call("GET", MAPS)
    files = open_files()
    yield found
    await until(lambda: open_files() <= files + 2)  # a connection that may be used again
    listening.close()


CALLING = 'failed calling webhook "hook.example.com": '
CALL = CALLING + "failed to call webhook: "
BROKEN: dict[str, tuple[Script, str]] = {
    "hangs": (hangs, "context deadline exceeded"),
    "closes at once": (raw(b""), "EOF"),
    "closes in the middle": (raw(http(b"{}" * 50)[:-20]), "unexpected EOF"),
    "speaks no HTTP": (raw(b"\x00\x01\x02 hello\r\n\r\n"), CALL + 'Post "'),
    "sends garbage": (says(b"hello"), CALL + "couldn't get version/kind; json parse error: invalid"),
    "sends a bomb": (
        says(b"[" * 1_000_000),
        CALL + "couldn't get version/kind; json parse error: exceeded",
    ),
    "sends 100 MB": (floods, CALL + "the answer is longer than 16777216 bytes"),
    "redirects": (
        says(b"", 302, "Location: https://127.0.0.1:1/"),
        CALL + "the server responded with the status code 302 but did not return more information",
    ),
    "fails": (says(b"oh", 500), CALL + 'an error on the server ("oh") has prevented the request from succeeding'),
    "is not there": (says(b"", 404), CALL + "the server could not find the requested resource"),
    "is a list": (says(b"[]"), CALL + "the answer is no AdmissionReview: "),
    "sends another kind": (says(b'{"kind":"Pod","apiVersion":"v1","response":{}}'), CALLING + "expected webhook"),
    "answers another review": (answers(uid="other"), CALLING + 'expected response.uid="'),
    "allows with a word": (answers(allowed="yes"), CALL + "the answer is no AdmissionReview: "),
    "warns with a number": (answers(warnings=3), CALL + "the answer is no AdmissionReview: "),
    "has a word for a status": (answers(allowed=False, status="no"), CALL + "the answer is no AdmissionReview: "),
    "has no type of patch": (answers(patch="W10="), CALLING + "webhook returned response.patch but not"),
}


@pytest.mark.parametrize("name", list(BROKEN))
@pytest.mark.parametrize("sort", ["mutating", "validating"])
async def test_a_webhook_without_an_answer_fails_the_write_or_is_ignored(hook: Hook, name: str, sort: str) -> None:
    hook.script, words = BROKEN[name]
    await hook.add(sort, "Fail")
    refused = await hook.create()
    assert refused.startswith("500 "), refused
    assert "Internal error occurred: " + CALLING in refused
    assert words in refused
    assert len(refused) < 1000
    await hook.kube.call("DELETE", HOOKS.format(sort) + "/h")
    await hook.add(sort, "Ignore")
    assert not await hook.create()


PATCHES: dict[str, Script] = {
    "no base64": answers(patch="!!!", patchType="JSONPatch"),
    "no JSON": answers(patch="aGVsbG8=", patchType="JSONPatch"),
    "no list": answers(patch="e30=", patchType="JSONPatch"),
    "a missing path": patches({"op": "remove", "path": "/none"}),
    "no object": patches({"op": "replace", "path": "", "value": 3}),
    "no metadata": patches({"op": "remove", "path": "/metadata"}),
    "a word for metadata": patches({"op": "replace", "path": "/metadata", "value": "x"}),
    "a list for labels": patches({"op": "add", "path": "/metadata/labels", "value": [1]}),
    "a number for data": patches({"op": "add", "path": "/data", "value": 3}),
    "a number for a name": patches({"op": "add", "path": "/metadata/name", "value": 3}),
    "no name": patches({"op": "remove", "path": "/metadata/name"}),
    "another namespace": patches({"op": "add", "path": "/metadata/namespace", "value": "other"}),
    "a word for ownership": patches({"op": "add", "path": "/metadata/managedFields", "value": "x"}),
    "a word for finalizers": patches({"op": "add", "path": "/metadata/finalizers", "value": "x"}),
    "levels below levels": patches(
        *({"op": "add", "path": "/data" + "/a" * n, "value": {}} for n in range(150)),
    ),
}


@pytest.mark.parametrize("name", list(PATCHES))
async def test_a_patch_that_leaves_no_such_object_is_refused_and_nothing_is_stored(hook: Hook, name: str) -> None:
    hook.script = PATCHES[name]
    await hook.add("mutating", "Fail")
    refused = await hook.create()
    assert refused
    assert "its log says why" not in refused
    assert not (await hook.kube.call("GET", MAPS))["items"]


async def test_a_denial_may_say_anything(hook: Hook) -> None:
    await hook.add("validating", "Fail")
    hook.script = answers(allowed=False, status={"message": "no\x00\n" + "x" * 100_000, "code": 10**6})
    assert (await hook.create()).startswith("599 ")
    hook.script = answers(allowed=False, status={"code": -1})
    assert "denied the request without explanation" in await hook.create()
    hook.script = answers(warnings=["a\r\nSet-Cookie: b\x00\ud800", "x" * 10_000, "y" * 10_000])
    assert not await hook.create()
