"""`weft down`."""

import typer

from weft.cli.options import DEFAULT_HOME, Home, absolute, fail


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("down")(down)


def down(home: Home = DEFAULT_HOME) -> None:
    """Delete the cluster: what runs, and its data.

    Removes the cluster's processes, containers, mounts, namespaces, links, routes and control groups, and in its
    folder the kubeconfig, certificates, logs, images and every object that was stored. Keeps images.yaml and
    whatever else you put there. Works after any crash; safe to repeat.
    """
    from os import geteuid

    from weft.adapters import files
    from weft.adapters.netlink import NetlinkError
    from weft.cluster.machine import record, removal
    from weft.cluster.machine.layout import Layout
    from weft.cluster.machine.up import chosen

    place = absolute(home)
    if geteuid():
        fail("weft down must run as root.", "Try: sudo weft down")
    layout = chosen(Layout(place), record.load(place))
    try:
        with files.locked(place / removal.LOCK, patience=removal.PATIENCE):
            removed = removal.remove(layout, data=True)
    except files.LockedError:
        fail(f"another weft up or down works on {place} right now.", "Wait for it, or see: ps ax | grep weft")
    except (OSError, NetlinkError) as error:
        fail(f"not everything could be removed: {error}.", "Try again: weft down")
    removal.forsake(place)
    _tell(str(place), removed.counts)


def _tell(place: str, counts: dict[str, int]) -> None:
    from weft.cli.display import Steady

    lines = [f"removed the cluster of {place}:", *(f"  {count:4} {what}" for what, count in counts.items())]
    if not counts:
        lines = [f"nothing to remove: no cluster of {place} is on this machine."]
    Steady(highlight=False, markup=False, soft_wrap=True).print("\n".join(lines))
