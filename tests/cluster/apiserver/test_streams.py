"""Real kubectls drive exec, attach, logs and port-forward through the relay to a kubelet of real commands."""

import asyncio
import contextlib
import hashlib
import json
import os
import pty
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import unused_port
from tests.cluster.apiserver.small_kubelet import FOLLOWED, Handler, kubelet_connection

from weft.cluster.apiserver import discovery, logs, streams
from weft.cluster.apiserver.catalog import BUILT_IN
from weft.cluster.apiserver.errors import StatusError
from weft.cluster.apiserver.streams_kubelet import KubeletTarget

ROOT = Path(__file__).parents[3]
KUBECTLS = {"1.20": ROOT / ".tools/kubectl-1.20/kubectl", "newest": ROOT / ".tools/kubectl-newest/kubectl"}
POD = {
    "kind": "Pod",
    "apiVersion": "v1",
    "metadata": {"name": "p", "namespace": "default", "uid": "1"},
    "spec": {"containers": [{"name": "c", "image": "x"}]},
    "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
}


@dataclass
class Cluster:
    url: str
    cache: Path

    async def kubectl(self, version: str, *arguments: str, stdin: bytes = b"") -> tuple[int, bytes, bytes]:
        binary = KUBECTLS[version]
        process = await asyncio.create_subprocess_exec(
            binary,
            f"--server={self.url}",
            "--kubeconfig=/dev/null",
            f"--cache-dir={self.cache}/{version}",
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            out, err = await asyncio.wait_for(process.communicate(stdin), 30)
        finally:
            if process.returncode is None:
                process.kill()
        return process.returncode or 0, out, err


def application(kubelet: str) -> web.Application:
    kinds = [kind for kind in BUILT_IN if kind.api_version == "v1" and kind.plural == "pods"]
    resources = {
        "exec": "exec/default/p/c",
        "attach": "attach/default/p/c",
        "portforward": "portForward/default/p",
    }

    async def stream(request: web.Request) -> web.StreamResponse:
        path = resources[request.match_info["subresource"]]
        target = KubeletTarget(f"{kubelet}/{path}?{request.rel_url.raw_query_string}", None)
        try:
            return await streams.handle(request, target)
        except StatusError as error:
            return web.json_response(error.status(), status=error.code)

    async def log(request: web.Request) -> web.StreamResponse:
        try:
            return await logs.relay(
                request, KubeletTarget(f"{kubelet}/log?{request.rel_url.raw_query_string}", None)
            )
        except StatusError as error:
            return web.json_response(error.status(), status=error.code)

    def answer(document: Mapping[str, object]) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handler(request: web.Request) -> web.Response:
            return web.json_response(document)

        return handler

    app = web.Application()
    pod = "/api/v1/namespaces/default/pods/{name}"
    app.router.add_get("/api", answer(discovery.api_versions()))
    app.router.add_get("/apis", answer(discovery.api_group_list(kinds)))
    app.router.add_get("/api/v1", answer(discovery.resource_list(kinds, "", "v1")))
    app.router.add_get(pod, answer(POD))
    app.router.add_get(pod + "/log", log)
    for method in ("GET", "POST"):
        app.router.add_route(method, pod + "/{subresource}", stream)
    return app


@contextlib.asynccontextmanager
async def listening(handler: Handler) -> AsyncIterator[int]:
    """A TCP server, its port; at the end every connection is waited for."""
    connections: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        try:
            await handler(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        if connections:
            await asyncio.wait(connections, timeout=5)


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with listening(kubelet_connection) as kubelet:
        runner = web.AppRunner(application(f"http://127.0.0.1:{kubelet}"), shutdown_timeout=1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield Cluster(f"http://127.0.0.1:{runner.addresses[0][1]}", tmp_path)
        await runner.cleanup()


versions = pytest.mark.parametrize("version", list(KUBECTLS))


@versions
async def test_a_command_tells_its_output_its_errors_and_its_exit_code(cluster: Cluster, version: str) -> None:
    code, out, err = await cluster.kubectl(
        version, "exec", "p", "--", "sh", "-c", "echo out; echo err >&2; exit 7"
    )
    assert (code, out) == (7, b"out\n")
    assert b"err\n" in err
    assert b"exit code 7" in err


@versions
async def test_three_megabytes_of_stdin_arrive_unchanged_and_end(cluster: Cluster, version: str) -> None:
    data = os.urandom(3 * 1024 * 1024)
    code, out, err = await cluster.kubectl(version, "exec", "-i", "p", "--", "sha256sum", stdin=data)
    assert (code, out.split()[0].decode()) == (0, hashlib.sha256(data).hexdigest()), err


@versions
async def test_three_megabytes_come_back_unchanged(cluster: Cluster, version: str) -> None:
    data = os.urandom(3 * 1024 * 1024)
    code, out, err = await cluster.kubectl(version, "exec", "-i", "p", "--", "cat", stdin=data)
    assert (code, hashlib.sha256(out).digest()) == (0, hashlib.sha256(data).digest()), err


@versions
async def test_a_terminal_is_one_for_the_command_and_takes_typing(cluster: Cluster, version: str) -> None:
    master, slave = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        KUBECTLS[version],
        f"--server={cluster.url}",
        "--kubeconfig=/dev/null",
        f"--cache-dir={cluster.cache}",
        *("exec", "-it", "p", "--", "sh", "-c", "tty; read line; echo got-$line; exit 3"),
        stdin=slave,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    screen = bytearray()

    async def until(wanted: bytes) -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(20):
            while wanted not in screen:
                with contextlib.suppress(OSError):
                    screen.extend(await loop.run_in_executor(None, os.read, master, 4096))

    await until(b"/dev/pts/")
    os.write(master, b"hello\n")
    await until(b"got-hello")
    assert await asyncio.wait_for(process.wait(), 20) == 3
    os.close(master)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(await reader.read())
    writer.write_eof()


@versions
async def test_a_forwarded_port_carries_bytes_both_ways(cluster: Cluster, version: str) -> None:
    async with listening(echo) as remote:
        await forwarded(cluster, version, remote)


async def forwarded(cluster: Cluster, version: str, remote: int) -> None:
    local = unused_port()
    process = await asyncio.create_subprocess_exec(
        KUBECTLS[version],
        f"--server={cluster.url}",
        "--kubeconfig=/dev/null",
        f"--cache-dir={cluster.cache}",
        *("port-forward", "p", f"{local}:{remote}"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), 20)
        assert b"Forwarding from 127.0.0.1" in line, line
        data = os.urandom(500_000)
        for _ in range(2):
            reader, writer = await asyncio.open_connection("127.0.0.1", local)
            writer.write(data)
            writer.write_eof()
            assert await asyncio.wait_for(reader.read(), 20) == data
            writer.close()
            await writer.wait_closed()
    finally:
        process.terminate()
        await process.wait()


@versions
async def test_a_refusal_of_the_kubelet_reaches_the_user_in_its_words(cluster: Cluster, version: str) -> None:
    code, _, err = await cluster.kubectl(version, "exec", "p", "--", "missing")
    assert code == 1
    assert b"no such thing" in err


async def test_a_request_without_upgrade_is_told_what_to_ask_for(cluster: Cluster) -> None:
    async with aiohttp.ClientSession() as session:
        url = f"{cluster.url}/api/v1/namespaces/default/pods/p/exec?command=true"
        async with session.post(url) as answer:
            assert answer.status == 400
            assert "websocket" in (await answer.json())["message"]


async def test_a_program_may_speak_the_fourth_version_of_the_channels(cluster: Cluster) -> None:
    async with aiohttp.ClientSession() as session:
        url = (
            f"{cluster.url}/api/v1/namespaces/default/pods/p/exec?command=echo&command=hi&stdout=true&stderr=true"
        )
        async with session.ws_connect(url, protocols=["v4.channel.k8s.io"]) as socket:
            messages = [message.data async for message in socket]
    assert messages[0] == b"\x01hi\n"
    assert json.loads(messages[-1][1:])["status"] == "Success"
    assert messages[-1][0] == 3


async def test_a_program_may_send_its_input_as_text(cluster: Cluster) -> None:
    async with aiohttp.ClientSession() as session:
        url = f"{cluster.url}/api/v1/namespaces/default/pods/p/exec?command=cat&stdin=true&stdout=true"
        async with session.ws_connect(url, protocols=["v4.channel.k8s.io"]) as socket:
            await socket.send_str("\x00typed\n")
            assert (await socket.receive(timeout=10)).data == b"\x01typed\n"


@versions
async def test_a_log_is_shown_to_its_end(cluster: Cluster, version: str) -> None:
    code, out, err = await cluster.kubectl(version, "logs", "p")
    assert (code, out) == (0, b"first\n"), err


async def test_a_followed_log_ends_at_the_kubelet_when_the_client_goes(cluster: Cluster) -> None:
    FOLLOWED.clear()
    url = f"{cluster.url}/api/v1/namespaces/default/pods/p/log?follow=true"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        assert await answer.content.readline() == b"first\n"
        assert await answer.content.readline() == b"more\n"
    await asyncio.wait_for(FOLLOWED.wait(), 5)


async def test_a_log_that_the_kubelet_does_not_have_is_refused_in_its_words(cluster: Cluster) -> None:
    async with aiohttp.ClientSession() as session:
        url = f"{cluster.url}/api/v1/namespaces/default/pods/p/log?command=missing"
        async with session.get(url) as answer:
            assert (answer.status, (await answer.json())["message"]) == (404, "no such thing")


async def test_a_kubelet_that_is_not_there_is_named(tmp_path: Path) -> None:
    port = unused_port()
    runner = web.AppRunner(application(f"http://127.0.0.1:{port}"), shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server = runner.addresses[0]
    code, _, err = await Cluster(f"http://127.0.0.1:{server[1]}", tmp_path).kubectl(
        "newest", "exec", "p", "--", "true"
    )
    await runner.cleanup()
    assert code == 1
    assert f"127.0.0.1:{port} cannot be reached".encode() in err
