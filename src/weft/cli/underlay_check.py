"""`weft underlay check`: what a packet from a pod would do and why, and what is wrong with the networks."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weft.cli.options import fail
from weft.cli.reach import Kubeconfig, Namespace, NotThereError, ask

if TYPE_CHECKING:
    from weft.adapters.kube.client import Kube
    from weft.base.problem import Problem
    from weft.cli.underlay_sight import Cluster, Target
    from weft.underlay.addresses import Address
    from weft.underlay.observed import Version
    from weft.underlay.paths.verdicts import Verdict

Json = dict[str, Any]

HEADER = ("TO", "ADDRESS", "FROM", "VERDICT", "WHY")


@dataclass(frozen=True, slots=True)
class Row:
    """One destination, or one address of the pod that a packet comes to."""

    to: str
    address: "Address"
    verdict: "Verdict"
    counts: bool = True
    """Whether something is wrong where it is dropped: some clusters have no way out, and need none."""

    @property
    def cells(self) -> tuple[str, ...]:
        """In the table's columns."""
        source = self.verdict.source
        word = str(self.verdict.word)
        return self.to, str(self.address), str(source or ""), word, self.verdict.reason

    @property
    def as_json(self) -> Json:
        """For `-o json`."""
        there, back = self.verdict.there, self.verdict.back
        return {
            "to": self.to,
            "address": str(self.address),
            "source": str(self.verdict.source or ""),
            "verdict": str(self.verdict.word),
            "reason": self.verdict.reason,
            "hint": self.verdict.hint,
            "there": [{"place": step.place, "text": step.text} for step in there.steps],
            "back": [{"place": step.place, "text": step.text} for step in back.steps] if back else [],
        }


def register(group: typer.Typer) -> None:
    """Add `check` to the group."""
    group.command("check")(check)


