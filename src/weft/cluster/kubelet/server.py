"""The kubelet's HTTPS server: logs and streams of this node's containers, for the API server."""

import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import web

from weft.adapters.cri.client import CriError
from weft.adapters.cri.types import Container, State
from weft.cluster.kubelet import lifecycle, logs
from weft.cluster.kubelet.meter import Meter
from weft.cluster.kubelet.pods import Pods
from weft.cluster.kubelet.readings import Readings
from weft.cluster.kubelet.splice import splice
from weft.cluster.kubelet.station import Station
from weft.cluster.kubelet.status import initial_reason
from weft.cluster.kubelet.worker import Worker

PORT = 10250
_WAITING = {"ErrImagePull": "image can't be pulled", "ImagePullBackOff": "trying and failing to pull image"}
_ENDED = "CONTAINER_EXITED"
_IDLE = 90.0
"""Seconds without a whole request after which a connection is closed."""


def tls(certificate: Path, key: Path, authority: Path) -> ssl.SSLContext:
    """A server that talks only to clients with a certificate of the cluster's authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.load_verify_locations(authority)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


@asynccontextmanager
async def serve(
    station: Station, pods: Pods, meter: Meter, host: str, port: int, context: ssl.SSLContext | None
) -> AsyncIterator[int]:
    """Serve inside the `async with`; the port that was taken."""
    handlers = Handlers(station, pods)
    app = web.Application()
    app.add_routes(Readings(station, pods, meter).routes())
    app.router.add_get("/containerLogs/{namespace}/{pod}/{container}", handlers.container_logs)
    for method in ("GET", "POST"):
        app.router.add_route(method, "/exec/{namespace}/{pod}/{container}", handlers.exec)
        app.router.add_route(method, "/attach/{namespace}/{pod}/{container}", handlers.attach)
        app.router.add_route(method, "/portForward/{namespace}/{pod}", handlers.port_forward)
    # a stream's handler lives as long as its stream: nobody waits for it at the end
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5, keepalive_timeout=_IDLE)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, ssl_context=context)
        await site.start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


class Handlers:
    """One method for each endpoint; refusals are plain text, as a kubelet's are."""

    def __init__(self, station: Station, pods: Pods) -> None:
        self._station, self._pods = station, pods

    async def container_logs(self, request: web.Request) -> web.StreamResponse:
        """The log of a container, by `follow tailLines previous timestamps sinceSeconds sinceTime limitBytes`."""
        worker = self._worker(request)
        name = request.match_info["container"]
        container = _logged(worker, name, previous=_flag(request, "previous"))
        options = _options(request, self._station.clock())
        path = worker.maker.logs / name / f"{container.attempt}.log"

        def ended() -> bool:
            known = next((each for each in worker.seen.containers if each.id == container.id), None)
            gone = request.transport is None or request.transport.is_closing()
            return gone or known is None or known.state == State.EXITED

        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        # whoever follows a log ends it by hanging up
        with contextlib.suppress(ConnectionResetError):
            async for piece in logs.read(path, options, ended):
                await response.write(piece)
            await response.write_eof()
        return response

    async def exec(self, request: web.Request) -> web.StreamResponse:
        """Run a command in a container, its streams joined to the client's."""
        container = self._running(request)
        command = request.query.getall("command", [])
        if not command:
            raise web.HTTPBadRequest(text="you must specify at least 1 command for the container")
        tty = _flag(request, "tty")
        url = await self._asked(
            self._station.runtime.exec_url(
                container.id,
                command,
                stdin=_flag(request, "stdin", "input"),
                stdout=_flag(request, "stdout", "output"),
                stderr=_flag(request, "stderr", "error") and not tty,
                tty=tty,
            )
        )
        return await self._join(request, url)

    async def attach(self, request: web.Request) -> web.StreamResponse:
        """The streams of a container's first process, joined to the client's."""
        namespace, pod, name = (request.match_info[key] for key in ("namespace", "pod", "container"))
        container = self._worker(request).seen.latest().get(name)
        gone = web.HTTPNotFound(text=f"container {name} not found in pod {pod}_{namespace}")
        if container is None or container.state != State.RUNNING:
            raise gone
        tty = _flag(request, "tty")
        try:
            url = await self._station.runtime.attach_url(
                container.id,
                stdin=_flag(request, "stdin", "input"),
                stdout=_flag(request, "stdout", "output"),
                stderr=_flag(request, "stderr", "error") and not tty,
                tty=tty,
            )
        except CriError as error:
            if _ENDED in error.message:  # a moment ago, and the worker has not seen it yet
                raise gone from None
            raise web.HTTPInternalServerError(text=f"the container runtime: {error}") from None
        return await self._join(request, url)

    async def port_forward(self, request: web.Request) -> web.StreamResponse:
        """Ports inside a pod, joined to the client's streams."""
        worker = self._worker(request)
        sandbox = worker.seen.sandbox
        if sandbox is None or not sandbox.ready:
            raise web.HTTPNotFound(text=f"pod {request.match_info['pod']} is not running")
        return await self._join(request, await self._asked(self._station.runtime.port_forward_url(sandbox.id)))

    def _worker(self, request: web.Request) -> Worker:
        namespace, name = request.match_info["namespace"], request.match_info["pod"]
        worker = self._pods.find(namespace, name)
        if worker is None:
            raise web.HTTPNotFound(text=f'pod "{namespace}/{name}" is not on this node')
        return worker

    def _running(self, request: web.Request) -> Container:
        worker, name = self._worker(request), request.match_info["container"]
        container = worker.seen.latest().get(name)
        if container is None or container.state != State.RUNNING:
            raise web.HTTPNotFound(text=f'unable to upgrade connection: container not found ("{name}")')
        return container

    async def _asked(self, call: Awaitable[str]) -> str:
        try:
            return await call
        except CriError as error:
            raise web.HTTPInternalServerError(text=f"the container runtime: {error}") from None

    @staticmethod
    async def _join(request: web.Request, url: str) -> web.StreamResponse:
        parts = urlsplit(url)
        try:
            return await splice(request, parts.hostname or "", parts.port or 80, parts.path)
        except OSError as error:
            raise web.HTTPBadGateway(text=f"containerd's streaming server: {error}") from None


