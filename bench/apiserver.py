"""The API server alone under many objects: what it costs, beside a real kube-apiserver's memory."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median, quantiles
from typing import Any, NamedTuple

import aiohttp
import msgspec
from rich.console import Console
from rich.table import Table
from tests.cluster.apiserver.servers import Home, make_home

COUNT = 5_000
CLIENTS = 10
UPDATES = 1_000
WATCHERS = 200
SETTLE = 15
"""Seconds in which the server gives back what it no longer needs."""
IDLE_REAL = 278
"""MiB of a real kube-apiserver (1.36) at rest on such a machine."""
LOADED_REAL = 464
"""MiB of it after creating 10,000 objects."""
SERVICES = "/api/v1/namespaces/default/services"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"


class Figure(NamedTuple):
    what: str
    value: float
    unit: str
    real: float = 0
    """A real kube-apiserver's, where it was measured."""


def main(folder: Path, console: Console) -> None:
    """Measure, and print the table."""
    home = make_home(folder)
    console.print(f"creating {COUNT} Services and {COUNT} EndpointSlices with {CLIENTS} clients")
    figures = []
    for measure in (_measure, _measure_again):
        start = time.monotonic()
        log = folder / "apiserver.log"
        with log.open("w") as output, subprocess.Popen(_command(home), stderr=output) as server:
            try:
                figures += asyncio.run(measure(home, server.pid, start))
            except OSError:
                console.print(log.read_text(), markup=False)
                raise
            finally:
                server.send_signal(signal.SIGTERM)
    table = Table(title="The API server alone", title_justify="left")
    for column in ("FIGURE", "VALUE", "KUBE-APISERVER", "RATIO"):
        table.add_column(column, justify="left" if column == "FIGURE" else "right")
    for figure in figures:
        real = (
            (f"{figure.real:.4g} {figure.unit}", f"{figure.value / figure.real:.2f}") if figure.real else ("", "")
        )
        table.add_row(figure.what, f"{figure.value:.4g} {figure.unit}", *real)
    console.print(table)


def _command(home: Home) -> list[str]:
    """The server; with PROFILE=FILE under cProfile, whose figures of the last start are in that file."""
    profile = ["-m", "cProfile", "-o", os.environ["PROFILE"]] if "PROFILE" in os.environ else []
    bind = f"127.0.0.1:{home.port}"
    server = ["apiserver", "--home", str(home.path), "--bind", bind, "--without-controllers"]
    return [sys.executable, *profile, "-m", "weft", *server]


async def _measure_again(home: Home, _pid: int, start: float) -> list[Figure]:
    """What a start costs with all those objects stored."""
    context = home.access.ssl_context()
    connector = aiohttp.TCPConnector(ssl=context)
    async with aiohttp.ClientSession(f"https://127.0.0.1:{home.port}", connector=connector) as session:
        await _until_ready(session)
        return [Figure(f"start to ready with {2 * COUNT} objects", time.monotonic() - start, "s")]


async def _measure(home: Home, pid: int, start: float) -> list[Figure]:
    context = home.access.ssl_context()
    base = f"https://127.0.0.1:{home.port}"
    connector = aiohttp.TCPConnector(ssl=context, limit=0)
    async with aiohttp.ClientSession(base, connector=connector) as session:
        await _until_ready(session)
        started = Figure("start to ready", time.monotonic() - start, "s")
        await asyncio.sleep(2)
        idle = Figure("memory at rest", _memory(pid), "MiB", IDLE_REAL)
        writes = await _create(session)
        loaded = Figure(f"memory after {2 * COUNT} objects", _memory(pid), "MiB", LOADED_REAL)
        lists = [await _list(session, path) for path in (SERVICES, SLICES)]
        watched = [*await _watch(session), await _fan_out(session)]
        await asyncio.sleep(SETTLE)
        after = Figure(f"memory {SETTLE} s after lists and watches", _memory(pid), "MiB", LOADED_REAL)
    return [started, idle, writes, loaded, *lists, *watched, after]


