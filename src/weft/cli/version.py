"""`weft version`: this program, the control planes, and the proxies they serve."""

import json
from collections import Counter
from importlib.metadata import version as installed
from typing import Annotated

import typer

from weft.cli.reach import Kubeconfig, System, ask, control_planes


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("version")(version)


def version(
    remote: Annotated[bool, typer.Option(help="Also ask the cluster, if there is one.")] = True,  # noqa: FBT002, an option
    short: Annotated[bool, typer.Option("--short", "-s", help="Only the numbers.")] = False,  # noqa: FBT002, an option
    output: Annotated[str, typer.Option("--output", "-o", help="json, or nothing for people.")] = "",
    kubeconfig: Kubeconfig = "",
    istio_namespace: System = "istio-system",
) -> None:
    """Show the versions of this program, of the control plane and of the proxies."""
    mine = installed("weft")
    if not remote:
        typer.echo(
            json.dumps({"clientVersion": mine})
            if output == "json"
            else mine
            if short
            else f"client version: {mine}"
        )
        return
    planes = ask(kubeconfig, lambda kube: control_planes(kube, istio_namespace, "/version"))
    syncz = ask(kubeconfig, lambda kube: control_planes(kube, istio_namespace, "/debug/syncz"))
    control = sorted({str(json.loads(body)["version"]) for _, body in planes})
    proxies = Counter(str(entry.get("istio_version", "")) for _, body in syncz for entry in json.loads(body))
    if output == "json":
        told = {"clientVersion": mine, "meshVersion": control, "dataPlaneVersion": dict(proxies)}
        typer.echo(json.dumps(told, indent=2))
        return
    typer.echo(f"client version: {mine}")
    typer.echo(f"control plane version: {', '.join(control)}")
    shown = [
        f"{number} ({count} {'proxy' if count == 1 else 'proxies'})" for number, count in sorted(proxies.items())
    ]
    typer.echo(f"data plane version: {', '.join(shown) or 'none'}")
