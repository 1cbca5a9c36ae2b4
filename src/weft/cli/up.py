"""`weft up`."""

from ipaddress import IPv4Network
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weft.cli.options import DEFAULT_HOME, Home, absolute, fail, say_error

if TYPE_CHECKING:
    from rich.console import Console

    from weft.cluster.machine.layout import Layout
    from weft.cluster.machine.trouble import Trouble
    from weft.cluster.machine.up import Mesh, Underlay, Up


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("up")(up)


def up(
    home: Home = DEFAULT_HOME,
    nodes: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            max=50,
            help="Number of nodes. More than there are: new ones join. Fewer: those with the highest numbers are "
            "drained and removed.",
            show_default="1, or as many as there are",
        ),
    ] = None,
    pod_cidr: Annotated[
        str | None,
        typer.Option(metavar="CIDR", help="Addresses of pods, a /24 for each node.", show_default="10.244.0.0/16"),
    ] = None,
    service_cidr: Annotated[
        str | None, typer.Option(metavar="CIDR", help="Addresses of services.", show_default="10.96.0.0/12")
    ] = None,
    node_cidr: Annotated[
        str | None,
        typer.Option(
            metavar="CIDR", help="Addresses of the nodes and this machine.", show_default="192.168.49.0/24"
        ),
    ] = None,
    api_port: Annotated[
        int | None,
        typer.Option(
            min=1, max=65535, metavar="PORT", help="The API server's port on 127.0.0.1.", show_default="6443"
        ),
    ] = None,
    upstream: Annotated[
        list[str] | None,
        typer.Option(
            metavar="IP",
            help="A resolver (IPv4 address) for names outside of the cluster, asked from this machine; `none` for "
            "none. May be given again.",
            show_default="those of /etc/resolv.conf where this machine has a default route",
        ),
    ] = None,
    gateways: Annotated[  # noqa: FBT002 -- an option of the command line, never positional
        bool,
        typer.Option(
            "--gateways/--no-gateways",
            help="Run istio-ingressgateway and istio-egressgateway. Counts when the mesh is installed; what runs "
            "stays as it is.",
        ),
    ] = True,
    init_container: Annotated[  # noqa: FBT002 -- an option of the command line, never positional
        bool,
        typer.Option(
            "--init-container",
            help="Capture the traffic of pods by an init container, which needs NET_ADMIN, and not by the CNI "
            "plugin. Counts when the mesh is installed; what runs stays as it is.",
        ),
    ] = False,
    underlay: Annotated[  # noqa: FBT002 -- an option of the command line, never positional
        bool,
        typer.Option(
            "--underlay",
            help="Let pods have interfaces with addresses of a LAN that the nodes share (ens192, 10.6.0.0/16): "
            "Spiderpool's kinds, with Multus. A cluster that runs gets it, too.",
        ),
    ] = False,
    chosen_values: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="With --underlay: a value as of Spiderpool's Helm chart, such as "
            "coordinator.vethLinkAddress=169.254.100.1. May be given again. All of them: weft underlay values.",
            show_default="those of the last time",
        ),
    ] = None,
) -> None:
    """Bring up a Kubernetes cluster with a service mesh on this machine, or complete the one that is there.

    Everything lives in network namespaces of its own; this machine gets one link (weft-…) and routes to the pod
    and service ranges. Safe to repeat: what runs stays as it is, what has died is started again. `weft down`
    takes everything away.
    """
    from os import geteuid

    from weft.adapters import files
    from weft.cli.display import Steady
    from weft.cluster.machine import record, removal
    from weft.cluster.machine.layout import API_PORT, LAN, PODS, SERVICES, Layout
    from weft.cluster.machine.preflight import Facts, check
    from weft.cluster.machine.up import chosen

    place = absolute(home)
    held = record.load(place)
    known = chosen(Layout(place), held)
    layout = Layout(
        home=place,
        node_count=nodes or known.node_count,
        pods=_range("--pod-cidr", pod_cidr, known.pods or PODS),
        services=_range("--service-cidr", service_cidr, known.services or SERVICES),
        lan=_range("--node-cidr", node_cidr, known.lan or LAN),
        api_port=api_port or known.api_port or API_PORT,
        upstreams=_upstreams(upstream, None if held is None else known.upstreams),
        underlay=underlay or known.underlay,
    )
    values = tuple(chosen_values) if chosen_values else held.values if held else ()
    # what needs no look at the machine is said before anything is written
    for trouble in (troubles := check(layout, Facts(root=not geteuid()))):
        say_error(trouble.what, trouble.way_out)
    if troubles:
        raise typer.Exit(1)
    console = Steady()
    try:
        with files.locked(place / removal.LOCK, patience=removal.PATIENCE):
            mesh = _mesh(layout, gateways=gateways, cni=not init_container)
            _run(layout, console, mesh, _underlay(layout, values))
    except files.LockedError:
        fail(f"another weft up or down works on {place} right now.", "Wait for it, or see: ps ax | grep weft")
    except OSError as error:
        trouble = _world(error, str(place))
        fail(trouble.what, trouble.way_out)


def _run(layout: "Layout", console: "Console", mesh: "Mesh", underlay: "Underlay | None") -> None:
    import asyncio
    import time

    from weft.cli.display import display
    from weft.cluster.machine.steps import Steps
    from weft.cluster.machine.up import Up

    begun = time.perf_counter()
    with display(console) as watcher:
        run = Up(layout, Steps(watcher, time.perf_counter), mesh, underlay)
        try:
            asyncio.run(_interruptible(run))
        except (KeyboardInterrupt, asyncio.CancelledError):
            failure: BaseException | None = None
        except BaseException as error:  # noqa: BLE001 -- whatever it is, nothing stays half-started
            failure = error
        else:
            _celebrate(layout, console, time.perf_counter() - begun, fresh=not run.ran_before)
            return
    _fail(run, failure)


