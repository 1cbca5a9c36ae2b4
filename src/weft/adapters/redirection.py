"""A plan put into a network namespace, and taken out of it: iptables or native nftables, routing, addresses.

The rules of one IP version are one transaction of iptables; of native nftables all rules are one.
"""

import contextlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Final, TypeVar

from weft.adapters import iptables, libnftables, netlink, netns, rtnetlink
from weft.redirect import nftables, render
from weft.redirect.capture import Address
from weft.redirect.interfaces import Interface
from weft.redirect.loopback import LOOPBACK
from weft.redirect.rules import MarkedIsLocal, Plan, Version

T = TypeVar("T")

IptablesError = iptables.IptablesError
Errors = (iptables.IptablesError, libnftables.LibnftablesError, netlink.NetlinkError)
"""What may go wrong here; each message says what and what to do."""

_Line = tuple[Version, str]
"""A command of ip(8), and the IP version that it is about."""
_VERSIONS: Final[tuple[Version, ...]] = (4, 6)
_TPROXY: Final = re.compile(r"ISTIO_TPROXY|istio-tproxy")
_EVERYWHERE: Final = {4: "0.0.0.0/0", 6: "::/0"}


@dataclass(frozen=True, slots=True)
class Backend:
    """How rules are written: `native` nftables, or iptables of a variant ("nft", "legacy", "" for what fits here).

    `own_lock`: the namespace is ours to change, but the file system is the node's (a CNI plugin).
    """

    native: bool = False
    variant: str = ""
    own_lock: bool = False


DEFAULT: Final = Backend()


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether anything had to be done, and by which program it was. `replaced` is the text of what was there."""

    changed: bool
    program: str
    replaced: str = field(default="", repr=False)


def inside(namespace: str, work: Callable[[], T]) -> T:
    """Run `work` in a network namespace, given by name or path; with "" where we are."""
    return netns.inside(namespace, work) if namespace else work()


def apply(plan: Plan, backend: Backend = DEFAULT, *, force: bool = False) -> Outcome:
    """Make this namespace hold the plan, whatever of an earlier one it holds. Applied twice it does nothing.

    `force` writes what is there already once more.
    """
    changed = _set_up(plan)
    if backend.native:
        before = libnftables.listed()
        written = _write_native(nftables.transaction(plan, before, force=force), json.dumps(before))
    else:

        def change(saved: str, version: Version) -> str:
            return render.transaction(plan, saved, version, force=force)

        written = _write(plan, backend, change)
    if not plan.routed and _TPROXY.search(written.replaced):
        # an earlier plan has been
        _run(_unrouting(plan.marked))
    return Outcome(changed or written.changed, written.program)


def remove(plan: Plan, backend: Backend = DEFAULT) -> Outcome:
    """Take the plan, or what another one left, out of this namespace, whichever way it was written."""
    done: list[Outcome] = []
    # what one chooses must work; the other is taken along where the machine has it
    with contextlib.suppress(*(() if backend.native else (libnftables.LibnftablesError,))):
        done.append(_write_native(nftables.removal(libnftables.listed()), ""))
    with contextlib.suppress(*((iptables.IptablesError,) if backend.native else ())):
        done.append(_write(plan, backend, lambda saved, version: render.removal(plan, saved, version)))
    programs = ", ".join(each.program for each in done if each.changed)
    # first the rules: without routing they would still hand packets over
    return Outcome(_take_down(plan) or bool(programs), programs or "ip")


def missing(plan: Plan, backend: Backend = DEFAULT) -> tuple[str, ...]:
    """What of the plan this namespace lacks, one line for each rule, route or address."""
    setup = tuple(f"ip -{version} {line}" for version, line in _lacking(plan))
    if backend.native:
        return (*setup, *nftables.missing(plan, libnftables.listed()))
    with _lock(backend) as lock:
        saved = {version: iptables.find(backend.variant, version, lock).before for version in plan.versions}
    rules = (
        f"{line} (IPv{version})"
        for version in plan.versions
        for line in render.missing(plan, saved[version], version)
    )
    return (*setup, *rules)


def interfaces() -> tuple[Interface, ...]:
    """The interfaces of this namespace. Addresses that wait for duplicates to speak up count as well."""
    return tuple(Interface(one.name, one.addresses, one.up, one.enslaved) for one in rtnetlink.links())


def give_addresses(cures: Sequence[tuple[str, Address]]) -> None:
    """Give link addresses to interfaces, as Spiderpool's `vethLinkAddress` does."""
    netlink.batch([f"addr replace {address}/{address.max_prefixlen} dev {name}" for name, address in cures])


