"""The mesh's own objects, put together from what is installed and what injection makes of pods."""

from typing import Any

from weft.inject import annotations
from weft.inject.gateway import gateway
from weft.inject.settings import InjectSettings
from weft.inject.workload import Workload
from weft.install import gateways
from weft.install.crds import crds
from weft.install.manifests import Settings, manifests

Json = dict[str, Any]


def control_plane(settings: Settings, *, underlay: bool = False) -> list[Json]:
    """Definitions, rights, istiod and its webhooks, in an order in which they can be applied.

    Beside an `underlay` the short name `se` is that of its SpiderEndpoints.
    """
    return [*(definitions_beside_an_underlay() if underlay else crds()), *manifests(settings)]


def definitions_beside_an_underlay() -> list[Json]:
    """The definitions without the short name that an underlay's kinds have, too: kubectl would take either."""
    made = crds()
    for each in made:
        names = each["spec"]["names"]
        if names["kind"] == "ServiceEntry":
            del names["shortNames"]
    return made


def edge(settings: Settings) -> list[Json]:
    """The gateways that a mesh starts with. They serve once istiod does."""
    inject = InjectSettings(
        image=settings.proxy_image,
        revision=settings.revision,
        cluster_id=settings.cluster_id,
        cluster_domain=settings.cluster_domain,
        trust_domain=settings.trust_domain,
        mesh_id=settings.trust_domain,
        ca_address=f"istiod.{settings.namespace}.svc:15012",
    )

    def complete(deployment: str, template: Json) -> Json:
        asked = annotations.read({}, inject)
        workload = Workload(deployment, "Deployment", "apps/v1")
        return gateway(settings.namespace, template, asked, inject, workload)

    return gateways.gateways(settings.namespace, settings.revision, complete)