def _flag(request: web.Request, *names: str) -> bool:
    return any(request.query.get(name) in {"true", "1"} for name in names)


def _number(request: web.Request, name: str) -> int | None:
    value = request.query.get(name)
    if value is None:
        return None
    try:
        number = int(value)
    except ValueError:
        number = -1
    if number < 0:
        raise web.HTTPBadRequest(text=f'{name}: "{value}" is not a number from 0 on')
    return number


def _options(request: web.Request, now: float) -> logs.Options:
    seconds = _number(request, "sinceSeconds")
    since = now - seconds if seconds is not None else 0.0
    if stamp := request.query.get("sinceTime"):
        since = logs.moment(stamp.encode())
    return logs.Options(
        follow=_flag(request, "follow"),
        timestamps=_flag(request, "timestamps"),
        tail=_number(request, "tailLines"),
        since=since,
        limit=_number(request, "limitBytes"),
    )


def _logged(worker: Worker, name: str, *, previous: bool) -> Container:
    pod = worker.pod["metadata"]["name"]
    if lifecycle.spec_of(worker.pod, name) is None:
        raise web.HTTPNotFound(text=f"container {name} is not valid for pod {pod}")
    everything = worker.seen.of(name)
    if previous:
        if len(everything) < 2:
            text = f'previous terminated container "{name}" in pod "{pod}" not found'
            raise web.HTTPBadRequest(text=text)
        return everything[1]
    if not everything:
        trouble = worker.notes.troubles.get(name)
        reason = trouble.reason if trouble is not None else initial_reason(worker.pod)
        text = f'container "{name}" in pod "{pod}" is waiting to start: {_WAITING.get(reason, reason)}'
        raise web.HTTPBadRequest(text=text)
    return everything[0]
