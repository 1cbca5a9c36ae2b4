"""Reaching a proxy or the control plane through the Kubernetes API, as users name them."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

import aiohttp
import typer

from weft.adapters.kube import remote
from weft.adapters.kube.access import Access, AccessError
from weft.adapters.kube.client import ApiError, Json, Kube
from weft.adapters.kube.kinds import DEPLOYMENTS, PODS, REPLICASETS, Kind
from weft.cli.options import fail
from weft.model import enrolment
from weft.model.enrolment import SIDECAR

T = TypeVar("T")

Namespace = Annotated[
    str, typer.Option("--namespace", "-n", help="The namespace of the pod.", show_default="of the kubeconfig")
]
Kubeconfig = Annotated[
    str, typer.Option("--kubeconfig", "-c", envvar="KUBECONFIG", help="How to reach the cluster.", metavar="FILE")
]
System = Annotated[str, typer.Option("--istioNamespace", "-i", help="Where the control plane runs.")]


@dataclass(frozen=True, slots=True)
class Target:
    """One pod of the cluster."""

    namespace: str
    name: str


class NotThereError(Exception):
    """What the user named does not exist; the message says what to look at."""


def ask(kubeconfig: str, question: Callable[[Kube], Awaitable[T]]) -> T:
    """Run `question` against the cluster; trouble ends the command with one line and the way out."""

    async def run() -> T:
        async with Kube(_access(kubeconfig)) as kube:
            return await question(kube)

    try:
        return asyncio.run(run())
    except AccessError as error:
        fail(str(error))
    except NotThereError as error:
        fail(str(error))
    except ApiError as error:
        fail(error.message, "See who you are: kubectl auth whoami" if error.code in {401, 403} else "")
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        fail(f"the API server does not answer ({error}).", "See what runs: weft status")


def _access(kubeconfig: str) -> Access:
    named = kubeconfig.partition(":")[0]
    if named:
        return Access.from_kubeconfig(Path(named).expanduser())
    for place in (Path(os.environ.get("WEFT_HOME", "~/.weft")) / "kubeconfig", Path("~/.kube/config")):
        if place.expanduser().exists():
            return Access.from_kubeconfig(place.expanduser())
    return Access.from_kubeconfig(Path("~/.weft/kubeconfig").expanduser())


async def find(kube: Kube, name: str, namespace: str) -> Target:
    """The meshed pod that `POD`, `POD.NS`, `pod/POD`, `deployment/NAME` or `deployment/NAME.NS` stands for."""
    kind, _, bare = name.rpartition("/")
    match kind:
        case "" | "pod" | "pods" | "po":
            pod = await named(kube, PODS, bare, namespace)
        case "deploy" | "deployment" | "deployments":
            pod = await _of_deployment(kube, await named(kube, DEPLOYMENTS, bare, namespace))
        case _:
            raise NotThereError(f'"{name}": proxies are in pods. Write POD[.NAMESPACE] or deployment/NAME.')
    if trouble := unmeshed(pod):
        raise NotThereError(trouble)
    return Target(pod["metadata"]["namespace"], pod["metadata"]["name"])


def unmeshed(pod: Json) -> str:
    """Why there is no proxy to ask in a pod, and the way out; empty where one runs."""
    name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
    status = pod.get("status", {})
    if enrolment.proxy(pod) is None:
        return (
            f'pod "{name}" in namespace "{namespace}" has no container {SIDECAR}: it is not in the mesh. '
            f"Label the namespace (kubectl label namespace {namespace} istio-injection=enabled) "
            "and have the pod made anew."
        )
    states = [*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())]
    (state,) = [one.get("state") or {} for one in states if one["name"] == SIDECAR] or [{}]
    if "running" in state:
        return ""
    reason = next((str(how.get("reason", "")) for how in state.values()), "") or status.get("phase", "Pending")
    see = f"kubectl describe pod {name} -n {namespace}"
    return f'the {SIDECAR} of pod "{name}" does not run ({reason}). See why: {see}'


async def named(kube: Kube, kind: Kind, name: str, namespace: str) -> Json:
    """The object that `NAME` or `NAME.NAMESPACE` stands for. Raises NotThereError."""
    # a name may hold dots itself, so with a namespace given it is taken whole
    first, _, last = name.rpartition(".")
    whole = (namespace or kube.access.namespace, name)
    tries = [whole] if namespace or not first else [(last, first), whole]
    for where, what in tries:
        try:
            return await kube.get(kind, what, where)
        except ApiError as error:
            if error.code != 404:
                raise
    where, what = tries[0]
    see = f"See which there are: kubectl get {kind.plural} -n {where}"
    raise NotThereError(f'no {kind.kind.lower()} "{what}" in namespace "{where}". {see}')


async def _of_deployment(kube: Kube, deployment: Json) -> Json:
    name, namespace = deployment["metadata"]["name"], deployment["metadata"]["namespace"]
    sets = {obj["metadata"]["uid"] for obj in await kube.list(REPLICASETS, namespace) if _owned(obj, deployment)}
    pods = [pod for pod in await kube.list(PODS, namespace) if _owner(pod) in sets and _runs(pod)]
    if not pods:
        see = f"kubectl describe deployment {name} -n {namespace}"
        raise NotThereError(f'deployment "{name}" has no running pod. See: {see}')
    return pods[0]


def _owner(obj: Json) -> str:
    owners = obj["metadata"].get("ownerReferences") or [{}]
    return str(owners[0].get("uid", ""))


def _owned(obj: Json, owner: Json) -> bool:
    return bool(_owner(obj) == owner["metadata"]["uid"])


def _runs(pod: Json) -> bool:
    return pod.get("status", {}).get("phase") == "Running" and not pod["metadata"].get("deletionTimestamp")


async def admin(kube: Kube, target: Target, path: str) -> bytes:
    """What the Envoy of a pod answers on its admin interface."""
    command = ["weft", "agent", "request", "GET", path]
    return await _printed(kube, target, SIDECAR, command)


async def control_planes(kube: Kube, system: str, path: str) -> list[tuple[str, bytes]]:
    """What each running istiod answers on its monitoring port, by the pod's name."""
    pods = [pod for pod in await kube.list(PODS, system, labels="app=istiod") if _runs(pod)]
    if not pods:
        raise NotThereError(f'no istiod runs in namespace "{system}". See: kubectl get pods -n {system}')
    names = [str(pod["metadata"]["name"]) for pod in pods]
    command = ["weft", "controlplane", "request", "GET", path]
    answers = await asyncio.gather(*(_printed(kube, Target(system, name), "discovery", command) for name in names))
    return list(zip(names, answers, strict=True))


async def _printed(kube: Kube, target: Target, container: str, command: list[str]) -> bytes:
    ran = await remote.run(kube, target.namespace, target.name, container, command)
    if ran.code:
        said = ran.stderr.strip().splitlines()[-1:] or [f"exit code {ran.code}"]
        see = f"kubectl logs {target.name} -n {target.namespace} -c {container}"
        raise NotThereError(f"{target.namespace}/{target.name}: {said[0]}. See why: {see}")
    return ran.stdout
