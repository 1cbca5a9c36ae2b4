"""What each connected proxy is to have."""

from collections.abc import Collection
from dataclasses import replace

from weft.model.clients import sorted_labels
from weft.model.locality import HOSTNAME, LEVELS, locality
from weft.model.services import Proxy, ProxyKind
from weft.model.snapshot import Snapshot
from weft.model.views import SELF_DISCOVERY, proxy_of, view, with_inbound
from weft.processes.controlplane import node_metadata
from weft.processes.controlplane.connection import Client
from weft.processes.controlplane.introductions import claims_another
from weft.xds.generate import Generator
from weft.xds.resource import Resources


class Configurer:
    """Works out resources once for all proxies of a class: those that differ in name and address only."""

    def __init__(self, generator: Generator) -> None:
        self._generator = generator
        self._snapshot: Snapshot | None = None
        self._classes: dict[Proxy, Resources] = {}

    def __call__(self, snapshot: Snapshot, client: Client) -> Resources:
        """All resources of a proxy: as the cluster knows its pod, else as it introduced itself."""
        if snapshot is not self._snapshot:
            self._snapshot, self._classes = snapshot, {}
        proxy = with_inbound(snapshot, introduced(snapshot, client))
        if proxy.kind is ProxyKind.ROUTER:
            # the ports of a gateway's services are looked up by the name of its pod
            return self._generator.resources(view(snapshot, proxy))
        alike = _alike(proxy, snapshot.label_keys)
        found = self._classes.get(alike)
        if found is None:
            found = self._classes[alike] = self._generator.resources(view(snapshot, proxy))
        return found


def _alike(proxy: Proxy, asked: Collection[str]) -> Proxy:
    """What proxies have in common that get the same: where they are counts only where some rule asks for it."""
    named = SELF_DISCOVERY in proxy.metadata
    return replace(
        proxy,
        name=proxy.name if named else "",
        address="",
        node=proxy.node if HOSTNAME in asked else "",
        locality=proxy.locality if not set(LEVELS).isdisjoint(asked) else "",
    )


def introduced(snapshot: Snapshot, client: Client) -> Proxy:
    """The proxy of a client."""
    pod, _, namespace = client.name.rpartition(".")
    # a pod may have come after who took its name
    taken = claims_another(snapshot, client)
    known = (None if taken else proxy_of(snapshot, namespace, pod)) or _as_it_says(client, pod, namespace)
    kind = ProxyKind.ROUTER if client.node.id.startswith("router~") else ProxyKind.SIDECAR
    asked = snapshot.directory.envoy_filters.metadata_keys
    return replace(
        known,
        kind=kind,
        metadata=node_metadata.kept(client.node.metadata, asked),
        traits=node_metadata.traits(client.node.metadata, at_edge=kind is ProxyKind.ROUTER),
    )


def _as_it_says(client: Client, pod: str, namespace: str) -> Proxy:
    metadata = client.node.metadata
    labels = {str(key): str(value) for key, value in (metadata.get("LABELS") or {}).items()}
    return Proxy(
        name=pod,
        namespace=namespace,
        address=client.told_address,
        labels=sorted_labels(labels),
        locality=locality(labels, ""),
        service_account=_account(client),
    )


def _account(client: Client) -> str:
    proved = client.identity.service_account if client.identity else ""
    return proved or str(client.node.metadata.get("SERVICE_ACCOUNT") or "default")
