"""A plan as iptables text, spelled exactly as iptables-save spells it, so that texts can be compared.

Each IP version has tables of its own, hence a text of its own.
"""

import re
from typing import Final

from weft.redirect.rules import (
    Accept,
    ByGroup,
    ByUser,
    Chain,
    Change,
    ConnectionMarked,
    Destination,
    Drop,
    Enters,
    Established,
    Invalid,
    Jump,
    Leaves,
    Mark,
    Marked,
    Match,
    Owner,
    Plan,
    Redirect,
    RestoreMark,
    Return,
    Rule,
    SaveMark,
    Source,
    State,
    Table,
    Tcp,
    ToPort,
    ToPorts,
    Transparent,
    Transport,
    UdpFrom,
    UdpTo,
    Verdict,
    Version,
    Zone,
)

_OWN_PREFIX: Final = "ISTIO_"
_LET_BE: Final = re.compile(r"-A (PREROUTING|OUTPUT) (-d \S+ )?-[io] \S+ (-p tcp -m tcp --dport \d+ )?-j RETURN")
# every plan with rules has them, though a rule may be in none
_CHAINS: Final = tuple(
    chain
    for chain in Chain
    if chain.table is Table.NAT and not chain.is_hook and chain is not Chain.ISTIO_OUTPUT_DNS
)
_ALL_BITS: Final = "0xffffffff"


def lines(plan: Plan, table: Table = Table.NAT, version: Version = 4) -> tuple[str, ...]:
    """The plan's rules in one table, one `-A CHAIN …` line each."""
    return tuple(_line(rule, version) for rule in _of(plan, table, version))


def missing(plan: Plan, saved: str, version: Version = 4) -> tuple[str, ...]:
    """The rules of the plan that are not in `saved`."""
    return tuple(
        line
        for table in Table
        for line in lines(plan, table, version)
        if line not in _section(saved, table).splitlines()
    )


def explanation(plan: Plan, version: Version = 4) -> str:
    """The plan as a whole text for iptables-restore: each rule after a comment that gives its reason."""
    return "".join(_explained(plan, table, version) for table in Table if lines(plan, table, version))


def transaction(plan: Plan, saved: str, version: Version = 4, *, force: bool = False) -> str:
    """What `iptables-restore --noflush` must be fed so that the tables hold the plan; "" if they do.

    `saved` is what `iptables-save` says now. Rules of others are left alone. `force` writes what is there again.
    """
    return "".join(_transaction(plan, table, version, _section(saved, table), force=force) for table in Table)


def removal(plan: Plan, saved: str, version: Version = 4) -> str:
    """What takes the plan's rules and chains away again; "" if there are none."""
    return "".join(_removal(lines(plan, table, version), table, _section(saved, table)) for table in Table)


def _of(plan: Plan, table: Table, version: Version) -> tuple[Rule, ...]:
    if version not in plan.versions:
        return ()
    return tuple(rule for rule in plan.rules if rule.chain.table is table and rule.concerns(version))


def _explained(plan: Plan, table: Table, version: Version) -> str:
    rules = "".join(f"# {rule.reason}\n{_line(rule, version)}\n" for rule in _of(plan, table, version))
    chains = "".join(f":{chain} - [0:0]\n" for chain in sorted(_used(plan, table, version)))
    return f"*{table}\n{chains}{rules}COMMIT\n"


def _used(plan: Plan, table: Table, version: Version) -> set[str]:
    """The chains of our own in a table."""
    used = {str(rule.chain) for rule in _of(plan, table, version) if not rule.chain.is_hook}
    targets = (rule.verdict.chain for rule in _of(plan, table, version) if isinstance(rule.verdict, Jump))
    always = {str(chain) for chain in _CHAINS} if table is Table.NAT else set()
    return used | always | {str(chain) for chain in targets}


def _transaction(plan: Plan, table: Table, version: Version, saved: str, *, force: bool) -> str:
    wanted = lines(plan, table, version)
    if not wanted:
        return _removal(wanted, table, saved)
    used = _used(plan, table, version)
    present = _present(saved, table, wanted)
    unused = _own_chains(saved, table, but=used)
    if present == wanted and not unused and not force:
        return ""
    # naming a chain of one's own creates or empties it (iptables-restore(8), --noflush)
    chains = [f":{chain} - [0:0]" for chain in (*sorted(used), *unused)]
    stale = [_deletion(line) for line in present if _in_hook(line)]
    gone = [f"-X {chain}" for chain in unused]
    return "\n".join([f"*{table}", *chains, *stale, *wanted, *gone, "COMMIT", ""])


def _removal(wanted: tuple[str, ...], table: Table, saved: str) -> str:
    present = _present(saved, table, wanted)
    chains = _own_chains(saved, table, but=set())
    if not present and not chains:
        return ""
    stale = [_deletion(line) for line in present if _in_hook(line)]
    emptied = [f":{chain} - [0:0]" for chain in chains]
    return "\n".join([f"*{table}", *emptied, *stale, *(f"-X {chain}" for chain in chains), "COMMIT", ""])


