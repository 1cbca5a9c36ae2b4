"""Whether the node process does its work, for Kubernetes' probes and for people."""

from collections.abc import Callable, Mapping

from aiohttp import web


class Health:
    """What each part of the process waits for. It is ready when none waits for anything."""

    def __init__(self) -> None:
        self._waiting: dict[str, str] = {}
        self._doing: dict[str, str] = {}

    def expect(self, part: str) -> "Part":
        """A part that is not ready yet."""
        self._waiting[part] = "starting"
        return Part(self._waiting, self._doing, part)

    @property
    def doing(self) -> Mapping[str, str]:
        """What parts that are ready say of themselves."""
        return {part: what for part, what in self._doing.items() if what and not self._waiting[part]}

    @property
    def waiting(self) -> Mapping[str, str]:
        """What parts that are not ready wait for, by their names."""
        return {part: what for part, what in self._waiting.items() if what}


class Part:
    """One part's own say in whether all is ready."""

    def __init__(self, waiting: dict[str, str], doing: dict[str, str], name: str) -> None:
        self._waiting, self._doing, self._name = waiting, doing, name

    def ready(self, what: str = "") -> None:
        """It does its work; `what` says more of it."""
        self._waiting[self._name], self._doing[self._name] = "", what

    def waits(self, what: str) -> None:
        """It does not; `what` says why and the way out."""
        self._waiting[self._name] = what


def probes(health: Health) -> web.Application:
    """`/healthz`, which answers, and `/readyz`, which says 503 and why while a part waits."""

    async def alive(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def ready(_: web.Request) -> web.Response:
        if waiting := health.waiting:
            text = "".join(f"{part}: {what}\n" for part, what in waiting.items())
            return web.Response(status=503, text=text)
        return web.Response(text="".join(["ok\n", *(f"{part}: {what}\n" for part, what in health.doing.items())]))

    app = web.Application()
    app.router.add_get("/healthz", alive)
    app.router.add_get("/readyz", ready)
    return app


def monitoring(text: Callable[[], str]) -> web.Application:
    """`/metrics`."""

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(text=text(), headers={"Content-Type": "text/plain; version=0.0.4"})

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    return app