async def _interruptible(run: "Up") -> None:
    """The run, cancelled by the signals that end a program, as Ctrl-C does."""
    import asyncio
    import signal

    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("outside of a task")
    for number in (signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    await run.run()


def _fail(run: "Up", failure: BaseException | None) -> None:
    import signal

    from weft.cluster.machine.trouble import UpError

    # the way back is short, and breaking it off would leave things half-removed
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    troubles = _troubles(failure)
    run.undo()
    if failure is None:
        fail("interrupted; what was started is taken down again.", "Try: weft up", code=130)
    for trouble in troubles[1:]:
        say_error(trouble.what, trouble.way_out)
    if troubles:
        fail(troubles[0].what, troubles[0].way_out)
    if isinstance(failure, UpError):
        fail(str(failure))
    raise failure


def _troubles(failure: BaseException | None) -> "list[Trouble]":
    """The troubles within a failure, each once; none where something else (a bug of ours) is in it alone."""
    from weft.cluster.machine.trouble import UpError

    match failure:
        case UpError():
            return list(failure.troubles)
        case OSError() if failure.filename:
            return [_world(failure, str(failure.filename))]
        case BaseExceptionGroup():
            found = [trouble for one in failure.exceptions for trouble in _troubles(one)]
            return list(dict.fromkeys(found))
    return []


def _world(error: OSError, place: str) -> "Trouble":
    """What a file system said: read-only, full, not allowed."""
    from weft.cluster.machine.trouble import Trouble

    return Trouble(
        f"{error.filename or place}: {error.strerror or error}.",
        "Choose a folder on another disk: weft up --home DIR",
    )


def _mesh(layout: "Layout", *, gateways: bool, cni: bool) -> "Mesh":
    from importlib.metadata import version

    from weft.cluster.machine.up import Mesh

    def objects() -> list[dict[str, Any]]:
        from weft.cli.mesh import control_plane
        from weft.install import cni as node
        from weft.install.manifests import Settings

        objects = control_plane(Settings(cni=cni), underlay=layout.underlay)
        if not cni:
            return objects
        paths = node.HostPaths(*layout.node_folders)
        return [*objects, *node.manifests(node.Settings(paths=paths))]

    def edge() -> list[dict[str, Any]]:
        from weft.cli.mesh import edge
        from weft.install.manifests import Settings

        return edge(Settings(cni=cni))

    return Mesh(version("weft"), objects, edge if gateways else list)


def _underlay(layout: "Layout", values: tuple[str, ...]) -> "Underlay | None":
    from importlib.metadata import version

    from weft.cli.mesh import beside_an_underlay
    from weft.cluster.machine import installation
    from weft.cluster.machine.up import Underlay
    from weft.install.crds import crds
    from weft.install.underlay import HostPaths, Settings, manifests
    from weft.install.underlay_crds import underlay_crds
    from weft.install.underlay_values import BadValueError, read

    if not layout.underlay:
        if values:
            fail(
                "--set is about the underlay, which this cluster does not have.", "Try: weft up --underlay --set …"
            )
        return None
    try:
        settings = Settings(values=read(values), paths=HostPaths(*layout.underlay_folders))
    except BadValueError as error:
        fail(str(error), "All of them: weft underlay values")
    return Underlay(
        version("weft"),
        values,
        # a mesh may have been here before
        lambda: [
            installation.ranges(layout),
            *(beside_an_underlay(each) for each in crds() if each["spec"]["names"]["kind"] == "ServiceEntry"),
            *underlay_crds(),
            *manifests(settings),
        ],
    )


def _range(option: str, text: str | None, otherwise: IPv4Network) -> IPv4Network:
    try:
        return IPv4Network(text) if text else otherwise
    except ValueError as error:
        fail(f"{option}: {error}.", f"Give a range such as {otherwise}")


def _upstreams(given: list[str] | None, held: tuple[str, ...] | None) -> tuple[str, ...]:
    """What was asked for, else what the cluster has, else the machine's own where it can reach them."""
    from ipaddress import IPv4Address

    from weft.cluster.machine import facts

    if given is None:
        return facts.resolvers() if held is None else held
    try:
        return tuple(str(IPv4Address(one)) for one in given if one != "none")
    except ValueError as error:
        fail(f"--upstream: {error}.", "Give a resolver's IPv4 address, or none")


def _celebrate(layout: "Layout", console: "Console", seconds: float, *, fresh: bool) -> None:
    import shlex

    verb = "is up" if fresh else "runs"
    underlay = (
        "  kubectl apply -f examples/underlay/nginx.yaml    # web servers with addresses of 10.6.0.0/16\n"
        "  kubectl get spiderendpoints\n"
    )
    nodes = f"{layout.node_count} node{'s' if layout.node_count > 1 else ''}"
    console.print(
        f"\n[bold]weft {verb}[/] ({seconds:.1f} s, {nodes}). Next:\n\n"
        f"  export KUBECONFIG={shlex.quote(str(layout.kubeconfig))}\n"
        "  kubectl get pods -A\n"
        "  kubectl create namespace demo\n"
        "  kubectl label namespace demo istio-injection=enabled\n"
        f"{underlay if layout.underlay else ''}"
        "  weft status\n",
        highlight=False,
        soft_wrap=True,
    )