def _write_native(commands: list[dict[str, Any]], replaced: str) -> Outcome:
    if commands:
        libnftables.apply(commands)
    return Outcome(bool(commands), "nftables", replaced)


def _write(plan: Plan, backend: Backend, change: Callable[[str, Version], str]) -> Outcome:
    programs, replaced = [], ""
    with _lock(backend) as lock:
        # of a version that is not captured rules of another plan may be left
        for version in _VERSIONS:
            program = _program(plan, backend, version, lock)
            if program is None:
                continue
            replaced += program.before
            if text := change(program.before, version):
                programs.append(_restore(program, text, backend, version, change))
    return Outcome(bool(programs), ", ".join(programs), replaced)


def _restore(
    program: iptables.Iptables,
    text: str,
    backend: Backend,
    version: Version,
    change: Callable[[str, Version], str],
) -> str:
    """Apply `text`, by another variant if this one turns out not to work here; the program that it was."""
    try:
        program.restore(text)
    except iptables.IptablesError:
        other = iptables.find(backend.variant, version, program.lock)
        if other.restore_program == program.restore_program:
            raise
        other.restore(change(other.before, version))
        return other.restore_program
    return program.restore_program


def _program(plan: Plan, backend: Backend, version: Version, lock: str) -> iptables.Iptables | None:
    """The iptables of one IP version; None where the plan does without, and the machine as well."""
    try:
        return iptables.find(backend.variant, version, lock, probing=False)
    except iptables.IptablesError:
        if version in plan.versions:
            raise
        return None


def _lock(backend: Backend) -> contextlib.AbstractContextManager[str]:
    return iptables.lock_of_its_own() if backend.own_lock else contextlib.nullcontext("")


def _set_up(plan: Plan) -> bool:
    """Addresses and routing that rules need; whether any was lacking."""
    return _run(_lacking(plan))


def _lacking(plan: Plan) -> list[_Line]:
    """The `ip` commands that make good what is not there."""
    lines: list[_Line] = []
    if plan.loopback_addresses:
        present = _of_loopback()
        lines += [(6, f"addr replace {one}/128 dev lo") for one in plan.loopback_addresses if one not in present]
    for version in plan.versions if plan.routed else ():
        if not _has_route(plan.marked, version):
            lines.append((version, f"route replace {_route(plan.marked, version)}"))
        if not _has_rule(plan.marked, version):
            lines.append((version, f"rule add {_selector(plan.marked)}"))
    return lines


def _take_down(plan: Plan) -> bool:
    present = _of_loopback()
    lines: list[_Line] = [(6, f"addr del {one}/128 dev lo") for one in plan.loopback_addresses if one in present]
    return _run([*lines, *_unrouting(plan.marked)])


def _unrouting(marked: MarkedIsLocal) -> list[_Line]:
    rules = [(one, f"rule del {_selector(marked)}") for one in _VERSIONS if _has_rule(marked, one)]
    routes = [(one, f"route del {_route(marked, one)}") for one in _VERSIONS if _has_route(marked, one)]
    return rules + routes


def _run(lines: Sequence[_Line]) -> bool:
    for version in _VERSIONS:
        netlink.batch([line for of, line in lines if of == version], ipv6=version == 6)
    return bool(lines)


def _of_loopback() -> set[IPv4Address | IPv6Address]:
    return {address.ip for one in interfaces() if one.name == LOOPBACK for address in one.addresses}


def _selector(marked: MarkedIsLocal) -> str:
    return f"fwmark {marked.mark} lookup {marked.table}"


def _route(marked: MarkedIsLocal, version: Version) -> str:
    return f"local {_EVERYWHERE[version]} dev lo table {marked.table}"


def _has_rule(marked: MarkedIsLocal, version: Version) -> bool:
    return any(
        rule.get("fwmark") == hex(marked.mark) and rule.get("table") == str(marked.table)
        for rule in netlink.show([f"-{version}", "rule"])
    )


def _has_route(marked: MarkedIsLocal, version: Version) -> bool:
    try:
        routes = netlink.show([f"-{version}", "route", "show", "table", str(marked.table)])
    except netlink.NetlinkError:
        # a table without routes does not exist, and to ask for it is an error
        return False
    return any(route.get("type") == "local" and route.get("dst") == "default" for route in routes)