def _section(saved: str, table: Table) -> str:
    """The part of iptables-save's text that is about one table."""
    _, _, rest = f"\n{saved}".partition(f"\n*{table}\n")
    return rest.partition("\nCOMMIT")[0]


def _own_chains(saved: str, table: Table, *, but: set[str]) -> list[str]:
    names = (str(chain) for chain in Chain if chain.table is table and not chain.is_hook)
    return [name for name in names if f":{name} " in saved and name not in but]


def _present(saved: str, table: Table, wanted: tuple[str, ...]) -> tuple[str, ...]:
    """The rules that are there and ours, whatever plan they came from.

    What goes by an interface may be let be by a rule that names no chain of ours (`-i net1 -j RETURN`): it is ours
    where such chains are.
    """
    some = bool(_own_chains(saved, table, but=set()))
    return tuple(
        line
        for line in saved.splitlines()
        if line.startswith("-A ")
        and (f" {_OWN_PREFIX}" in line or line in wanted or (some and _LET_BE.fullmatch(line)))
    )


def _in_hook(line: str) -> bool:
    return not line.startswith(f"-A {_OWN_PREFIX}")


def _deletion(line: str) -> str:
    return f"-D {line.removeprefix('-A ')}"


def _line(rule: Rule, version: Version) -> str:
    ordered = sorted(rule.matches, key=_position)
    return " ".join([f"-A {rule.chain}", *(_match(match) for match in ordered), _verdict(rule.verdict, version)])


def _position(match: Match) -> int:
    """iptables-save prints addresses, then interfaces, the protocol, and the other matches."""
    match match:
        case Source():
            return 0
        case Destination():
            return 1
        case Enters():
            return 2
        case Leaves():
            return 3
        case Tcp() | ToPort() | ToPorts() | UdpTo() | UdpFrom():
            return 4
        case ByUser() | ByGroup() | Marked() | ConnectionMarked() | Established() | Invalid():
            return 5


def _match(match: Match) -> str:
    match match:
        case Source(network):
            return f"-s {network}"
        case Destination(network, negated):
            return f"{_bang(negated)}-d {network}"
        case Enters(interface):
            return f"-i {interface}"
        case Leaves(interface):
            return f"-o {interface}"
        case Tcp() | ToPort() | ToPorts() | UdpTo() | UdpFrom():
            return _transport(match)
        case ByUser() | ByGroup():
            return _owner(match)
        case Marked() | ConnectionMarked() | Established() | Invalid():
            return _state(match)


def _transport(match: Transport) -> str:
    match match:
        case Tcp():
            return "-p tcp"
        case ToPort(port, negated):
            return f"-p tcp -m tcp {_bang(negated)}--dport {port}"
        case ToPorts(none_of):
            return f"-p tcp -m multiport ! --dports {','.join(map(str, none_of))}"
        case UdpTo(port):
            return f"-p udp -m udp --dport {port}"
        case UdpFrom(port):
            return f"-p udp -m udp --sport {port}"


def _owner(match: Owner) -> str:
    match match:
        case ByUser(uid, negated):
            return f"-m owner {_bang(negated)}--uid-owner {uid}"
        case ByGroup(gid, negated):
            return f"-m owner {_bang(negated)}--gid-owner {gid}"


def _state(match: State) -> str:
    match match:
        case Marked(mark, negated):
            return f"-m mark {_bang(negated)}--mark {mark:#x}"
        case ConnectionMarked(mark):
            return f"-m connmark --mark {mark:#x}"
        case Established():
            return "-m conntrack --ctstate RELATED,ESTABLISHED"
        case Invalid():
            return "-m conntrack --ctstate INVALID"


def _bang(negated: bool) -> str:  # noqa: FBT001 -- the one thing this function is about
    return "! " if negated else ""


def _verdict(verdict: Verdict, version: Version) -> str:
    match verdict:
        case Jump(chain):
            return f"-j {chain}"
        case Return():
            return "-j RETURN"
        case Accept():
            return "-j ACCEPT"
        case Drop():
            return "-j DROP"
        case Redirect(port):
            return f"-j REDIRECT --to-ports {port}"
        case Transparent(port, mark):
            anywhere = "0.0.0.0" if version == 4 else "::"
            return f"-j TPROXY --on-port {port} --on-ip {anywhere} --tproxy-mark {mark:#x}/{_ALL_BITS}"
        case Zone() | Mark() | SaveMark() | RestoreMark():
            return _change(verdict)


def _change(change: Change) -> str:
    match change:
        case Zone(number):
            return f"-j CT --zone {number}"
        case Mark(mark):
            return f"-j MARK --set-xmark {mark:#x}/{_ALL_BITS}"
        case SaveMark():
            return f"-j CONNMARK --save-mark --nfmask {_ALL_BITS} --ctmask {_ALL_BITS}"
        case RestoreMark():
            return f"-j CONNMARK --restore-mark --nfmask {_ALL_BITS} --ctmask {_ALL_BITS}"
