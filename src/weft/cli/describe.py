"""`weft x describe`: what all rules come to for a pod or a service."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weft.adapters.kube import kinds
from weft.adapters.kube.client import ApiError, Json, Kube
from weft.cli.options import fail
from weft.cli.reach import Kubeconfig, Namespace, NotThereError, System, ask, named, unmeshed

if TYPE_CHECKING:
    from weft.model.description import Addresses, Note

Pod = Annotated[str, typer.Argument(help="POD or POD.NAMESPACE.", metavar="POD")]
Service = Annotated[str, typer.Argument(help="SERVICE or SERVICE.NAMESPACE.", metavar="SERVICE")]

_LINE = "--------------------"


def register(app: typer.Typer) -> None:
    """Add the commands to the group."""
    group = typer.Typer(no_args_is_help=True)
    group.callback()(described)
    group.command("pod")(pod)
    group.command("service")(service)
    group.command("svc", hidden=True)(service)
    app.add_typer(group, name="describe")
    app.add_typer(group, name="des", hidden=True)


def described() -> None:
    """See what all rules come to for a pod or a service."""


def pod(
    name: Pod, namespace: Namespace = "", kubeconfig: Kubeconfig = "", system: System = "istio-system"
) -> None:
    """Show a pod's ports, the rules for calling it, what it asks of callers, and what is wrong with these."""
    from weft.model.description import of_pod

    async def question(kube: Kube) -> tuple[Json, "_Read"]:
        return await named(kube, kinds.PODS, name.removeprefix("pod/"), namespace), await _read(kube, system)

    found, read = ask(kubeconfig, question)
    meta = found["metadata"]
    workload = read.snapshot.workloads.get((meta["namespace"], meta["name"]))
    if workload is None:
        fail(
            f'the mesh does not count pod "{meta["name"]}".',
            "It has ended, or discoverySelectors of the mesh leave its namespace out.",
        )
    typer.echo(f"Pod: {_named(meta, namespace)}")
    typer.echo(f"   Pod Revision: {(meta.get('labels') or {}).get('istio.io/rev', 'default')}")
    typer.echo(f"   Pod Ports: {', '.join(_ports(found)) or 'none'}")
    if trouble := unmeshed(found):
        typer.echo(f"WARNING: {trouble}")
    elif not _is_ready(found):
        typer.echo("WARNING: the pod is not ready: nobody is sent to it")
    typer.echo(_LINE)
    _tell(*of_pod(read.snapshot, workload, read.addresses))


def service(
    name: Service, namespace: Namespace = "", kubeconfig: Kubeconfig = "", system: System = "istio-system"
) -> None:
    """Show a service's ports and pods, the rules for calling it, and what is wrong with any of these."""
    from weft.model.description import of_service

    async def question(kube: Kube) -> tuple[Json, "_Read"]:
        found = await named(kube, kinds.SERVICES, name.removeprefix("svc/").removeprefix("service/"), namespace)
        return found, await _read(kube, system)

    found, read = ask(kubeconfig, question)
    meta = found["metadata"]
    where = (meta["namespace"], meta["name"])
    known = (one for each in read.snapshot.directory.services.values() for one in each.all)
    registered = next((each for each in known if (each.service.namespace, each.service.name) == where), None)
    if registered is None:
        fail(f'the mesh does not count service "{meta["name"]}".', "See discoverySelectors of the mesh.")
    _tell(*of_service(read.snapshot, registered, read.addresses))


@dataclass(frozen=True, slots=True)
class _Read:
    """All that istiod would know, and where Services are reached from outside the cluster."""

    snapshot: Any
    addresses: "Addresses"


async def _read(kube: Kube, system: str) -> _Read:
    from weft.model.store import MESH, Store
    from weft.processes.controlplane.watching import FOLLOWED

    store = Store()
    try:
        store.apply(MESH, {"kind": MESH, **await kube.get(kinds.CONFIGMAPS, "istio", system)})
    except ApiError as error:
        if error.code != 404:
            raise
        raise NotThereError(
            f'no mesh is installed in namespace "{system}". Name another: --istioNamespace'
        ) from None
    followed = tuple(dict.fromkeys(FOLLOWED))
    lists = await asyncio.gather(*(kube.list(kind) for kind in followed))
    for kind, objects in zip(followed, lists, strict=True):
        store.replace(kind.kind, [{"kind": kind.kind, **each} for each in objects])
    services = lists[followed.index(kinds.SERVICES)]
    return _Read(store.snapshot(), {_key(each): tuple(_outside(each)) for each in services})


def _key(obj: Json) -> tuple[str, str]:
    return obj["metadata"]["namespace"], obj["metadata"]["name"]


def _outside(found: Json) -> Iterable[str]:
    listed = ((found.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    return (
        [each.get("ip") or each.get("hostname", "") for each in listed] or found["spec"].get("externalIPs") or ()
    )


def _ports(found: Json) -> list[str]:
    spec = found["spec"]
    containers = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    return [f"{port['containerPort']} ({each['name']})" for each in containers for port in each.get("ports") or ()]


def _is_ready(found: Json) -> bool:
    conditions = (found.get("status") or {}).get("conditions") or ()
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _named(meta: Json, namespace: str) -> str:
    return str(meta["name"]) if namespace == meta["namespace"] else f"{meta['name']}.{meta['namespace']}"


def _tell(notes: "Iterable[Note]", problems: Iterable[Any]) -> None:
    for note in notes:
        _show(note, 0)
        typer.echo(_LINE)
    for each in problems:
        typer.echo(str(each))


def _show(note: "Note", depth: int) -> None:
    typer.echo(f"{'   ' * depth}{note.text}")
    for each in note.under:
        _show(each, depth + 1)
