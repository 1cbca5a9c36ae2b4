"""Which networks a pod is given: what its annotations name, looked up in the cluster and on the node."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from weft.adapters import cni_folder
from weft.install import cni_networks
from weft.install.cni_networks import InvalidError
from weft.processes.cni import calls
from weft.processes.cni.calls import CallError
from weft.processes.underlay.definitions import Definitions
from weft.processes.underlay.plugins import Call, Json
from weft.processes.underlay.settings import Settings
from weft.underlay.networks import asked as networks
from weft.underlay.networks import delegates
from weft.underlay.networks.asked import NetworksError, Selection
from weft.underlay.networks.delegates import Delegate

Files = Sequence[tuple[str, Json]]
"""Valid network configurations of the node: file and list, in the order in which runtimes look at them."""

_ANNOTATION: Final = 102
"""The pod asks for what cannot be had."""
_CONFIGURE: Final = "Write one that says which plugins it has, or name another network."


class Chooser:
    """Chooses by the settings, the cluster's definitions and the node's files."""

    def __init__(self, settings: Settings, definitions: Definitions) -> None:
        self._settings, self._definitions = settings, definitions

    async def files(self) -> Files:
        """The node's networks. CallError where they cannot be read."""
        places = self._settings.places
        try:
            listing = await asyncio.to_thread(cni_folder.listing, places.mounted_net_dir, places.root)
        except OSError as error:
            raise CallError(calls.LATER, f"the node's networks cannot be read: {error}") from error
        return [(name, one) for name, one in cni_networks.networks(listing) if not isinstance(one, InvalidError)]

    async def first(self, files: Files) -> Json:
        """The list of the network that all pods have. CallError where there is none."""
        try:
            _, network = await self._first(files, None)
        except NetworksError as error:
            raise CallError(_ANNOTATION, f"the network of all pods: {error}", _CONFIGURE) from error
        return network

    async def choose(self, call: Call, annotations: Mapping[str, str]) -> tuple[tuple[Delegate, ...], str]:
        """The pod's networks, in the order in which they are attached, and what is to be told of that."""
        files = await self.files()
        try:
            return await self._choose(call, annotations, files)
        except NetworksError as error:
            raise CallError(
                _ANNOTATION,
                f"{call.subject}: {error}",
                "The pod does not start without its networks. Correct its template, and it is made anew.",
            ) from error

    async def _choose(
        self, call: Call, annotations: Mapping[str, str], files: Files
    ) -> tuple[tuple[Delegate, ...], str]:
        settings = self._settings
        over = networks.selections(
            annotations.get(networks.DEFAULT_NETWORK, ""), settings.namespace, networks.DEFAULT_NETWORK
        )
        if len(over) > 1:
            raise NetworksError(f"annotation {networks.DEFAULT_NETWORK} names {len(over)} networks. Name one")
        chosen = networks.selections(annotations.get(networks.NETWORKS, ""), call.namespace)
        self._may(call, chosen)
        first = over[0] if over else None
        name, network = await self._first(files, first)
        interfaces = networks.interfaces(chosen, call.ifname)
        routes = networks.gateways([first, *chosen])
        found = [(first, name, call.ifname, networks.finished(network, first, _runtime(call)))]
        for one, interface in zip(chosen, interfaces, strict=True):
            config = await self._network(files, one, f"{call.namespace}/{call.name}")
            found.append((one, str(one), interface, networks.finished(config, one)))
        made = [
            Delegate(
                network=name,
                interface=interface,
                config=config,
                default=place == 0,
                drop=tuple(sorted(drop)),
                gateways=tuple(map(str, gateways)),
                device=one.device if one else "",
            )
            for place, ((one, name, interface, config), (drop, gateways)) in enumerate(
                zip(found, routes, strict=True)
            )
        ]
        return delegates.in_order(made, files)

    async def _first(self, files: Files, chosen: Selection | None) -> tuple[str, Json]:
        """The network that all pods have, or the one that a pod names for it: its name, and its list."""
        settings = self._settings
        if chosen is None and settings.multus.default:
            named = networks.selections(settings.multus.default, settings.namespace)
            chosen = named[0]
        if chosen is not None:
            return str(chosen), await self._network(files, chosen, "")
        if (found := delegates.first(files)) is None:
            raise CallError(
                calls.LATER,
                f"the node has no network of its own: there is none in {settings.places.net_dir}",
                "Install the cluster's network plugin (Calico, Cilium, Flannel…), or name a network for all pods "
                "(Helm: multus.multusCNI.defaultCniCRName). It is tried again.",
            )
        _, one = found
        return str(one["name"]), _versioned(one)

    def _may(self, call: Call, chosen: Sequence[Selection]) -> None:
        multus = self._settings.multus
        for each in chosen if multus.isolated else ():
            if each.namespace not in multus.shared | {call.namespace}:
                raise NetworksError(
                    f"namespace isolation: the pod is in {call.namespace}, and its network {each} is not. "
                    "Make the network there, too, or share its namespace (MULTUS_GLOBAL_NAMESPACES)"
                )

    async def _network(self, files: Files, chosen: Selection, pod: str) -> Json:
        """The list of a NetworkAttachmentDefinition; an empty one is defined by the node's file of its name."""
        found = await self._definitions.find(chosen.namespace, chosen.name)
        if found is None:
            raise CallError(
                _ANNOTATION,
                networks.missing(pod or "the network of all pods", chosen),
                f"Make it: a NetworkAttachmentDefinition {chosen.name} in namespace {chosen.namespace} (or a "
                "SpiderMultusConfig of that name). It is tried again until it is there.",
            )
        config = str((found.get("spec") or {}).get("config") or "").strip()
        try:
            if config:
                return _versioned(networks.listed(config, chosen.name))
            if (named := delegates.named(files, chosen.name)) is not None:
                return _versioned(named)
            raise CallError(
                _ANNOTATION,
                f"network-attachment-definition {chosen} says nothing, and no configuration in "
                f"{self._settings.places.net_dir} of the node has the name {chosen.name!r}",
                _CONFIGURE,
            )
        except NetworksError as error:
            raise CallError(_ANNOTATION, f"network-attachment-definition {chosen}: {error}", _CONFIGURE) from error


def _runtime(call: Call) -> Mapping[str, Any]:
    told = call.config.get("runtimeConfig")
    return told if isinstance(told, dict) else {}


def _versioned(network: Json) -> Json:
    """The same with a version, one that we speak."""
    made = {**network, "cniVersion": network.get("cniVersion") or calls.VERSIONS[1]}
    if made["cniVersion"] not in calls.VERSIONS:
        known = ", ".join(calls.VERSIONS)
        raise NetworksError(f"network {network.get('name')}: cniVersion {made['cniVersion']!r} is none of {known}")
    return made
