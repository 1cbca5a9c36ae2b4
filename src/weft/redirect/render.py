"""A plan as iptables text, spelled exactly as iptables-save spells it, so that texts can be compared."""

from weft.redirect.rules import (
    ByGroup,
    ByUser,
    Chain,
    Destination,
    Enters,
    Jump,
    Leaves,
    Match,
    Plan,
    Redirect,
    Return,
    Rule,
    Source,
    Table,
    Tcp,
    ToPort,
    ToPorts,
    UdpFrom,
    UdpTo,
    Verdict,
    Zone,
)

_OWN_PREFIX = "ISTIO_"
# every plan has them, though a rule may be in none
_CHAINS = tuple(chain for chain in Chain if not chain.is_hook and chain is not Chain.ISTIO_OUTPUT_DNS)


def lines(plan: Plan, table: Table = Table.NAT) -> tuple[str, ...]:
    """The plan's rules in one table, one `-A CHAIN …` line each."""
    return tuple(_line(rule) for rule in plan.rules if rule.chain.table is table)


def missing(plan: Plan, saved: str) -> tuple[str, ...]:
    """The rules of the plan that are not in `saved`."""
    return tuple(
        line for table in Table for line in lines(plan, table) if line not in _section(saved, table).splitlines()
    )


def explanation(plan: Plan) -> str:
    """The plan for people: each rule after a comment that gives its reason."""
    return "".join(f"# {rule.reason}\n{_line(rule)}\n" for rule in plan.rules)


def transaction(plan: Plan, saved: str) -> str:
    """What `iptables-restore --noflush` must be fed so that the tables hold the plan; "" if they do.

    `saved` is what `iptables-save` says now. Rules of others are left alone.
    """
    return "".join(_transaction(plan, table, _section(saved, table)) for table in Table)


def removal(plan: Plan, saved: str) -> str:
    """What takes the plan's rules and chains away again; "" if there are none."""
    return "".join(_removal(lines(plan, table), table, _section(saved, table)) for table in Table)


def _transaction(plan: Plan, table: Table, saved: str) -> str:
    wanted = lines(plan, table)
    if not wanted:
        return _removal(wanted, table, saved)
    used = {str(rule.chain) for rule in plan.rules if not rule.chain.is_hook and rule.chain.table is table}
    if table is Table.NAT:
        used |= {str(chain) for chain in _CHAINS if chain.table is table}
    present = tuple(line for line in _rules(saved) if _is_ours(line, wanted))
    unused = _own_chains(saved, table, but=used)
    if present == wanted and not unused:
        return ""
    # naming a chain of one's own creates or empties it (iptables-restore(8), --noflush)
    chains = [f":{chain} - [0:0]" for chain in (*sorted(used), *unused)]
    stale = [_deletion(line) for line in present if _in_hook(line)]
    gone = [f"-X {chain}" for chain in unused]
    return "\n".join([f"*{table}", *chains, *stale, *wanted, *gone, "COMMIT", ""])


def _removal(wanted: tuple[str, ...], table: Table, saved: str) -> str:
    present = [line for line in _rules(saved) if _is_ours(line, wanted)]
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


def _rules(saved: str) -> list[str]:
    return [line for line in saved.splitlines() if line.startswith("-A ")]


def _is_ours(line: str, wanted: tuple[str, ...]) -> bool:
    return f" {_OWN_PREFIX}" in line or line in wanted


def _in_hook(line: str) -> bool:
    return not line.startswith(f"-A {_OWN_PREFIX}")


def _deletion(line: str) -> str:
    return f"-D {line.removeprefix('-A ')}"


def _line(rule: Rule) -> str:
    ordered = sorted(rule.matches, key=_position)
    parts = [f"-A {rule.chain}", *(_match(match) for match in ordered), _verdict(rule.verdict)]
    return " ".join(part for part in parts if part)


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
        case ByUser() | ByGroup():
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
        case ByUser(uid, negated):
            return f"-m owner {_bang(negated)}--uid-owner {uid}"
        case ByGroup(gid, negated):
            return f"-m owner {_bang(negated)}--gid-owner {gid}"


def _transport(match: Tcp | ToPort | ToPorts | UdpTo | UdpFrom) -> str:
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


def _bang(negated: bool) -> str:  # noqa: FBT001 -- the one thing this function is about
    return "! " if negated else ""


def _verdict(verdict: Verdict) -> str:
    match verdict:
        case Jump(chain):
            return f"-j {chain}"
        case Return():
            return "-j RETURN"
        case Redirect(port):
            return f"-j REDIRECT --to-ports {port}"
        case Zone(number):
            return f"-j CT --zone {number}"
