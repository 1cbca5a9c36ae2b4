"""Bonds and VLANs of a node made by rtnetlink, all of them or none."""

import contextlib
import errno
from collections.abc import Sequence
from typing import Any, Final

from weft.adapters import pod_network
from weft.adapters.pod_network import Kernel
from weft.underlay.networks.ifacer import Bond, Joined, Raised, Step, Vlan

_MODULES: Final = {Bond: "bonding", Vlan: "8021q"}
"""What the kernel needs for them."""


class LinkError(RuntimeError):
    """The kernel refused a step; what was made before it is taken back. The message says what and why."""


def make(node: str, steps: Sequence[Step]) -> None:
    """Do the steps in a namespace, given by name or path; with "" in ours. LinkError. Blocks."""

    def work() -> None:
        with pod_network.opened() as kernel:
            _make(kernel, steps)

    pod_network.inside(node, work)


def _make(kernel: Kernel, steps: Sequence[Step]) -> None:
    from pyroute2.netlink.exceptions import NetlinkError

    done: list[Step] = []
    for step in steps:
        try:
            _do(kernel, step)
        except (NetlinkError, OSError) as error:
            for each in reversed(done):
                with contextlib.suppress(NetlinkError, OSError):
                    _undo(kernel, each)
            raise LinkError(f"{step}: {_reason(step, error)}") from error
        done.append(step)


def _do(kernel: Kernel, step: Step) -> None:
    match step:
        case Bond(name, mode, options):
            chosen: dict[str, Any] = {f"bond_{key}": value for key, value in options}
            kernel.link("add", ifname=name, kind="bond", bond_mode=mode, **chosen)
        case Joined(name, bond):
            # the kernel joins only what is down
            kernel.link("set", index=_index(kernel, name), state="down")
            kernel.link("set", index=_index(kernel, name), master=_index(kernel, bond))
            kernel.link("set", index=_index(kernel, name), state="up")
        case Vlan(name, parent, number):
            kernel.link("add", ifname=name, kind="vlan", link=_index(kernel, parent), vlan_id=number)
        case Raised(name):
            kernel.link("set", index=_index(kernel, name), state="up")


def _undo(kernel: Kernel, step: Step) -> None:
    match step:
        case Bond() | Vlan():
            kernel.link("del", index=_index(kernel, step.name))
        case Joined(name, _):
            kernel.link("set", index=_index(kernel, name), master=0)
        case Raised():
            pass


def _index(kernel: Kernel, name: str) -> int:
    found: list[int] = kernel.link_lookup(ifname=name)
    if not found:
        raise OSError(errno.ENODEV, f"there is no link {name}")
    return found[0]


def _reason(step: Step, error: Exception) -> str:
    code = getattr(error, "code", getattr(error, "errno", None))
    module = _MODULES.get(type(step))
    if code == errno.EOPNOTSUPP and module:
        return f"the node's kernel does not know this kind of link. Load it (modprobe {module}), or do without."
    return str(error.args[1]) if len(error.args) > 1 else str(error)
