"""What to do about the attachment that a SpiderMultusConfig stands for: make it, mend it, or leave it alone."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from weft.api.network_attachment import NetworkAttachmentDefinition
from weft.api.spider_multus_config import SpiderMultusConfig
from weft.underlay.networks.network_config import NoNetworkError, manifest, network

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Create:
    """There is none."""

    manifest: Json


@dataclass(frozen=True, slots=True)
class Mend:
    """It is ours and is not as it should be. The manifest carries the version that was seen."""

    manifest: Json
    because: str


@dataclass(frozen=True, slots=True)
class Remove:
    """It is ours, under a name that it has no longer."""

    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Tell:
    """It cannot be; `reason` is an Event's."""

    reason: str
    message: str


Step = Create | Mend | Remove | Tell


def is_made_of(found: NetworkAttachmentDefinition, config: SpiderMultusConfig) -> bool:
    """Whether an attachment belongs to this very SpiderMultusConfig."""
    owners = found.metadata.owner_references or ()
    return bool(config.metadata.uid) and any(
        each.controller and each.uid == config.metadata.uid for each in owners
    )


def plan(config: SpiderMultusConfig, found: Iterable[NetworkAttachmentDefinition]) -> Iterator[Step]:
    """What to do, given the attachments of the namespace. What goes with its owner is Kubernetes' to delete."""
    if config.metadata.deletion_timestamp:
        return
    listed = tuple(found)
    try:
        made = network(config)
    except NoNetworkError as error:
        yield Tell("InvalidNetwork", f"no network is made: {error}")
        return
    for each in listed:
        if is_made_of(each, config) and each.metadata.name != made.name:
            yield Remove(each.metadata.name, each.metadata.uid)
    wanted = manifest(config, made)
    here = next((each for each in listed if each.metadata.name == made.name), None)
    if here is None:
        yield Create(wanted)
    elif here.metadata.deletion_timestamp:
        return  # it is made again once it is gone
    elif not is_made_of(here, config):
        yield Tell(
            "NetworkTaken",
            f'NetworkAttachmentDefinition "{made.name}" is not made of this SpiderMultusConfig, and stays as it '
            "is. Delete it, or choose another name by the annotation multus.spidernet.io/cr-name.",
        )
    elif because := _differs(here, made.config, made.annotations):
        # what others have put on it stays
        kept = {"labels": here.metadata.labels, "finalizers": here.metadata.finalizers}
        seen = {"resourceVersion": here.metadata.resource_version}
        wanted["metadata"] |= seen | {key: value for key, value in kept.items() if value}
        yield Mend(wanted, because)


def _differs(here: NetworkAttachmentDefinition, config: str, annotations: dict[str, str]) -> str:
    if here.spec.config != config:
        return "its configuration differs"
    if (here.metadata.annotations or {}) != annotations:
        return "its annotations differ"
    return ""
