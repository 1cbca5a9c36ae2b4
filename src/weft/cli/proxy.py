"""`weft proxy-status` and `weft proxy-config`: what the proxies have, as the control plane and as they see it."""

import json
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Annotated, Any

import typer

from weft.cli import proxy_tables
from weft.cli.reach import Kubeconfig, Namespace, System, Target, admin, ask, control_planes, find
from weft.xds import config_dump, config_dump_rows
from weft.xds.config_dump import ClusterFilter, EndpointFilter, ListenerFilter


class Output(StrEnum):
    """How to print: a table, or the objects themselves."""

    SHORT = "short"
    JSON = "json"
    YAML = "yaml"


Proxy = Annotated[str, typer.Argument(metavar="POD[.NAMESPACE]", help="A pod, or deployment/NAME.")]
How = Annotated[Output, typer.Option("--output", "-o", help="short, json or yaml.")]
Port = Annotated[int, typer.Option("--port", help="Only what has this port.", show_default="any")]

_DUMP = "/config_dump"


def register(app: typer.Typer) -> None:
    """Add the commands to the app, under istioctl's names and short names."""
    for name, hidden in (("proxy-status", False), ("ps", True)):
        app.command(name, hidden=hidden)(proxy_status)
    config = typer.Typer(no_args_is_help=True)
    config.callback()(proxy_config)
    commands: dict[str, tuple[Callable[..., None], tuple[str, ...]]] = {
        "listener": (listener, ("listeners", "l")),
        "route": (route, ("routes", "r")),
        "cluster": (cluster, ("clusters", "c")),
        "endpoint": (endpoint, ("endpoints", "ep")),
        "secret": (secret, ("secrets", "s")),
        "rootca-compare": (rootca_compare, ("rc",)),
    }
    for name, (command, short) in commands.items():
        config.command(name)(command)
        for other in short:
            config.command(other, hidden=True)(command)
    app.add_typer(config, name="proxy-config")
    app.add_typer(config, name="pc", hidden=True)


def proxy_config(context: typer.Context, namespace: Namespace = "", kubeconfig: Kubeconfig = "") -> None:
    """Show what one proxy is configured with, as its Envoy tells it."""
    # istioctl takes these before the command's name as well as after it
    context.obj = (namespace, kubeconfig)


def proxy_status(
    output: How = Output.SHORT, kubeconfig: Kubeconfig = "", istio_namespace: System = "istio-system"
) -> None:
    """Show how far each proxy is with its configuration: SYNCED, STALE, NOT SENT or ERROR for each type.

    ERROR means that the proxy rejected something: it keeps its last good version, and -o json shows what it said.
    """
    from weft.cli import proxy_status as table

    answers = ask(kubeconfig, lambda kube: control_planes(kube, istio_namespace, "/debug/syncz"))
    entries = [entry for _, body in answers for entry in json.loads(body)]
    if output is Output.SHORT:
        typer.echo(table.render(table.rows(entries)))
    else:
        typer.echo(_objects(entries, output))


def listener(
    context: typer.Context,
    proxy: Proxy,
    namespace: Namespace = "",
    output: How = Output.SHORT,
    port: Port = 0,
    address: Annotated[str, typer.Option("--address", help="Only listeners of this address.")] = "",
    kind: Annotated[str, typer.Option("--type", help="Only HTTP, TCP or HTTP+TCP listeners.")] = "",
    kubeconfig: Kubeconfig = "",
) -> None:
    """Show the listeners: which addresses and ports are handled, and where what matches goes."""
    chosen = ListenerFilter(address=address, port=port, type=kind)
    dump = _fetch(context, kubeconfig, proxy, namespace, _DUMP)
    rows = proxy_tables.listener_table(config_dump_rows.listener_rows(dump, chosen))
    _print(rows, config_dump.listener_objects(dump, chosen), output)


def route(
    context: typer.Context,
    proxy: Proxy,
    namespace: Namespace = "",
    output: How = Output.SHORT,
    name: Annotated[str, typer.Option("--name", help="Only the route configuration of this name.")] = "",
    kubeconfig: Kubeconfig = "",
) -> None:
    """Show the routes: which hosts and paths go where, and which VirtualService says so."""
    dump = _fetch(context, kubeconfig, proxy, namespace, _DUMP)
    rows = proxy_tables.route_table(config_dump_rows.route_rows(dump, name))
    _print(rows, config_dump.route_objects(dump, name), output)


