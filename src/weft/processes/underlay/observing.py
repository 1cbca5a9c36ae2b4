"""What this node's network holds for a pod, for `weft underlay check`: `GET /v1/observe?pod=NAMESPACE/NAME`.

It is answered on a socket in the folder that only root may enter, and nowhere else: whoever may run commands in
the node process's pod sees it, and no pod on the node's network does.
"""

import asyncio
import contextlib
import http.client
import os
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from ipaddress import ip_interface
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import msgspec
from aiohttp import web

from weft.adapters import pod_network, procfs
from weft.processes.cni.pods import Pods
from weft.processes.underlay import swallowing
from weft.redirect.interfaces import Interface
from weft.underlay.observed import Observed
from weft.underlay.paths.world import Sight

Pod = Mapping[str, Any]

SOCKET: Final = "observe.sock"
PATH: Final = "/v1/observe"
_PATIENCE: Final = 2.0
"""Seconds that a pod may take to be told of."""
_SECONDS: Final = 20.0


@contextlib.asynccontextmanager
async def serving(folder: Path, node: str, pods: Pods) -> AsyncIterator[None]:
    """Answer in `folder`, which only root may enter, while the context is open."""

    async def observe(request: web.Request) -> web.Response:
        pod = None
        if asked := request.query.get("pod", ""):
            namespace, _, name = asked.partition("/")
            pod = await pods.find(namespace, name, "", _PATIENCE)
            if pod is None:
                raise web.HTTPNotFound(text=f'pod "{asked}" is not on node {node}, or not known to it yet')
        sight = await asyncio.to_thread(look, node, pod)
        return web.Response(body=msgspec.json.encode(sight), content_type="application/json")

    app = web.Application()
    app.router.add_get(PATH, observe)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        path = folder / SOCKET
        path.unlink(missing_ok=True)
        await web.UnixSite(runner, str(path)).start()
        path.chmod(0o600)
        yield
    finally:
        await runner.cleanup()


def look(node: str, pod: Pod | None) -> Sight:
    """What is seen now. It blocks. The node process shares the node's processes: /proc has those of its pods."""
    host = pod_network.look()
    if pod is None:
        return Sight(node, host)
    if (pod.get("spec") or {}).get("hostNetwork"):
        return Sight(node, host, why="it is on its node's network")
    uid = str(pod["metadata"]["uid"])
    try:
        with procfs.network_namespaces({uid}) as namespaces:
            if uid not in namespaces:
                return Sight(node, host, why="no process of it runs, so it has no network that could be found")
            found = pod_network.look(namespaces[uid])
    except OSError as error:
        return Sight(node, host, why=f"its network cannot be looked into: {error}")
    swallows = swallowing.swallowed(pod, _interfaces(found))
    return Sight(node, host, found, tuple((each.interface, each.version) for each in swallows))


def _interfaces(observed: Observed) -> tuple[Interface, ...]:
    return tuple(
        Interface(link.name, tuple(map(ip_interface, link.addresses)), link.up, link.master != 0)
        for link in observed.links
    )


def request(pod: str, folder: Path) -> int:
    """Ask the node process of this container about a pod (with "" about the node alone), and print the answer."""
    connection = _Connection(folder / SOCKET)
    try:
        connection.request("GET", f"{PATH}?pod={quote(pod)}" if pod else PATH)
        answer = connection.getresponse()
        body = answer.read()
    except OSError as error:
        sys.stderr.write(f"the node process does not answer on {folder / SOCKET}: {error}\n")
        return 1
    finally:
        connection.close()
    if answer.status != http.HTTPStatus.OK:
        sys.stderr.write(body.decode(errors="replace").strip() + "\n")
        return 1
    sys.stdout.buffer.write(body)
    sys.stdout.flush()
    return 0


class _Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_SECONDS)
        self.sock.connect(os.fspath(self._path))
