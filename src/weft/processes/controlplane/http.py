"""The HTTP side: webhooks on 15017 (TLS), monitoring and debugging on 15014, readiness on 8080."""

import ipaddress
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
import msgspec
from aiohttp import web

from weft.adapters.grpc_server import Peer, RefusedError
from weft.pki.identity import SpiffeId
from weft.processes.controlplane.debugging import Debugging, ForbiddenError, NoPageError
from weft.processes.controlplane.identities import Caller
from weft.processes.controlplane.metrics import Metrics

log = logging.getLogger("weft.http")

Json = dict[str, Any]
Review = Callable[[Json], Json]
"""An AdmissionReview in, its answer out; ValueError where the body is no review."""

_LARGEST_REVIEW = 8 << 20  # bytes; the API server refuses objects above 3 MiB


@dataclass(frozen=True, slots=True)
class Inside:
    """What strangers may know too, and `debugging`, which they may not; `prove` tells by a token who asks."""

    is_ready: Callable[[], bool]
    metrics: Callable[[], str]
    version: Mapping[str, str]
    debugging: Debugging
    prove: Callable[[Peer], Awaitable[Caller]]


def webhooks(reviews: Mapping[str, Review], metrics: Metrics) -> web.Application:
    """The webhooks, by name: POST `/inject` and what follows it (`/inject/cluster/C/net/N`)."""
    app = web.Application(client_max_size=_LARGEST_REVIEW)
    for name, review in reviews.items():
        handler = _reviewing(name, review, metrics)
        app.router.add_post(f"/{name}", handler)
        app.router.add_post(f"/{name}/{{rest:.*}}", handler)
    return app


def monitoring(inside: Inside) -> web.Application:
    """Metrics, version and what the control plane knows."""

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(text=inside.metrics(), headers={"Content-Type": "text/plain; version=0.0.4"})

    async def debug(request: web.Request) -> web.Response:
        page, query = request.match_info["page"], request.query
        try:
            if _is_loopback(request.remote or ""):
                found = inside.debugging.within(page, query)
            else:
                found = inside.debugging.to(await _who(request, inside), page, query)
        except ForbiddenError as error:
            raise web.HTTPForbidden(text=str(error)) from error
        except NoPageError as error:
            raise web.HTTPNotFound(text=str(error)) from error
        return web.Response(body=found, content_type="application/json")

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/version", _always(lambda: dict(inside.version)))
    app.router.add_get("/debug/{page}", debug)
    app.router.add_get("/ready", _ready(inside.is_ready))
    return app


def readiness(inside: Inside) -> web.Application:
    """`/ready`, for Kubernetes' probe."""
    app = web.Application()
    app.router.add_get("/ready", _ready(inside.is_ready))
    return app


async def _who(request: web.Request, inside: Inside) -> SpiffeId | None:
    """Who a token says that asks; None without one."""
    authorization = request.headers.get("Authorization", "")
    if not authorization:
        return None
    peer = Peer(f"ipv4:{request.remote}:0", {"authorization": authorization}, secure=False)
    try:
        return (await inside.prove(peer)).identity
    except RefusedError as error:
        if error.code is grpc.StatusCode.UNAVAILABLE:
            raise web.HTTPServiceUnavailable(text=str(error)) from error
        raise web.HTTPUnauthorized(text=str(error)) from error


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _ready(is_ready: Callable[[], bool]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_: web.Request) -> web.Response:
        return (
            web.Response()
            if is_ready()
            else web.Response(status=503, text="the cluster's objects are not read yet")
        )

    return answer


def _always(value: Callable[[], Any]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_: web.Request) -> web.Response:
        return _json(value())

    return answer


def _reviewing(name: str, review: Review, metrics: Metrics) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(request: web.Request) -> web.Response:
        try:
            answered = review(msgspec.json.decode(await request.read(), type=Json))
        except ValueError as error:  # msgspec's errors are ValueErrors too
            metrics.reviews[name, "invalid"] += 1
            raise web.HTTPBadRequest(text=f"/{name}: {error}") from error
        except Exception:
            metrics.reviews[name, "failed"] += 1
            log.exception("/%s: the review failed", name)
            raise
        metrics.reviews[name, "allowed" if answered["response"]["allowed"] else "denied"] += 1
        return _json(answered)

    return answer


def _json(value: Any) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")
