"""The agent's own port: readiness, metrics, the application's probes, and the request to end."""

import logging
from collections.abc import Callable

from weft.adapters import http
from weft.inject import readiness
from weft.processes.agent import probing
from weft.processes.agent.settings import Settings

_log = logging.getLogger("weft.agent.status")
_METRICS = "text/plain; version=0.0.4; charset=utf-8"
_LOOPBACK = frozenset({"127.0.0.1", "::1"})
_NOT_FOUND = http.Response(404, b"not found\n")


class Status:
    """Answers on the status port. `quit_` is called when someone in the pod asks the sidecar to end.

    `why_not` tells what else keeps the sidecar from serving; "" for nothing.
    """

    def __init__(
        self,
        settings: Settings,
        quit_: Callable[[], None],
        own_metrics: Callable[[], str],
        why_not: Callable[[], str] = lambda: "",
    ) -> None:
        self._settings = settings
        self._quit = quit_
        self._own_metrics = own_metrics
        self._why_not = why_not
        self._admin = http.Target("127.0.0.1", settings.ports.admin)
        self._said = ""
        self.draining = False

    async def handle(self, request: http.Request) -> http.Response:
        """Answer one request."""
        path = request.path.partition("?")[0]
        match request.method, path:
            case "GET" | "HEAD", "/healthz/ready":
                return await self._ready()
            case "GET", "/stats/prometheus":
                return await self._metrics()
            case "GET" | "HEAD", _ if path in self._settings.probers:
                return await probing.probe(self._settings.probers[path], self._settings.address)
            case "POST", "/quitquitquit" | "/drain":
                return self._asked_to_quit(request)
            case _, "/quitquitquit" | "/drain":
                return http.Response(405, b"use POST\n")
            case _:
                return _NOT_FOUND

    async def _ready(self) -> http.Response:
        reason = "the sidecar is ending" if self.draining else await self._why_not_ready()
        if reason != self._said:
            self._said = reason
            _log.info("not ready: %s", reason) if reason else _log.info("ready")
        return http.Response(503, f"{reason}\n".encode()) if reason else http.Response(200)

    async def _why_not_ready(self) -> str:
        try:
            stats = await http.fetch(self._admin, "GET", f"/stats?filter={_quoted(readiness.FILTER)}", timeout=2)
        except http.HttpError as error:
            return f"Envoy does not answer: {error}"
        return readiness.reason(stats.body.decode()) or self._why_not()

    async def _metrics(self) -> http.Response:
        parts = [self._own_metrics().encode()]
        try:
            answer = await http.fetch(self._admin, "GET", "/stats/prometheus", timeout=5)
            parts.append(_renamed(answer.body))
        except http.HttpError as error:
            _log.warning("metrics without Envoy's: %s", error)
        parts.append(await self._application_metrics())
        return http.Response(200, b"".join(parts), _METRICS)

    async def _application_metrics(self) -> bytes:
        scrape = self._settings.scrape
        if scrape.get("scrape") != "true" or not scrape.get("port", "").isdecimal():
            return b""
        target = http.Target("127.0.0.1", int(scrape["port"]))
        try:
            answer = await http.fetch(target, "GET", scrape.get("path") or "/metrics", timeout=5)
        except http.HttpError as error:
            _log.warning("metrics without the application's: %s", error)
            return b""
        return answer.body if answer.status == 200 else b""

    def _asked_to_quit(self, request: http.Request) -> http.Response:
        if request.peer not in _LOOPBACK:
            return http.Response(403, b"only from within the pod\n")
        self._quit()
        return http.Response(200, b"ending\n")


def _quoted(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="")


def _renamed(metrics: bytes) -> bytes:
    """Istio's names for what Envoy's stats logger writes under a scope of ours."""
    return metrics.replace(b"envoy_mesh_istio_", b"istio_")
