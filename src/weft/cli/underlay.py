"""`weft underlay`: underlay networks put onto a cluster, and the addresses that pods have of them."""

from typing import Annotated, Any

import typer

from weft.cli import underlay_check, underlay_ip
from weft.cli.options import fail
from weft.cli.reach import Kubeconfig, NotThereError, ask

Chosen = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="A value other than the usual one. May be given again."),
]
Where = Annotated[str, typer.Option("--namespace", "-n", help="Where the node process and the controller run.")]

_SYSTEM = "kube-system"
_SILENT = 503
"""What the API server says of a pod that it cannot reach."""


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    group = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown")
    group.command("manifest")(manifest)
    group.command("values")(values)
    group.command("gc")(gc)
    underlay_ip.register(group)
    underlay_check.register(group)
    app.add_typer(group, name="underlay", help="Underlay networks: what makes them, and who has which address.")


def manifest(
    chosen: Chosen = None,
    namespace: Where = _SYSTEM,
    images: Annotated[str, typer.Option("--images", help="The registry and folder of the images.")] = "weft.local",
) -> None:
    """Print the objects that give any cluster underlay networks, for `kubectl apply -f -`.

    What the default SpiderCoordinator and pools are told is made by the pod `spiderpool-init`, which runs once:
    with other values, delete it before they are applied.
    """
    from importlib.metadata import version

    import yaml

    from weft.install.underlay import Settings, manifests
    from weft.install.underlay_crds import underlay_crds
    from weft.install.underlay_values import BadValueError, read

    try:
        known = read(chosen or [])
    except BadValueError as error:
        fail(str(error), "All of them: weft underlay values")
    settings = Settings(version=version("weft"), images=images, namespace=namespace, values=known)
    objects: list[dict[str, Any]] = [*underlay_crds(), *manifests(settings)]
    if namespace != _SYSTEM:
        objects.insert(0, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    print(yaml.safe_dump_all(objects, allow_unicode=True, sort_keys=False), end="")


def values() -> None:
    """List all values that may follow `--set`, as Spiderpool's chart has them."""
    from weft.cli.proxy_tables import table
    from weft.install.underlay_values import defaults

    print(table(("NAME", "DEFAULT"), [(name, _written(value)) for name, value in defaults().items()], gap=3))


def _written(value: object) -> str:
    match value:
        case None:
            return "(of the kind)"
        case bool():
            return str(value).lower()
        case list() | tuple():
            return "{" + ",".join(map(str, value)) + "}"
    return str(value) or '""'


def gc(kubeconfig: Kubeconfig = "", namespace: Where = _SYSTEM) -> None:
    """Look through all addresses now, and give back those of pods that are gone. What it did is printed."""
    from weft.adapters.kube.client import ApiError, Kube
    from weft.adapters.kube.kinds import DEPLOYMENTS, PODS

    async def collect(kube: Kube) -> bytes:
        name = "spiderpool-controller"
        deployment = await kube.get(DEPLOYMENTS, name, namespace)
        container = deployment["spec"]["template"]["spec"]["containers"][0]
        port = next(each["containerPort"] for each in container["ports"] if each["name"] == "http")
        selector = deployment["spec"]["selector"]["matchLabels"]
        labels = ",".join(f"{key}={value}" for key, value in selector.items())
        silent = ""
        for pod in await kube.list(PODS, namespace, labels=labels):
            if pod.get("status", {}).get("phase") == "Running" and not pod["metadata"].get("deletionTimestamp"):
                path = PODS.path(namespace, f"{pod['metadata']['name']}:{port}", "proxy")
                try:
                    return await kube.send("POST", f"{path}/v1/gc")
                except ApiError as error:
                    if error.code != _SILENT:
                        raise
                    silent = f"{pod['metadata']['name']} on node {pod['spec']['nodeName']}: {error}"
        if silent:
            raise NotThereError(f"{silent}. Is the node Ready? See: kubectl get nodes")
        raise NotThereError(f"no {name} runs. See why: kubectl describe deployment {name} -n {namespace}")

    print(ask(kubeconfig, collect).decode().rstrip("\n"))
