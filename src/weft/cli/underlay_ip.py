"""`weft underlay ip`: who has which address, and the repair of what pools say by hand."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import astuple, dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from weft.cli.options import fail
from weft.cli.proxy_tables import table
from weft.cli.reach import Kubeconfig, NotThereError, ask

if TYPE_CHECKING:
    from weft.adapters.kube.client import Kube
    from weft.underlay.addresses import Address
    from weft.underlay.ipam.allocation import State
    from weft.underlay.ipam.pools import Pool

Json = dict[str, Any]

Ip = Annotated[str, typer.Argument(metavar="IP", help="An address, as 10.6.212.202.")]
Force = Annotated[bool, typer.Option("--force", help="Also where a pod that is there has it.")]

HEADER = ("IP", "POOL", "POD", "INTERFACE", "NODE", "STATE")
_TRIES = 20


@dataclass(frozen=True, slots=True)
class Row:
    """One address that is taken. The state is that of the pod, or says that there is none."""

    ip: str
    pool: str
    pod: str
    interface: str
    node: str
    state: str


def register(group: typer.Typer) -> None:
    """Add `ip show`, `ip release` and `ip set`."""
    commands = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown")
    commands.command("show")(show)
    commands.command("release")(release)
    commands.command("set")(set_)
    group.add_typer(commands, name="ip", help="Show who has which address; give one back, or note one, by hand.")


def show(
    ip: Annotated[str, typer.Option("--ip", help="Only this address.", show_default=False)] = "",
    pool: Annotated[str, typer.Option("--pool", help="Only those of this SpiderIPPool.", show_default=False)] = "",
    kubeconfig: Kubeconfig = "",
) -> None:
    """List the addresses that pods have, by pool."""
    found = ask(kubeconfig, _taken)
    if pool and pool not in {name for name, _, _ in found}:
        fail(f'SpiderIPPool "{pool}" not found.', "See which there are: kubectl get sp")
    pods = ask(kubeconfig, _pods)
    rows = [row for name, _, state in found if pool in {"", name} for row in _rows(name, state, pods)]
    rows = [row for row in rows if ip in {"", row.ip}]
    if ip and not rows:
        print(f"{ip} is free, as far as pools tell.")
        return
    print(table(HEADER, [astuple(row) for row in rows], gap=3))


def release(ip: Ip, *, force: Force = False, kubeconfig: Kubeconfig = "") -> None:
    """Give an address back to its pool. Where the pod that has it is there, it would be given to a second one."""

    async def work(kube: "Kube") -> str:
        address = _address(ip)

        def change(state: "State", pods: Mapping[str, Json]) -> "State":
            holder = state.taken[address]
            pod = pods.get(holder.pod)
            if pod and pod["metadata"]["uid"] == holder.uid and not force:
                raise NotThereError(
                    f"{ip} is that of pod {holder.pod}, which is there. Delete the pod, or add --force where its "
                    "network does not have the address any more."
                )
            return replace(state, taken={key: one for key, one in state.taken.items() if key != address})

        name = await _changed(kube, address, change, taken=True)
        return f"{ip} is free in SpiderIPPool {name}."

    print(ask(kubeconfig, work))


def set_(
    ip: Ip,
    pod: Annotated[str, typer.Argument(metavar="NAMESPACE/POD", help="The pod whose network has it.")],
    interface: Annotated[str, typer.Option("--interface", help="Its interface there.", show_default=False)] = "",
    kubeconfig: Kubeconfig = "",
) -> None:
    """Note in its pool that a pod has an address, where the pool has lost it. The pod's network stays as it is."""

    async def work(kube: "Kube") -> str:
        from weft.underlay.ipam.allocation import Holder

        address = _address(ip)

        def change(state: "State", pods: Mapping[str, Json]) -> "State":
            if pod not in pods:
                raise NotThereError(f'pod "{pod}" not found. Write it as NAMESPACE/NAME.')
            holder, wanted = state.taken.get(address), Holder(pod, pods[pod]["metadata"]["uid"], interface)
            if holder and holder.pod != pod:
                raise NotThereError(
                    f"{ip} is that of pod {holder.pod}. Give it back first: weft underlay ip release {ip}"
                )
            return replace(state, taken={**state.taken, address: wanted})

        name = await _changed(kube, address, change, taken=False)
        return f"{ip} is that of pod {pod} in SpiderIPPool {name}."

    print(ask(kubeconfig, work))


