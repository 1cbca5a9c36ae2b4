"""What the kubelet's server tells of its node: health, pods, and what they use."""

import os
import resource
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import web

from weft.adapters.cri.client import CriError
from weft.cluster.kubelet import exposition, logs, pressure, stats
from weft.cluster.kubelet.environment import MAX_PODS
from weft.cluster.kubelet.exposition import Process
from weft.cluster.kubelet.meter import Meter, Use
from weft.cluster.kubelet.node_object import VERSION
from weft.cluster.kubelet.pods import Pods
from weft.cluster.kubelet.station import Station


class Readings:
    """One method for each endpoint."""

    def __init__(self, station: Station, pods: Pods, meter: Meter) -> None:
        self._station, self._pods, self._meter = station, pods, meter
        self._began = station.clock()

    def routes(self) -> list[web.RouteDef]:
        """The paths, as a kubelet has them; `/resourceUse` is our own, for the API server's metrics.k8s.io."""
        texts: dict[str, Callable[[Use], str]] = {
            "/metrics/resource": lambda use: exposition.resource(use.node, use.pods),
            "/metrics/cadvisor": self._cadvisor,
        }
        return [
            web.get("/healthz", self.healthz),
            web.get("/healthz/{check}", self.healthz),
            web.get("/pods", self.pods),
            web.get("/configz", self.configz),
            web.get("/metrics", self.metrics),
            web.get("/stats/summary", self.summary),
            web.get("/resourceUse", self.use),
            *(web.get(path, self._text(text)) for path, text in texts.items()),
        ]

    async def healthz(self, _request: web.Request) -> web.Response:
        """Whether the runtime answers."""
        try:
            await self._station.runtime.version()
        except CriError as error:
            raise web.HTTPInternalServerError(text=f"containerd: {error}") from None
        return web.Response(text="ok")

    async def pods(self, _request: web.Request) -> web.Response:
        """The node's pods, as the kubelet knows them."""
        items = [worker.shown() for worker in self._pods.workers()]
        return web.json_response({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items})

    async def configz(self, _request: web.Request) -> web.Response:
        """The kubelet's configuration, as far as it has these settings."""
        dns = self._station.dns
        config = {
            "kind": "KubeletConfiguration",
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "cgroupDriver": "cgroupfs",
            "clusterDNS": [dns.server],
            "clusterDomain": dns.domain,
            "containerLogMaxFiles": logs.FILES,
            "containerLogMaxSize": f"{logs.LARGEST >> 20}Mi",
            "evictionHard": pressure.THRESHOLDS,
            "maxPods": MAX_PODS,
        }
        return web.json_response({"kubeletconfig": config})

    async def metrics(self, _request: web.Request) -> web.Response:
        """The kubelet's own."""
        workers = self._pods.workers()
        states = [each.state for worker in workers for each in worker.seen.containers]
        running = sum(1 for worker in workers if (box := worker.seen.sandbox) is not None and box.ready)
        spent = resource.getrusage(resource.RUSAGE_SELF)
        process = Process(spent.ru_utime + spent.ru_stime, _resident(), began=self._began)
        return _plain(exposition.kubelet(self._station.node.name, VERSION, states, running, process))

    async def summary(self, _request: web.Request) -> web.Response:
        """What the node and its pods use (kubelet's stats API, v1alpha1)."""
        use = await self._look()
        return web.json_response(stats.summary(use.node, use.pods, pressure.look(self._station.folder)))

    async def use(self, _request: web.Request) -> web.Response:
        """What the node and its pods use now, rates included."""
        use = await self._look()
        return web.json_response(stats.use(use.node, use.pods, use.window))

    def _cadvisor(self, use: Use) -> str:
        node = self._station.node
        return exposition.cadvisor(use.node, use.pods, self._station.cgroup_parent, (node.cpu, node.memory))

    def _text(self, render: Callable[[Use], str]) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def answer(_request: web.Request) -> web.Response:
            return _plain(render(await self._look()))

        return answer

    async def _look(self) -> Use:
        try:
            return await self._meter.look()
        except CriError as error:
            raise web.HTTPInternalServerError(text=f"containerd: {error}") from None


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _plain(text: str) -> web.Response:
    return web.Response(text=text, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})
