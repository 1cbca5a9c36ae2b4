"""Requests as no client of good will sends them, over live connections, answered as Kubernetes answers them."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from tests.cluster.apiserver.servers import Home
from tests.cluster.apiserver.test_bad_connections import close, open_files, settle

from weft.adapters.kube.client import ApiError, Kube
from weft.cluster.apiserver.rest.server import Server

MAPS = "/api/v1/namespaces/default/configmaps"
SEED = f"{MAPS}/seed"
MAP = b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"}}'
UNREADABLE = "the object provided is unrecognized (must be of type ConfigMap): "
NO_JSON = UNREADABLE + "couldn't get version/kind; json parse error: "
REJECTED = "the server rejected our request due to an error in our request"
JSON, YAML = "application/json", "application/yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"


@pytest.fixture
async def seeded(home: Home, kube: Kube, server: Server) -> AsyncIterator[Home]:
    """The server with an object in it; afterwards it still works, and holds no connection and no task more."""
    await kube.call("POST", MAPS, body={"metadata": {"name": "seed"}, "data": {"a": "b"}})
    files, tasks = open_files(), len(asyncio.all_tasks())
    yield home
    assert (await kube.call("GET", SEED))["metadata"]["name"] == "seed"
    await settle(files)
    async with asyncio.timeout(10):
        while len(asyncio.all_tasks()) > tasks:
            await asyncio.sleep(0.05)


async def send(home: Home, text: bytes) -> tuple[int, bytes, bytes]:
    """The code, head and body of an answer that ends the connection, or is whole after its length."""
    reader, writer = await asyncio.open_connection("127.0.0.1", home.port, ssl=home.access.ssl_context())
    try:
        writer.write(text)
        async with asyncio.timeout(15):
            head = await reader.readuntil(b"\r\n\r\n")
            sizes = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            body = await reader.readexactly(int(sizes[0].split()[1])) if sizes and b"HEAD" not in text[:5] else b""
        return int(head.split()[1]), head, body
    finally:
        await close(writer)


def asked(method: str, path: str, body: bytes = b"", media: str = JSON, *more: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: x", f"Content-Type: {media}", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, *more, "", ""]).encode() + body


def post(*lines: bytes) -> bytes:
    return b"\r\n".join([b"POST " + MAPS.encode() + b" HTTP/1.1", b"Host: x", *lines, b"", b""])


BEFORE_ANY_HANDLER = {
    "an escape that is none": (asked("GET", "/api/v1/namespaces/%zz/configmaps"), 400),
    "a method that is none": (asked("BREW", MAPS), 400),
    "no host": (b"GET /readyz HTTP/1.1\r\n\r\n", 400),
    "two hosts": (b"GET /readyz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    "HTTP/2 without TLS's word for it": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "a blank before a colon": (b"GET /readyz HTTP/1.1\r\nHost : x\r\n\r\n", 400),
    "a folded header": (b"GET /readyz HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n", 400),
    "NUL in a header": (b"GET /readyz HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n", 400),
    "a length and chunks": (post(b"Content-Length: 5", b"Transfer-Encoding: chunked", b"", b"0"), 400),
    "two lengths": (post(b"Content-Length: 5", b"Content-Length: 6", b"", b"abcdef"), 400),
    "a length below nothing": (post(b"Content-Length: -5"), 400),
    "a length with a sign": (post(b"Content-Length: +5", b"", b"abcde"), 400),
    "a length beyond all numbers": (post(b"Content-Length: 99999999999999999999999"), 400),
    "an encoding of transfer that is none": (post(b"Transfer-Encoding: foo", b"", b"abc"), 400),
    "chunks in chunks": (post(b"Transfer-Encoding: chunked, chunked", b"", b"0"), 400),
    "a header of 2 MB": (asked("GET", "/readyz", b"", JSON, "X: " + "a" * 2_000_000), 431),
    "a path of 2 MB": (asked("GET", "/" + "a" * 2_000_000), 431),
    "a thousand headers": (asked("GET", "/readyz", b"", JSON, *[f"X-{n}: a" for n in range(1000)]), 431),
}


@pytest.mark.parametrize("name", list(BEFORE_ANY_HANDLER))
async def test_what_is_no_request_gets_one_plain_line(
    seeded: Home, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    text, code = BEFORE_ANY_HANDLER[name]
    found, head, body = await send(seeded, text)
    phrase = {400: "Bad Request", 431: "Request Header Fields Too Large"}[code]
    assert (found, body.decode()) == (code, f"{code} {phrase}")
    assert b"connection: close" in head.lower() or head.startswith(b"HTTP/1.0")
    assert not caplog.records  # a client that sends nonsense fills no log


BODIES: dict[str, tuple[bytes, str, int, str]] = {
    "nothing": (b"", JSON, 400, NO_JSON + "unexpected end of JSON input (<empty>)"),
    "half of it": (b'{"a":', JSON, 400, NO_JSON + 'unexpected end of JSON input ({"a":)'),
    "words": (b"hello", JSON, 400, NO_JSON + "invalid character 'h' looking for beginning of value (68656c6c6f)"),
    "two": (
        b'{"a":1}{"b":2}',
        JSON,
        400,
        NO_JSON + 'invalid character \'{\' after top-level value ({"a":1}{"b":2})',
    ),
    "NaN": (
        b'{"a":NaN}',
        JSON,
        400,
        NO_JSON + "invalid character 'N' looking for beginning of value ({\"a\":NaN})",
    ),
    "no comma": (
        b'{"a":1 "b":2}',
        JSON,
        400,
        NO_JSON + 'invalid character \'"\' after object key:value pair ({"a":1 "b":2})',
    ),
    "gzip": (
        gzip.compress(MAP, mtime=0),
        JSON,
        400,
        NO_JSON + r"invalid character '\x1f' looking for beginning of value (1f8b08",
    ),
    "a bomb of objects": (b'{"a":' * 100_000, JSON, 400, "the body is nested too deeply"),
    "a bomb of lists": (b"[" * 1_000_000, JSON, 400, "the body is nested too deeply"),
    "101 levels": (b"[" * 101 + b"]" * 101, JSON, 400, "the body is nested deeper than 100 levels"),
    "YAML that ends early": (
        b"a:\n  - [",
        YAML,
        400,
        UNREADABLE + "error converting YAML to JSON: yaml: line 2: did not find expected node content",
    ),
    "YAML with a tab": (
        b"a:\n\t- b",
        YAML,
        400,
        UNREADABLE + "error converting YAML to JSON: yaml: line 2: found character that cannot start any token",
    ),
    "no protobuf": (b"{}", PROTOBUF, 400, "the body cannot be decoded: "),
    "protobuf that ends early": (b"k8s\x00\x0a\xff", PROTOBUF, 400, "the body cannot be decoded: "),
    "protobuf with an endless number": (b"k8s\x00" + b"\xff" * 100, PROTOBUF, 400, "the body cannot be decoded: "),
    "a page": (b"<p>", "text/html", 415, "the body of the request was in an unknown format"),
    "too much": (b" " * (3 * 1024 * 1024 + 1), JSON, 413, "Request entity too large: limit is 3145728"),
}


@pytest.mark.parametrize("name", list(BODIES))
async def test_a_body_that_cannot_be_read_is_refused_in_kubernetes_words(seeded: Home, name: str) -> None:
    body, media, code, message = BODIES[name]
    found, _, answer = await send(seeded, asked("POST", MAPS, body, media))
    status = msgspec.json.decode(answer)
    assert (found, status["kind"], status["code"]) == (code, "Status", code)
    assert status["message"].startswith(message)
    reasons = {400: "BadRequest", 413: "RequestEntityTooLarge", 415: "UnsupportedMediaType"}
    assert status["reason"] == reasons[code]


async def test_text_that_is_no_unicode_is_kept_as_far_as_it_is(seeded: Home) -> None:
    data = b'{"metadata":{"name":"odd"},"data":{"a":"x\xff\xfe","b":"\\ud800 \\ud83d\\ude00 \\\\ud800"}}'
    code, _, answer = await send(seeded, asked("POST", MAPS, data))
    assert code == 201
    assert msgspec.json.decode(answer)["data"] == {"a": "x\ufffd\ufffd", "b": "\ufffd 😀 \\ud800"}


async def test_what_http_allows_works(seeded: Home) -> None:
    chunks = b"5\r\n" + MAP[:5] + b"\r\n%x\r\n" % (len(MAP) - 5) + MAP[5:] + b"\r\n0\r\n\r\n"
    head = (
        f"POST {MAPS}?dryRun=All HTTP/1.1\r\nHost: x\r\nContent-Type: {JSON}\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    assert (await send(seeded, head.encode() + chunks))[0] == 201
    code, head_bytes, _ = await send(seeded, asked("HEAD", SEED))
    assert (code, b"content-length: 0" in head_bytes.lower()) == (200, False)
    assert (await send(seeded, asked("HEAD", f"{MAPS}/none")))[0] == 404
    assert (await send(seeded, asked("OPTIONS", MAPS)))[0] == 405
    long = "a in (" + ",".join(f"v{n}" for n in range(5000)) + ")"
    assert (await send(seeded, asked("GET", f"{MAPS}?labelSelector={long.replace(' ', '%20')}")))[0] == 200
    expecting = asked("POST", f"{MAPS}?dryRun=All", MAP, JSON, "Expect: 100-continue")
    assert (await send(seeded, expecting))[0] == 100
    assert (await send(seeded, asked("POST", MAPS, MAP, JSON, "Expect: a-miracle")))[0] == 417
    _, head_bytes, _ = await send(seeded, asked("GET", SEED))
    assert b"cache-control: no-cache, private" in head_bytes.lower()
    assert b"server:" not in head_bytes.lower()


async def test_requests_in_one_piece_are_answered_in_their_order(seeded: Home) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", seeded.port, ssl=seeded.access.ssl_context())
    text = (
        asked("GET", f"{MAPS}/none") + asked("GET", SEED) + asked("GET", "/readyz", b"", JSON, "Connection: close")
    )
    writer.write(text)
    async with asyncio.timeout(10):
        answer = await reader.read()
    await close(writer)
    codes = [part.split()[0] for part in answer.split(b"HTTP/1.1 ")[1:]]
    assert codes == [b"404", b"200", b"200"]


QUERIES = {
    "limit=abc": 400,
    "limit=-1": 400,
    "limit=" + "9" * 5000: 400,
    "resourceVersion=abc": 400,
    "resourceVersion=%C2%B2": 400,
    "resourceVersion=" + "9" * 5000: 400,
    "continue=abc": 400,
    "labelSelector=a%20b": 400,
    "labelSelector=" + "(" * 1000: 400,
    "fieldSelector=spec.x%3D1": 400,
    "timeout=abc": 400,
    "watch=1&timeoutSeconds=-1": 400,
    "watch=1&sendInitialEvents=true": 422,
}


@pytest.mark.parametrize("query", list(QUERIES), ids=lambda query: query[:40])
async def test_a_parameter_that_is_none_is_the_clients_fault(seeded: Home, query: str) -> None:
    code, _, answer = await send(seeded, asked("GET", f"{MAPS}?{query}"))
    assert code == QUERIES[query]
    assert msgspec.json.decode(answer)["kind"] == "Status"


Ops = list[dict[str, Any]]
DOUBLING: Ops = [{"op": "copy", "from": "/data", "path": f"/data/y{n}"} for n in range(40)]
PATCHES: dict[str, tuple[str, Any, int, str]] = {
    "a missing path": (
        "json-patch+json",
        [{"op": "remove", "path": "/data/none"}],
        422,
        f"{REJECTED}: remove operation does not apply: doc is missing path: /data/none: missing value",
    ),
    "a test that fails": (
        "json-patch+json",
        [{"op": "test", "path": "/data/a", "value": "x" * 1_000_000}],
        422,
        f"{REJECTED}: testing value /data/a failed: test failed",
    ),
    "an unknown operation": ("json-patch+json", [{"op": "frob", "path": "/a"}], 400, "error decoding patch: "),
    "no list": (
        "json-patch+json",
        {},
        400,
        "error decoding patch: json: cannot unmarshal object into Go value of type jsonpatch.Patch",
    ),
    "a list of numbers": ("json-patch+json", [3], 400, "error decoding patch: "),
    "a path that is none": ("json-patch+json", [{"op": "remove", "path": "a"}], 400, "error decoding patch: "),
    "too many operations": (
        "json-patch+json",
        [{"op": "test", "path": "/data/a", "value": "b"}] * 10_001,
        413,
        "Request entity too large: The allowed maximum operations in a JSON patch is 10000, got 10001",
    ),
    "copies of copies": (
        "json-patch+json",
        [{"op": "add", "path": "/data/x", "value": "x" * 1000}, *DOUBLING],
        422,
        f"{REJECTED}: Unable to complete the copy, the accumulated size increase of copy is ",
    ),
    "levels below levels": (
        "json-patch+json",
        [{"op": "add", "path": "/data" + "/a" * n, "value": {}} for n in range(1500)],
        422,
        f"{REJECTED}: the object would be nested deeper than 100 levels",
    ),
    "a directive that is none": (
        "strategic-merge-patch+json",
        {"$patch": "frob"},
        400,
        "unknown patch type found: frob",
    ),
    "a list for an object": (
        "merge-patch+json",
        [1],
        400,
        "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}",
    ),
    "an apply of words": (
        "apply-patch+yaml",
        "abc",
        400,
        "error decoding patch: json: cannot unmarshal string into Go value of type map[string]interface {}",
    ),
    "another type": ("json", {}, 415, "the body of the request was in an unknown format"),
}


@pytest.mark.parametrize("name", list(PATCHES))
async def test_a_patch_that_cannot_be_done_is_refused_in_kubernetes_words(seeded: Home, name: str) -> None:
    media, patch, code, message = PATCHES[name]
    data = json.dumps(patch).encode()
    found, _, answer = await send(seeded, asked("PATCH", f"{SEED}?fieldManager=m", data, f"application/{media}"))
    status = msgspec.json.decode(answer)
    assert (found, status["code"]) == (code, code)
    assert status["message"].startswith(message)
    assert len(status["message"]) < 1000


async def test_tens_of_thousands_of_items_are_merged_before_anybody_waits_long(kube: Kube, seeded: Home) -> None:
    names = [f"example.com/{number}" for number in range(15_000)]
    patch = {"metadata": {"finalizers": names, "$setElementOrder/finalizers": names}}
    for _ in range(2):
        await kube.call("PATCH", SEED, body=patch, content_type="application/strategic-merge-patch+json")
    assert (await kube.call("GET", SEED))["metadata"]["finalizers"] == names
    await kube.call(
        "PATCH", SEED, body={"metadata": {"finalizers": None}}, content_type="application/merge-patch+json"
    )


async def test_a_number_that_gos_type_cannot_hold_is_refused_by_its_field(kube: Kube, seeded: Home) -> None:
    pod = {"metadata": {"name": "p"}, "spec": {"priority": 2**40, "containers": [{"name": "c", "image": "i"}]}}
    with pytest.raises(ApiError) as refused:
        await kube.call("POST", "/api/v1/namespaces/default/pods", body=pod)
    assert refused.value.code == 400
    assert "json: cannot unmarshal number 1099511627776 into Go struct field" in str(refused.value)
    assert "of type int32" in str(refused.value)
