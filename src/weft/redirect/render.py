"""A plan as iptables text, spelled exactly as iptables-save spells it, so that texts can be compared."""

from weft.redirect.rules import (
    OWN_CHAINS,
    ByGroup,
    ByUser,
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
    Tcp,
    ToPort,
    Verdict,
)

_OWN_PREFIX = "ISTIO_"


def lines(plan: Plan) -> tuple[str, ...]:
    """The plan's rules, one `-A CHAIN …` line each."""
    return tuple(_line(rule) for rule in plan.rules)


def explanation(plan: Plan) -> str:
    """The plan for people: each rule after a comment that gives its reason."""
    return "".join(f"# {rule.reason}\n{_line(rule)}\n" for rule in plan.rules)


def transaction(plan: Plan, saved: str) -> str:
    """What `iptables-restore --noflush` must be fed so that the nat table holds the plan; "" if it does.

    `saved` is what `iptables-save -t nat` says now. Rules of others are left alone.
    """
    wanted = lines(plan)
    present = tuple(line for line in _rules(saved) if _is_ours(line, wanted))
    if present == wanted:
        return ""
    # naming a chain of one's own creates or empties it (iptables-restore(8), --noflush)
    chains = [f":{chain} - [0:0]" for chain in OWN_CHAINS]
    stale = [_deletion(line) for line in present if _in_hook(line)]
    return "\n".join(["*nat", *chains, *stale, *wanted, "COMMIT", ""])


def removal(plan: Plan, saved: str) -> str:
    """What takes the plan's rules and chains away again; "" if there are none."""
    present = [line for line in _rules(saved) if _is_ours(line, lines(plan))]
    chains = [chain for chain in OWN_CHAINS if f":{chain} " in saved]
    if not present and not chains:
        return ""
    stale = [_deletion(line) for line in present if _in_hook(line)]
    emptied = [f":{chain} - [0:0]" for chain in chains]
    return "\n".join(["*nat", *emptied, *stale, *(f"-X {chain}" for chain in chains), "COMMIT", ""])


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
    return " ".join(parts)


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
        case Tcp() | ToPort():
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
        case Tcp():
            return "-p tcp"
        case ToPort(port, negated):
            return f"-p tcp -m tcp {_bang(negated)}--dport {port}"
        case ByUser(uid, negated):
            return f"-m owner {_bang(negated)}--uid-owner {uid}"
        case ByGroup(gid, negated):
            return f"-m owner {_bang(negated)}--gid-owner {gid}"


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
