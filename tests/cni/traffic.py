"""The connections of the redirect API's table, made for real between a pod and the world beside it."""

from collections.abc import Sequence

from tests.cni.redirection import Traffic
from tests.redirect.kernel import World

from weft.redirect.capture import Address
from weft.redirect.decide import Packet


def disagreements(shown: Sequence[Traffic], world: World, pod: Address, peer: Address) -> list[str]:
    """The connections that did not end where the table says, each with what became of it.

    `peer` is an address of the world, from which connections into the pod come.
    """
    fates = world.fates([_packet(one, pod, peer) for one in shown])
    return [f"{one}: {fate}" for one, fate in zip(shown, fates, strict=True) if not _as_expected(one, fate)]


def _as_expected(one: Traffic, fate: str) -> bool:
    return fate.startswith("captured") if one.captured else fate == "untouched"


def _packet(one: Traffic, pod: Address, peer: Address) -> tuple[bool, Packet]:
    if one.way == "in":
        return True, Packet(peer, pod, one.port)
    destination = type(pod)(one.address)
    return False, Packet(pod, destination, one.port, tcp=one.way == "out", uid=one.uid, gid=one.gid)
