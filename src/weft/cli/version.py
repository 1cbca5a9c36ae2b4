"""`weft version`: this program, the control planes, and the proxies they serve."""

import json
from collections import Counter
from enum import StrEnum
from importlib.metadata import version as installed
from typing import Annotated, Any

import typer

from weft.adapters.kube.client import Kube
from weft.cli.reach import Kubeconfig, System, ask, control_planes


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("version")(version)


class Output(StrEnum):
    """How to print."""

    LINES = ""
    JSON = "json"


def version(
    remote: Annotated[bool, typer.Option(help="Also ask the cluster, if there is one.")] = True,  # noqa: FBT002, an option
    short: Annotated[bool, typer.Option("--short", "-s", help="Only the numbers.")] = False,  # noqa: FBT002, an option
    output: Annotated[Output, typer.Option("--output", "-o", help="json, or nothing for people.")] = Output.LINES,
    kubeconfig: Kubeconfig = "",
    istio_namespace: System = "istio-system",
) -> None:
    """Show the versions of this program, of the control plane and of the proxies."""
    mine = installed("weft")
    if output is Output.JSON:
        control, proxies = _cluster(kubeconfig, istio_namespace) if remote else ([], Counter())
        told: dict[str, Any] = {"clientVersion": mine}
        told |= {"meshVersion": control, "dataPlaneVersion": dict(proxies)} if remote else {}
        typer.echo(json.dumps(told, indent=2))
        return
    # at once: it is true whether a cluster answers or not
    typer.echo(mine if short else f"client version: {mine}")
    if not remote:
        return
    control, proxies = _cluster(kubeconfig, istio_namespace)
    typer.echo(f"control plane version: {', '.join(control)}")
    shown = [
        f"{number} ({count} {'proxy' if count == 1 else 'proxies'})" for number, count in sorted(proxies.items())
    ]
    typer.echo(f"data plane version: {', '.join(shown) or 'none'}")


def _cluster(kubeconfig: str, namespace: str) -> tuple[list[str], Counter[str]]:
    """The versions of the control planes, and how many proxies there are of each version."""

    async def question(kube: Kube) -> tuple[list[tuple[str, bytes]], list[tuple[str, bytes]]]:
        planes = control_planes(kube, namespace, "/version")
        return await planes, await control_planes(kube, namespace, "/debug/syncz")

    planes, syncz = ask(kubeconfig, question)
    control = sorted({str(json.loads(body)["version"]) for _, body in planes})
    proxies = Counter(str(entry.get("istio_version", "")) for _, body in syncz for entry in json.loads(body))
    return control, proxies
