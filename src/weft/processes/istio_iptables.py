"""`istio-iptables`: set up the capture of a pod's traffic, in the network namespace it runs in or another."""

import grp
import json
import os
import pwd
import sys
from collections.abc import Mapping, Sequence
from typing import Final

from weft.adapters import probing as prober
from weft.adapters import redirection, resolv_conf
from weft.redirect import flags, nftables, probing, render
from weft.redirect.interfaces import Interface, cures, swallowing
from weft.redirect.plan import plan
from weft.redirect.rules import Plan

NOT_CAPTURED: Final = 126
"""The exit code that Istio's CNI looks for: this pod's traffic is not captured, so it must not start."""


class NotCaptured(RuntimeError):  # noqa: N818 -- it is what has been found, not a failure of the program
    """Validation has found that connections are not captured."""


def main(argv: Sequence[str], environment: Mapping[str, str] = os.environ) -> int:
    """Do what Istio's flags say. 0 when it is done, 126 when validation fails, else 1 with a line on stderr."""
    if not {"-h", "--help"}.isdisjoint(argv):
        sys.stdout.write(flags.usage())
        return 0
    try:
        return redirection.inside(flags.namespace(argv, environment), lambda: _run(argv, environment))
    except NotCaptured as found:
        _say(str(found))
        return NOT_CAPTURED
    except (flags.FlagError, prober.ProbeError, *redirection.Errors) as error:
        _say(str(error))
        return 1
    except OSError as error:
        _say(f"{error}")
        return 1


def _run(argv: Sequence[str], environment: Mapping[str, str]) -> int:
    interfaces = redirection.interfaces()
    command = flags.parse(argv, environment, _host(interfaces))
    wanted = plan(command.capture)
    if command.dry_run:
        sys.stdout.write(_explanation(wanted, command))
        return 0
    backend = redirection.Backend(command.native, command.binary, own_lock=command.cni)
    if not command.skip_rules:
        _apply(command, wanted, backend, interfaces)
    if command.validate:
        _validate(command, wanted, interfaces)
    return 0


def _apply(
    command: flags.Command, wanted: Plan, backend: redirection.Backend, interfaces: Sequence[Interface]
) -> None:
    if command.cleanup:
        done = redirection.remove(wanted, backend)
        _say(f"rules taken away ({done.program})" if done.changed else "nothing to do, there are no rules of ours")
        return
    _mind(command, interfaces)
    done = redirection.apply(wanted, backend, force=command.force)
    if not done.changed:
        _say("nothing to do, the rules are as they should be")
        return
    if missing := redirection.missing(wanted, backend):
        raise redirection.IptablesError(f"the kernel did not take: {missing[0]}")
    _say(f"{len(wanted.rules)} rules in place ({done.program})")


def _mind(command: flags.Command, interfaces: Sequence[Interface]) -> None:
    """Find interfaces that would swallow what is redirected, and cure those that we may."""
    found = swallowing(command.capture, interfaces)
    given = tuple(cures(found, command.link_addresses))
    redirection.give_addresses(given)
    for name, address in given:
        _say(f"interface {name} has the address {address} now")
    for one in swallowing(command.capture, redirection.interfaces()) if given else found:
        _say(str(one.problem()))


def _validate(command: flags.Command, wanted: Plan, interfaces: Sequence[Interface]) -> None:
    uid, gid = os.geteuid(), os.getegid()
    wanted_probes = probing.probes(command.capture, wanted, interfaces, command.probe_port, uid, gid)
    if not wanted_probes:
        _say(f"nothing to validate: user {uid} of this pod makes no connection that is to be captured")
        return
    for finding in prober.run(wanted_probes, command.probe_seconds):
        probe = finding.probe
        place = f"{probe.about}, to {probe.destination} port {probe.port}"
        if finding.impossible:
            _say(f"not validated: there is no way {place}")
            continue
        if finding.failure:
            raise NotCaptured(
                f"a connection {place}, does not reach the proxy's port {probe.lands_on}: {finding.failure}. "
                "This pod must not start outside the mesh. With the CNI plugin this happens where a pod comes "
                "before its node is ready: delete the pod, and it is made anew where the plugin works."
            )
        _say(f"validated: a connection {place}, reaches the proxy's port {probe.lands_on}")


def _explanation(wanted: Plan, command: flags.Command) -> str:
    if command.native:
        return json.dumps({"nftables": nftables.transaction(wanted, ())}, indent=1) + "\n"
    texts = {version: render.explanation(wanted, version) for version in wanted.versions}
    programs = {4: "iptables-restore", 6: "ip6tables-restore"}
    return "".join(f"# {programs[version]} --noflush\n{text}" for version, text in texts.items())


def _host(interfaces: Sequence[Interface]) -> flags.Host:
    found = resolv_conf.read()
    return flags.Host(
        resolvers=(*found.nameservers, *found.ipv6_nameservers),
        has_ipv6=any(one.reaches(6) for one in interfaces),
        users={user.pw_name: user.pw_uid for user in pwd.getpwall()},
        groups={group.gr_name: group.gr_gid for group in grp.getgrall()},
    )


def _say(message: str) -> None:
    sys.stderr.write(f"istio-iptables: {message}\n")
