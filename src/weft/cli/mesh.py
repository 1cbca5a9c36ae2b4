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
    beside = [beside_an_underlay(each) for each in crds()] if underlay else crds()
    return [*beside, *manifests(settings)]


def beside_an_underlay(definition: Json) -> Json:
    """A definition without the short name that one of an underlay's kinds has, too: kubectl would take either."""
    spec, names = definition["spec"], definition["spec"]["names"]
    if "se" not in names.get("shortNames", ()):
        return definition
    left = {key: value for key, value in names.items() if key != "shortNames"}
    return {**definition, "spec": {**spec, "names": left}}


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
