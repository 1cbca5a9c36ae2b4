"""`istio-iptables`: set up the capture of a pod's traffic, in the network namespace it runs in."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from weft.adapters import iptables, resolv_conf
from weft.redirect import flags, render
from weft.redirect.plan import plan
from weft.redirect.rules import Plan

_IPV6_ADDRESSES = Path("/proc/net/if_inet6")


def main(argv: Sequence[str], environment: Mapping[str, str] = os.environ) -> int:
    """Apply what Istio's flags say. 0 when the rules are in place, 1 with one line on stderr when not."""
    try:
        _run(flags.parse(argv, environment, resolv_conf.read().nameservers))
    except (flags.FlagError, iptables.IptablesError) as error:
        sys.stderr.write(f"istio-iptables: {error}\n")
        return 1
    return 0


def _run(command: flags.Command) -> None:
    wanted = plan(command.capture)
    if command.dry_run:
        sys.stdout.write(render.explanation(wanted))
        return
    if address := _global_ipv6():
        # fail closed: such a pod's IPv6 traffic would go past the proxy unseen
        raise iptables.IptablesError(
            f"the pod has the IPv6 address {address}, and IPv6 is not captured. Run the pod with IPv4 only."
        )
    tables = iptables.find(command.binary)
    saved = tables.save()
    change = render.removal(wanted, saved) if command.cleanup else render.transaction(wanted, saved)
    if not change:
        sys.stderr.write("istio-iptables: nothing to do, the rules are as they should be\n")
        return
    tables.restore(change)
    _verify(tables, command, wanted)


def _verify(tables: iptables.Iptables, command: flags.Command, wanted: Plan) -> None:
    if command.cleanup:
        return
    missing = render.missing(wanted, tables.save())
    if missing:
        raise iptables.IptablesError(f"the kernel did not take: {missing[0]}")
    sys.stderr.write(f"istio-iptables: {len(wanted.rules)} rules in place ({tables.restore_program})\n")


def _global_ipv6() -> str:
    """A global IPv6 address of this namespace, or "". Scope 00 is global (proc(5), if_inet6)."""
    try:
        entries = _IPV6_ADDRESSES.read_text(encoding="ascii").splitlines()
    except OSError:
        return ""
    return next((fields[0] for fields in map(str.split, entries) if fields[3] == "00"), "")