def check(
    pod: Annotated[
        str, typer.Argument(metavar="[POD]", help="POD or POD.NAMESPACE; without it all networks.")
    ] = "",
    to: Annotated[
        str, typer.Option("--to", metavar="ADDRESS|POD|svc/NAME|node/NAME", help="Follow a packet to there.")
    ] = "",
    from_: Annotated[
        str, typer.Option("--from", metavar="ADDRESS|POD|node/NAME", help="Follow a packet from there to the pod.")
    ] = "",
    outside: Annotated[
        str, typer.Option("--outside", metavar="ADDRESS", help="An address outside that is to be reached.")
    ] = "",
    namespace: Namespace = "",
    output: Annotated[str, typer.Option("--output", "-o", help="json, or a table.")] = "",
    kubeconfig: Kubeconfig = "",
) -> None:
    """Say what a packet from a pod would do, and why; nothing is sent.

    Without `--to` and `--from` it goes to the usual destinations. Without a pod, all objects of underlay networks
    are looked through for what does not fit. The exit code is 1 where something is dropped or wrong.
    """
    from weft.underlay.paths.verdicts import Word

    if output not in {"", "json"}:
        fail(f'--output "{output}" is not known.', "Leave it out, or write json.")
    if not pod:
        if to or from_:
            fail("--to and --from are about a pod.", "Name it: weft underlay check POD --to ADDRESS")
        _tell_problems(ask(kubeconfig, _analyse), output)
        return
    wanted = Wanted(pod, namespace, to, from_, outside)
    rows, problems = ask(kubeconfig, lambda kube: _checked(kube, wanted))
    if output:
        print(json.dumps({"rows": [row.as_json for row in rows], "problems": list(map(str, problems))}, indent=2))
    elif to or from_:
        _tell_steps(rows)
    else:
        _tell_table(rows, wanted)
    if not output:
        for problem in problems:
            print(problem)
    if any(row.counts and row.verdict.word in {Word.DROPPED, Word.ANSWER_DROPPED} for row in rows):
        raise typer.Exit(1)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked."""

    pod: str
    namespace: str
    to: str
    from_: str
    outside: str


async def _checked(kube: "Kube", wanted: Wanted) -> tuple[list[Row], list["Problem"]]:
    from weft.cli.underlay_sight import Cluster, outer

    cluster = await Cluster.read(kube)
    pod = await cluster.named(wanted.pod, wanted.namespace)
    name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
    problems = [each for each in await _analyse(kube) if _is_about(each, name, namespace)]
    own = cluster.pod(pod)
    if not own.node:
        raise NotThereError(f"{own.name} is on no node yet. See: kubectl describe pod {name} -n {namespace}")
    sight = await cluster.look(own.node, pod)
    if sight.pod is None:
        told = "".join(f" {each}" for each in problems)
        see = f"See: kubectl describe pod {name} -n {namespace}"
        raise NotThereError(f"{own.name} cannot be looked into: {sight.why}.{told} {see}")
    if wanted.from_:
        rows = await _rows_from(cluster, own, await cluster.resolve(wanted.from_, namespace))
    elif wanted.to:
        target = await cluster.resolve(wanted.to, namespace)
        rows = await _rows_to(cluster, own, [(target.name, target)])
    else:
        rows = await _rows_to(cluster, own, [*cluster.usual(pod), *outer(sight.pod, wanted.outside)])
        rows = [replace(row, counts=bool(wanted.outside) or row.to != "outside") for row in rows]
    return rows, [*problems, *_swallowed(problems, name, namespace, sight.swallows)]


def _swallowed(
    problems: Iterable["Problem"], name: str, namespace: str, swallows: Iterable[tuple[str, "Version"]]
) -> list["Problem"]:
    """Interfaces that were found to swallow connections, unless that was to be expected anyway."""
    from weft.underlay.pod_analysis import swallowing

    found = [swallowing(namespace, name, interface, version) for interface, version in swallows]
    told = {each.message for each in problems}
    return [each for each in found if each.message not in told]


def _is_about(problem: "Problem", name: str, namespace: str) -> bool:
    at = problem.at
    return at.kind == "SpiderCoordinator" or (at.kind, at.namespace, at.name) == ("Pod", namespace, name)


async def _rows_to(cluster: "Cluster", own: "Target", targets: Iterable[tuple[str, "Target"]]) -> list[Row]:
    from weft.underlay.paths.verdicts import verdict
    from weft.underlay.paths.walking import Packet

    wanted = list(targets)
    for _, target in wanted:
        await cluster.see(target)
    world = cluster.world()
    versions = {address.version for address in own.addresses}
    return [
        Row(
            target.name if called in {target.name, "outside"} else f"{called}: {target.name}",
            address,
            verdict(world, world.place(own.name), Packet(address)),
        )
        for called, target in wanted
        for address in target.addresses
        if address.version in versions
    ]


async def _rows_from(cluster: "Cluster", own: "Target", source: "Target") -> list[Row]:
    from weft.underlay.paths.verdicts import from_outside, verdict
    from weft.underlay.paths.walking import Packet

    await cluster.see(source)
    world = cluster.world()
    seen = {place.name for place in world.places}
    rows = []
    for address in own.addresses:
        if source.name in seen:
            rows.append(Row(own.name, address, verdict(world, world.place(source.name), Packet(address))))
            continue
        for each in source.addresses:
            if each.version == address.version:
                found = from_outside(world, world.place(f"node {own.node}"), Packet(address, each))
                rows.append(Row(own.name, address, found))
                break
    return rows


async def _analyse(kube: "Kube") -> tuple["Problem", ...]:
    import asyncio

    from weft.adapters.kube import kinds
    from weft.adapters.kube.client import ApiError
    from weft.underlay.analysis import Objects, problems

    wanted = (
        kinds.SPIDERIPPOOLS,
        kinds.SPIDERSUBNETS,
        kinds.SPIDERRESERVEDIPS,
        kinds.SPIDERMULTUSCONFIGS,
        kinds.SPIDERCOORDINATORS,
        kinds.NETWORKATTACHMENTS,
        kinds.PODS,
        kinds.NODES,
        kinds.NAMESPACES,
    )
    try:
        lists = await asyncio.gather(*(kube.list(kind) for kind in wanted))
    except ApiError as error:
        if error.code != 404:
            raise
        raise NotThereError(
            "the cluster has no underlay networks: their kinds are not installed. "
            "Install them: weft underlay manifest | kubectl apply -f -"
        ) from error
    return problems(Objects({kind.kind: listed for kind, listed in zip(wanted, lists, strict=True)}))


def _tell_problems(problems: Iterable["Problem"], output: str) -> None:
    from weft.base.problem import Severity

    found = list(problems)
    if output:
        print(json.dumps([_problem(each) for each in found], indent=2))
    elif not found:
        print("Nothing is wrong with the underlay networks. See a pod: weft underlay check POD")
    else:
        for each in found:
            print(each)
    if any(each.severity is Severity.ERROR for each in found):
        raise typer.Exit(1)


def _problem(each: "Problem") -> Json:
    at = each.at
    return {
        "code": each.code,
        "severity": str(each.severity),
        "object": "/".join(part for part in (at.kind, at.namespace, at.name) if part),
        "field": at.field,
        "message": each.message,
        "hint": each.hint,
    }


def _tell_steps(rows: Iterable[Row]) -> None:
    for row in rows:
        verdict = row.verdict
        print(f"{verdict.source or '?'} -> {row.address} ({row.to})")
        for line in verdict.lines():
            print(line)
        print(f"{verdict.word}: {verdict.reason}")
        if verdict.hint:
            print(verdict.hint)
        print()


def _tell_table(rows: list[Row], wanted: Wanted) -> None:
    from weft.cli.proxy_tables import table

    print(table(HEADER, [row.cells for row in rows], gap=3))
    for hint in dict.fromkeys(row.verdict.hint for row in rows if row.verdict.hint):
        print(hint)
    where = f" -n {wanted.namespace}" if wanted.namespace else ""
    print(f"See each step: weft underlay check {wanted.pod}{where} --to {rows[0].address if rows else 'ADDRESS'}")
