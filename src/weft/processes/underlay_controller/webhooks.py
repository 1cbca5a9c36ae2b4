"""The webhooks, over TLS: what users write is completed, and refused where it is wrong."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from aiohttp import web

from weft.api.network_attachment import NetworkAttachmentDefinition
from weft.api.spider_ippool import SpiderIPPool
from weft.api.spider_multus_config import SpiderMultusConfig
from weft.api.spider_subnet import SpiderSubnet
from weft.processes.cni.metrics import Registry
from weft.processes.underlay_controller.following import Followed
from weft.processes.underlay_controller.settings import Settings
from weft.underlay.admission import reviews as admission
from weft.underlay.admission.validation import Known

Json = dict[str, Any]

_LARGEST: Final = 8 << 20
"""Bytes of a review; the API server refuses objects above 3 MiB."""
_FRESH: Final = 15.0
"""Seconds in which what was let in is either told by the watch, or was not stored after all."""

log = logging.getLogger("weft.underlay.webhooks")


@dataclass(frozen=True, slots=True)
class Existing:
    """What new objects are held against."""

    pools: Followed[SpiderIPPool]
    subnets: Followed[SpiderSubnet]
    networks: Followed[SpiderMultusConfig]
    attachments: Followed[NetworkAttachmentDefinition]


class Webhooks:
    """`app` serves them. What was let in a moment ago counts as existing: the watch may tell of it later."""

    def __init__(
        self, chosen: Settings, existing: Existing, registry: Registry, elapsed: Callable[[], float]
    ) -> None:
        self._chosen, self._existing, self._elapsed = chosen, existing, elapsed
        self._lately: dict[tuple[str, str], tuple[float, Any]] = {}
        self._reviews = registry.counter(
            "spiderpool_controller_webhook_reviews_total",
            "Reviews of objects, by what came of them.",
            "kind",
            "result",
        )

    def app(self) -> web.Application:
        """POST `/mutate-…`, `/validate-…` and `/inject-…`, whatever follows: the review names the kind itself."""
        app = web.Application(client_max_size=_LARGEST)
        app.router.add_post("/mutate{rest:.*}", self._answering(admission.completed))
        app.router.add_post("/validate{rest:.*}", self._answering(self._check))
        app.router.add_post("/inject{rest:.*}", self._answering(self._inject))
        return app

    def _inject(self, review: Mapping[str, Any]) -> Json:
        return admission.injected(review, self._existing.networks.all)

    def _check(self, review: Mapping[str, Any]) -> Json:
        answer = admission.checked(review, self._known())
        if answer["response"]["allowed"]:
            self._remember(review["request"])
        return answer

    def _known(self) -> Known:
        existing = self._existing
        return Known(
            pools=self._with(existing.pools.all, SpiderIPPool),
            subnets=self._with(existing.subnets.all, SpiderSubnet),
            networks=existing.networks.all,
            attachments=existing.attachments.all,
            families=self._chosen.families,
            keeps_used=self._chosen.keeps_used,
        )

    def _with(self, told: tuple[Any, ...], shape: type[Any]) -> tuple[Any, ...]:
        now = self._elapsed()
        self._lately = {key: one for key, one in self._lately.items() if one[0] + _FRESH > now}
        by_name = {each.metadata.name: each for each in told}
        lately = {name: one for (kind, name), (_, one) in self._lately.items() if kind == shape.__name__}
        return tuple((by_name | lately).values())

    def _remember(self, request: Mapping[str, Any]) -> None:
        kind, obj = str(request["kind"]["kind"]), request.get("object")
        shape = {"SpiderIPPool": SpiderIPPool, "SpiderSubnet": SpiderSubnet}.get(kind)
        if shape is None or request.get("dryRun"):
            return
        name = str(request.get("name") or "")
        self._lately.pop((kind, name), None)
        # what is being deleted is let go for good with the last of its finalizers
        if obj and not (obj.get("metadata") or {}).get("deletionTimestamp"):
            one = msgspec.convert(obj, shape)
            # what is let go with this very change must not be thought to be there
            if one.metadata.deletion_timestamp is None:
                self._lately[kind, one.metadata.name] = (self._elapsed(), one)

    def _answering(
        self, review: Callable[[Mapping[str, Any]], Json]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def answer(request: web.Request) -> web.Response:
            try:
                asked = msgspec.json.decode(await request.read(), type=Json)
                answered = review(asked)
            except ValueError as error:  # msgspec's errors are ValueErrors too
                self._reviews.add("", "invalid")
                raise web.HTTPBadRequest(text=f"{request.path}: {error}") from error
            except Exception:
                self._reviews.add("", "failed")
                log.exception("%s: the review failed", request.path)
                raise
            kind = str((asked["request"].get("kind") or {}).get("kind"))
            self._reviews.add(kind, "allowed" if answered["response"]["allowed"] else "denied")
            return web.Response(body=msgspec.json.encode(answered), content_type="application/json")

        return answer
