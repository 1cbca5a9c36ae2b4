"""Pods on an underlay LAN, reached by real packets after the coordinator has put their routes in order."""

import asyncio
from collections.abc import Iterator

import pytest
from tests.processes.underlay import scene as scenes
from tests.processes.underlay.scene import CLIENT, NODES, OUTSIDE, Pod, Scene

MACVLAN = {"type": "macvlan", "master": "ens192", "mode": "bridge"}
PTP = {"type": "ptp"}


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with scenes.running() as found:
        underlay(found, "one", "u1", 1)
        underlay(found, "one", "u2", 2)
        underlay(found, "two", "u3", 3)
        overlay(found, "one", "o1", 4)
        overlay(found, "two", "o2", 5)
        yield found


def underlay(scene: Scene, node: str, name: str, number: int) -> Pod:
    pod = scene.pod(node, name)
    pod.plug("eth0", MACVLAN, [f"10.6.212.{number}/16", f"fd00:6::2:{number}/64"])
    asyncio.run(scene.coordinator(node).add(pod.call("ADD", "eth0")))
    return pod


def overlay(scene: Scene, node: str, name: str, number: int) -> Pod:
    pod = scene.pod(node, name)
    index = list(NODES).index(node) + 1
    pod.plug("eth0", PTP, [f"10.244.{index}.{number}/24", f"fd00:244:{index}::{number}/64"])
    pod.plug("net1", MACVLAN, [f"10.6.212.{number}/16", f"fd00:6::2:{number}/64"])
    asyncio.run(scene.coordinator(node).add(pod.call("ADD", "net1")))
    return pod


def test_everybody_reaches_everybody(scene: Scene) -> None:
    """By IPv4 and IPv6; who asks is seen as itself, unless the overlay's node speaks for it."""
    wrong = []
    for place in (*NODES, "client", "outside", *scene.pods):
        for name, version, address in targets(scene, place):
            seen = scene.ask(place, address)
            # a node has several addresses, and hides its overlay's pods from the world
            if place not in NODES and name != "outside" and seen not in own(scene, place, version):
                wrong.append((place, name, address, seen))
            elif not seen:
                wrong.append((place, name, address, "nothing"))
    assert wrong == []


def targets(scene: Scene, place: str) -> Iterator[tuple[str, int, str]]:
    """What a place can reach: name, IP version, address."""
    for pod in scene.pods.values():
        for interface, addresses in pod.addresses.items():
            overlaid = interface == "eth0" and len(pod.addresses) > 1
            if not (overlaid and place in {"client", "outside"}):
                yield from ((pod.name, version, address) for version, address in addresses.items())
    for name, where in {"client": CLIENT, "outside": OUTSIDE, **NODES}.items():
        if place in scene.pods:
            yield from ((name, version, address) for version, address in where.items())


def own(scene: Scene, place: str, version: int) -> set[str]:
    if place in scene.pods:
        return {addresses[version] for addresses in scene.pods[place].addresses.values()}
    return {(CLIENT if place == "client" else OUTSIDE)[version]}
