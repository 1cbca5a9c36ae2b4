"""A pod's traffic captured from outside it: what the pod says becomes a plan, and the plan its namespace's rules.

Everything here blocks on the kernel: call it in a thread. A namespace is a path (`/proc/PID/ns/net`, or
`/proc/self/fd/N` for one that came by a socket).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from weft.adapters import redirection
from weft.adapters.redirection import Backend
from weft.base.problem import Problem
from weft.redirect import pod as pods
from weft.redirect.capture import Address
from weft.redirect.flags import Host
from weft.redirect.interfaces import Interface, cures, swallowing
from weft.redirect.plan import plan
from weft.redirect.pod import RedirectError
from weft.redirect.rules import Plan

Pod = Mapping[str, Any]

IPTABLES: Final = Backend(own_lock=True)
NATIVE: Final = Backend(native=True, own_lock=True)
Errors: Final = (RedirectError, *redirection.Errors, OSError)
"""What may go wrong: the pod says something that cannot be honoured, or the kernel or a program refuses."""

_OWN: Final = Path("/proc/self/ns/net")


class WrongNamespaceError(OSError):
    """The namespace is not a pod's."""


@dataclass(frozen=True, slots=True)
class Applied:
    """A namespace that holds its pod's plan. `changed` is False where it did so before."""

    plan: Plan
    changed: bool
    program: str
    addresses: tuple[tuple[str, Address], ...] = ()
    """Addresses that interfaces were given, as the pod asked for, so that they do not swallow traffic."""
    problems: tuple[Problem, ...] = ()
    """Interfaces that swallow traffic still."""


def backend(*, native: bool) -> Backend:
    """How rules are written in a pod, by the programs of the node process."""
    return NATIVE if native else IPTABLES


def apply(pod: Pod, namespace: str, how: Backend = IPTABLES) -> Applied:
    """Make a pod's namespace hold what the pod asks for, in one transaction; done twice it does nothing.

    Raises one of `Errors`.
    """
    _check(namespace)
    return redirection.inside(namespace, lambda: _apply(pod, how))


def missing(pod: Pod, namespace: str, how: Backend = IPTABLES) -> tuple[str, ...]:
    """What the namespace lacks of what the pod asks for, a line for each rule, route or address.

    Raises one of `Errors`.
    """
    _check(namespace)

    def look() -> tuple[str, ...]:
        return redirection.missing(_plan(pod, redirection.interfaces()), how)

    return redirection.inside(namespace, look)


def _apply(pod: Pod, how: Backend) -> Applied:
    interfaces = redirection.interfaces()
    capture = pods.capture(pod, _host(interfaces))
    wanted = plan(capture)
    found = swallowing(capture, interfaces)
    given = tuple(cures(found, pods.link_addresses(pod))) if found else ()
    redirection.give_addresses(given)
    if given:
        found = swallowing(capture, redirection.interfaces())
    done = redirection.apply(wanted, how)
    return Applied(wanted, done.changed, done.program, given, tuple(one.problem() for one in found))


def _plan(pod: Pod, interfaces: tuple[Interface, ...]) -> Plan:
    return plan(pods.capture(pod, _host(interfaces)))


def _host(interfaces: tuple[Interface, ...]) -> Host:
    # no resolvers, since the node's are not the pod's: where DNS is captured, queries to any are;
    # no users and groups by name, since the node's are not the image's
    return Host(has_ipv6=any(one.reaches(6) for one in interfaces))


def _check(namespace: str) -> None:
    """A pod of the node's own network would take the whole node's traffic into its proxy."""
    if Path(namespace).samefile(_OWN):
        raise WrongNamespaceError(
            f"{namespace} is the network namespace of the node process itself, not one of a pod; it is left alone"
        )