def cluster(
    context: typer.Context,
    proxy: Proxy,
    namespace: Namespace = "",
    output: How = Output.SHORT,
    fqdn: Annotated[str, typer.Option("--fqdn", help="Only clusters of this host.")] = "",
    port: Port = 0,
    subset: Annotated[str, typer.Option("--subset", help="Only clusters of this subset.")] = "",
    direction: Annotated[str, typer.Option("--direction", help="Only inbound or outbound clusters.")] = "",
    kubeconfig: Kubeconfig = "",
) -> None:
    """Show the clusters: the services and subsets that the proxy can send to."""
    chosen = ClusterFilter(fqdn=fqdn, port=port, subset=subset, direction=direction)
    dump = _fetch(context, kubeconfig, proxy, namespace, _DUMP)
    rows = proxy_tables.cluster_table(config_dump_rows.cluster_rows(dump, chosen))
    _print(rows, config_dump.cluster_objects(dump, chosen), output)


def endpoint(
    context: typer.Context,
    proxy: Proxy,
    namespace: Namespace = "",
    output: How = Output.SHORT,
    cluster_name: Annotated[str, typer.Option("--cluster", help="Only endpoints of this cluster.")] = "",
    port: Port = 0,
    address: Annotated[str, typer.Option("--address", help="Only endpoints of this address.")] = "",
    status: Annotated[str, typer.Option("--status", help="Only endpoints in this state, as HEALTHY.")] = "",
    kubeconfig: Kubeconfig = "",
) -> None:
    """Show the endpoints: the addresses behind each cluster, and how they are."""
    chosen = EndpointFilter(address=address, port=port, cluster=cluster_name, status=status)
    found = _fetch(context, kubeconfig, proxy, namespace, "/clusters?format=json")
    rows = proxy_tables.endpoint_table(config_dump_rows.endpoint_rows(found, chosen))
    _print(rows, config_dump.endpoint_objects(found, chosen), output)


def secret(
    context: typer.Context,
    proxy: Proxy,
    namespace: Namespace = "",
    output: How = Output.SHORT,
    kubeconfig: Kubeconfig = "",
) -> None:
    """Show the certificates, roots and lists of revoked ones: until when they hold. Private keys are not told."""
    from weft.adapters import clock
    from weft.cli import proxy_secrets

    dump = _fetch(context, kubeconfig, proxy, namespace, _DUMP)
    _print(proxy_secrets.render(proxy_secrets.rows(dump, clock.now())), proxy_secrets.objects(dump), output)


def rootca_compare(
    context: typer.Context,
    proxy: Proxy,
    other: Annotated[str, typer.Argument(metavar="POD[.NAMESPACE]", help="The other pod.")],
    namespace: Namespace = "",
    kubeconfig: Kubeconfig = "",
) -> None:
    """Compare the roots that two proxies trust, and say whether each accepts the other. 1 where they do not."""
    from weft.cli import proxy_secrets

    found = [
        proxy_secrets.trusting(name, _fetch(context, kubeconfig, name, namespace, _DUMP))
        for name in (proxy, other)
    ]
    text, possible = proxy_secrets.compared(*found)
    typer.echo(text)
    raise typer.Exit(0 if possible else 1)


def _fetch(context: typer.Context, kubeconfig: str, proxy: str, namespace: str, path: str) -> dict[str, Any]:
    before_namespace, before_kubeconfig = context.obj

    async def question(kube: Any) -> bytes:
        target: Target = await find(kube, proxy, namespace or before_namespace)
        return await admin(kube, target, path)

    answer: dict[str, Any] = json.loads(ask(kubeconfig or before_kubeconfig, question))
    return answer


def _print(rows: str, objects: Iterable[dict[str, Any]], output: Output) -> None:
    typer.echo(rows if output is Output.SHORT else _objects(list(objects), output))


def _objects(objects: list[dict[str, Any]], output: Output) -> str:
    return proxy_tables.as_json(objects) if output is Output.JSON else proxy_tables.as_yaml(objects)