def _address(text: str) -> "Address":
    from weft.underlay.addresses import NotAddressesError, parse_address

    try:
        return parse_address(text)
    except NotAddressesError as error:
        raise NotThereError(str(error)) from error


async def _taken(kube: "Kube") -> "list[tuple[str, Pool, State]]":
    return [(pool.name, pool, state) for _, pool, state in await _pools(kube)]


async def _pools(kube: "Kube") -> "list[tuple[Json, Pool, State]]":
    """All pools as objects, as they are decided on, and who has what of them."""
    from weft.adapters.kube.kinds import SPIDERIPPOOLS
    from weft.api.spider_ippool import SpiderIPPool
    from weft.underlay.ipam import pool_status, pools
    from weft.underlay.ipam.pool_status import UnreadableStatusError

    found = []
    for obj in await kube.list(SPIDERIPPOOLS):
        decoded = msgspec.convert(obj, SpiderIPPool)
        try:
            found.append((obj, pools.read(decoded), pool_status.read(decoded.metadata.name, decoded.status)))
        except (UnreadableStatusError, ValueError) as error:
            raise NotThereError(str(error)) from error
    return sorted(found, key=lambda each: each[1].name)


async def _pods(kube: "Kube") -> dict[str, Json]:
    from weft.adapters.kube.kinds import PODS

    return {f"{pod['metadata']['namespace']}/{pod['metadata']['name']}": pod for pod in await kube.list(PODS)}


def _rows(pool: str, state: "State", pods: Mapping[str, Json]) -> Iterator[Row]:
    for address, holder in sorted(state.taken.items(), key=lambda each: int(each[0])):
        pod = pods.get(holder.pod)
        node = pod["spec"].get("nodeName", "") if pod else ""
        yield Row(str(address), pool, holder.pod, holder.interface, node, _state(pod, holder.uid))


def _state(pod: Json | None, uid: str) -> str:
    if pod is None:
        return "no such pod"
    if pod["metadata"]["uid"] != uid:
        return "another pod of that name"
    if pod["metadata"].get("deletionTimestamp"):
        return "Terminating"
    return str(pod.get("status", {}).get("phase", "Pending"))


async def _changed(kube: "Kube", address: "Address", change: Any, *, taken: bool) -> str:
    """Change the pool of an address, however others change it meanwhile; the pool's name."""
    from weft.adapters.kube.client import ApiError
    from weft.adapters.kube.kinds import SPIDERIPPOOLS
    from weft.underlay.ipam import pool_status

    for _ in range(_TRIES):
        obj, pool, state = _of(address, await _pools(kube), taken=taken)
        wanted = pool_status.patch(pool, change(state, await _pods(kube)))
        patch = {"metadata": {"resourceVersion": obj["metadata"]["resourceVersion"]}, "status": wanted}
        try:
            await kube.patch(SPIDERIPPOOLS, pool.name, patch, subresource="status")
        except ApiError as error:
            if error.code != 409:
                raise
        else:
            return pool.name
    raise NotThereError(f"SpiderIPPool {pool.name} is changed all the time by others. Try again.")


def _of(
    address: "Address", found: "Iterable[tuple[Json, Pool, State]]", *, taken: bool
) -> "tuple[Json, Pool, State]":
    """The pool that an address is taken of, or where it need not be, that it could be."""
    pools = list(found)
    having = [each for each in pools if address in each[2].taken]
    having += [each for each in pools if not taken and address in each[1].addresses]
    if not having:
        what = "is taken in" if taken else "is an address of"
        raise NotThereError(f"{address} {what} no SpiderIPPool. See which there are: kubectl get sp")
    return having[0]
