"""Which networks a pod is given, in their order: plain values that are kept until the pod is gone."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

Json = dict[str, Any]

US: Final = frozenset({"multus", "multus-shim"})
"""Types of plugins that give a pod several networks."""
LAST: Final = "istio-cni"
"""The plugin that captures a pod's traffic: it is to find all interfaces there."""


class Delegate(msgspec.Struct, frozen=True, kw_only=True):
    """One network of a pod.

    `network` is its name for people, `config` its list of plugins. Where it `continues`, its plugins get the
    result of the pod's first network. `drop` are IP versions whose default routes go, `gateways` what comes
    instead. `result` is what its plugins made, once they have, as 1.0.0 has it.
    """

    network: str
    interface: str
    config: Json
    default: bool = False
    continues: bool = False
    drop: tuple[int, ...] = ()
    gateways: tuple[str, ...] = ()
    device: str = ""
    result: Json | None = None


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What one container was given, or was about to be (not `done`), on which node. The pod's UID may be "".

    `sandbox` is the network namespace's path as the runtime has it.
    """

    container: str
    interface: str
    sandbox: str
    node: str
    namespace: str
    name: str
    uid: str
    delegates: tuple[Delegate, ...]
    done: bool = False

    @property
    def attachments(self) -> frozenset[tuple[str, str]]:
        """Networks' names in their configurations, and interfaces."""
        return frozenset((str(each.config["name"]), each.interface) for each in self.delegates)


def is_ours(network: Mapping[str, Any]) -> bool:
    """Whether a list is that of a plugin such as we are: it is no pod's first network."""
    return not US.isdisjoint(_types(network))


def first(networks: Iterable[tuple[str, Json]]) -> tuple[str, Json] | None:
    """The file and the list that all pods have, of the valid files of a folder in their order."""
    others = ((name, one) for name, one in networks if not is_ours(one) and set(_types(one)) != {LAST})
    return next(others, None)


def named(networks: Sequence[tuple[str, Json]], name: str) -> Json | None:
    """The list of that name: a network whose NetworkAttachmentDefinition says nothing is defined by it.

    `istio-cni` may have no file of its own, since it is a part of another list: then it is its entry there.
    """
    found = next((one for _, one in networks if one.get("name") == name and not is_ours(one)), None)
    if found is not None or name != LAST:
        return found
    entries = ((one, each) for _, one in networks for each in one["plugins"] if each["type"] == LAST)
    of, entry = next(entries, ({}, None))
    return entry and {"cniVersion": of.get("cniVersion", ""), "name": LAST, "plugins": [entry]}


def in_order(
    delegates: Sequence[Delegate], networks: Sequence[tuple[str, Json]]
) -> tuple[tuple[Delegate, ...], str]:
    """The delegates, the first of which is the pod's first network, with `istio-cni` at the end; and why.

    It is called once: by the runtime where it comes after us in our own file, and else by us after all interfaces.
    What a pod names itself (`istio-cni` alone as a network) stands for its entry in the first network.
    """
    whole, *others = delegates
    plugins = whole.config["plugins"]
    captures = [each for each in plugins if each["type"] == LAST]
    alone = [each for each in others if set(_types(each.config)) == {LAST}]
    rest = [each for each in others if each not in alone]
    without = {**whole.config, "plugins": [each for each in plugins if each["type"] != LAST]}
    base = msgspec.structs.replace(whole, config=without)
    if _after_us(networks) and (captures or alone):
        return (base, *rest), f"{LAST} is left to the runtime, which calls it after all networks"
    if not captures or not others:
        return (whole, *rest, *alone), ""
    if alone:
        return (base, *rest, *alone), f"{LAST} is called as the pod names it, after all networks"
    capture = Delegate(
        network=whole.network,
        interface=whole.interface,
        config={**whole.config, "plugins": captures},
        continues=True,
    )
    return (base, *rest, capture), f"{LAST} of {whole.network} is called after all networks"


def _after_us(networks: Iterable[tuple[str, Json]]) -> bool:
    """Whether the runtime calls `istio-cni` after us."""
    own = next((_types(one) for _, one in networks if is_ours(one)), [])
    places = [place for place, each in enumerate(own) if each in US]
    return bool(places) and LAST in own[places[0] :]


def _types(network: Mapping[str, Any]) -> list[str]:
    return [str(each["type"]) for each in network["plugins"]]