async def _until_ready(session: aiohttp.ClientSession) -> None:
    while True:
        try:
            async with session.get("/readyz") as answer:
                if answer.status == 200:
                    return
        except aiohttp.ClientError:
            await asyncio.sleep(0.02)


def _memory(pid: int) -> float:
    """Proportional memory in MiB."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(next(line for line in rollup.splitlines() if line.startswith("Pss:")).split()[1]) / 1024


async def _create(session: aiohttp.ClientSession) -> Figure:
    wanted = iter([(path, make(number)) for number in range(COUNT) for path, make in _KINDS])

    async def client() -> None:
        for path, obj in wanted:
            async with session.post(path, json=obj) as answer:
                assert answer.status == 201, await answer.text()

    start = time.monotonic()
    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return Figure(f"writes, {CLIENTS} clients", 2 * COUNT / (time.monotonic() - start), "/s")


def _service(number: int) -> dict[str, Any]:
    spec = {"selector": {"app": f"app-{number}"}, "ports": [{"name": "http", "port": 80}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": f"app-{number}"}, "spec": spec}


def _slice(number: int) -> dict[str, Any]:
    address = f"10.244.{number // 250}.{number % 250 + 1}"
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": f"app-{number}", "labels": {"kubernetes.io/service-name": f"app-{number}"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}, "nodeName": "node"}],
        "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
    }


_KINDS = ((SERVICES, _service), (SLICES, _slice))


async def _list(session: aiohttp.ClientSession, path: str) -> Figure:
    times = []
    for _ in range(3):
        start = time.monotonic()
        async with session.get(path) as answer:
            body = await answer.read()
        times.append(time.monotonic() - start)
    assert len(msgspec.json.decode(body)["items"]) >= COUNT
    return Figure(f"list of {COUNT} {path.rpartition('/')[2]}", median(times) * 1000, "ms")


async def _watch(session: aiohttp.ClientSession) -> list[Figure]:
    """From sending a patch to having its event, one after another."""
    async with session.get(SLICES, params={"limit": "1"}) as answer:
        version = (await answer.json())["metadata"]["resourceVersion"]
    delays = []
    query = {"watch": "true", "resourceVersion": version}
    headers = {"Content-Type": "application/merge-patch+json"}
    async with session.get(SLICES, params=query, timeout=aiohttp.ClientTimeout(total=None)) as events:
        for number in range(UPDATES):
            change = msgspec.json.encode({"metadata": {"annotations": {"round": str(number)}}})
            start = time.monotonic()
            patch = asyncio.ensure_future(
                session.patch(f"{SLICES}/app-{number % COUNT}", data=change, headers=headers)
            )
            event = msgspec.json.decode(await events.content.readline())
            delays.append((time.monotonic() - start) * 1000)
            assert event["object"]["metadata"]["annotations"]["round"] == str(number)
            (await patch).release()
    return [
        Figure("patch to its watch event (median)", median(delays), "ms"),
        Figure("patch to its watch event (p99)", quantiles(delays, n=100)[98], "ms"),
    ]


async def _fan_out(session: aiohttp.ClientSession) -> Figure:
    """From sending a patch until the last of many watchers has its event."""
    async with session.get(SLICES, params={"limit": "1"}) as answer:
        version = (await answer.json())["metadata"]["resourceVersion"]
    query, forever = {"watch": "true", "resourceVersion": version}, aiohttp.ClientTimeout(total=None)
    headers = {"Content-Type": "application/merge-patch+json"}
    watches = [await session.get(SLICES, params=query, timeout=forever) for _ in range(WATCHERS)]
    delays = []
    for number in range(50):
        change = msgspec.json.encode({"metadata": {"annotations": {"fan": str(number)}}})
        start = time.monotonic()
        patch = asyncio.ensure_future(session.patch(f"{SLICES}/app-{number}", data=change, headers=headers))
        await asyncio.gather(*(watch.content.readline() for watch in watches))
        delays.append((time.monotonic() - start) * 1000)
        (await patch).release()
    for watch in watches:
        watch.close()
    return Figure(f"patch to the last of {WATCHERS} watchers (median)", median(delays), "ms")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(temporary), Console())
