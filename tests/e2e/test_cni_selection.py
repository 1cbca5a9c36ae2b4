"""The truth tables of selection and redirection, in pods that the CNI plugin attached: rules and connections."""

import contextlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

import pytest
from tests.cni import redirection, selection
from tests.cni.redirection import Traffic
from tests.cni.selection import Json
from tests.cni.traffic import disagreements
from tests.redirect.kernel import between
from tests.support.cluster import Cluster, eventually, run

_SELECTED, _REDIRECTED, _EXCLUDED = "selection", "redirection", "kube-system"
_PEER: Final = "peer"
_WORLD: Final = ("192.0.2.0/24", "198.51.100.0/24")
"""The addresses that the tables' connections lead to; they are the peer's for as long as this runs."""
_BOTH_WAYS: Final = (Traffic("in", 8080, captured=True), Traffic("out", 80, captured=True))


@dataclass(frozen=True)
class Running:
    """The pods that run, by namespace and name, each with its network namespace and address."""

    pods: dict[tuple[str, str], tuple[str, IPv4Address]]

    def rules(self, namespace: str, name: str) -> str:
        """What iptables has in the pod's network."""
        return run("nsenter", f"--net={self.pods[namespace, name][0]}", "iptables-save").stdout

    def wrong(self, namespace: str, name: str, shown: Sequence[Traffic]) -> list[str]:
        """The connections that did not end where they should."""
        (path, address), (peer_path, peer) = self.pods[namespace, name], self.pods[_SELECTED, _PEER]
        with between(path, peer_path) as world:
            return disagreements(shown, world, address, peer)


@pytest.fixture(scope="module")
def running(cluster: Cluster) -> Iterator[Running]:
    excluded = [case for case in selection.CASES if case.excluded]
    chosen = {
        _SELECTED: [case.pod for case in selection.CASES if not case.excluded] + [_peer()],
        _REDIRECTED: [case.pod for case in redirection.CASES],
        _EXCLUDED: [case.pod for case in excluded],
    }
    for namespace in (_SELECTED, _REDIRECTED):
        cluster.kubectl("create", "namespace", namespace)
    for namespace, pods in chosen.items():
        cluster.apply(namespace, *map(json.dumps, pods))
    found: dict[tuple[str, str], Json] = {}

    def run_all() -> bool:
        for namespace in chosen:
            found.update({(namespace, pod["metadata"]["name"]): pod for pod in cluster.objects("pods", namespace)})
        wanted = [(namespace, pod["metadata"]["name"]) for namespace, pods in chosen.items() for pod in pods]
        late = [key for key in wanted if found[key]["status"].get("phase") != "Running"]
        assert not late, late
        return True

    try:
        eventually(run_all, seconds=120)
        made = Running(_networks(found))
        with _leading_to_the_peer(made):
            yield made
    finally:
        for namespace in (_SELECTED, _REDIRECTED):
            cluster.kubectl("delete", "namespace", namespace, "--wait=false")
        for case in excluded:
            cluster.kubectl("delete", "pod", "-n", _EXCLUDED, case.name, "--wait=false")


def _peer() -> Json:
    made = selection.pod(_PEER)
    del made["metadata"]["annotations"]
    return made


def _networks(found: dict[tuple[str, str], Json]) -> dict[tuple[str, str], tuple[str, IPv4Address]]:
    processes: dict[str, str] = {}
    for group in Path("/proc").glob("[0-9]*/cgroup"):
        with contextlib.suppress(OSError):  # it has ended
            processes.update(
                dict.fromkeys(re.findall(r"pod([0-9a-f-]{36})/", group.read_text()), group.parent.name)
            )
    return {
        key: (f"/proc/{processes[pod['metadata']['uid']]}/ns/net", IPv4Address(pod["status"]["podIP"]))
        for key, pod in found.items()
        if pod["metadata"]["uid"] in processes
    }


@contextlib.contextmanager
def _leading_to_the_peer(made: Running) -> Iterator[None]:
    """The node sends the tables' addresses to the peer, which takes them for its own and answers."""
    (node, _), (peer, address) = made.pods[_SELECTED, "on-the-host"], made.pods[_SELECTED, _PEER]
    [way] = json.loads(run("nsenter", f"--net={node}", "ip", "-json", "route", "get", str(address)).stdout)
    routes: list[tuple[str, tuple[str, ...]]] = [(node, ("add", each, "dev", way["dev"])) for each in _WORLD]
    routes += [(peer, ("add", "local", each, "dev", "lo")) for each in _WORLD]
    for path, words in routes:
        done = run("nsenter", f"--net={path}", "ip", "route", *words)
        assert done.returncode == 0, done.stderr
    try:
        yield
    finally:
        for path, words in routes[: len(_WORLD)]:
            run("nsenter", f"--net={path}", "ip", "route", "del", *words[1:])


@pytest.mark.parametrize("case", selection.CASES, ids=lambda case: case.name)
def test_a_pod_is_captured_or_left_alone_as_the_table_says(running: Running, case: selection.Case) -> None:
    namespace = _EXCLUDED if case.excluded else _SELECTED
    assert ("ISTIO_OUTPUT" in running.rules(namespace, case.name)) == (not case.reason)
    if case.line != "host network":  # its traffic is the node's
        shown = [Traffic(one.way, one.port, captured=not case.reason) for one in _BOTH_WAYS]
        assert running.wrong(namespace, case.name, shown) == []


@pytest.mark.parametrize("case", redirection.CASES, ids=lambda case: case.name)
def test_connections_of_a_pod_end_where_its_annotations_lead_them(
    running: Running, case: redirection.Case
) -> None:
    assert ("ISTIO_OUTPUT" in running.rules(_REDIRECTED, case.name)) == (case.capture.get("mode") != "NONE")
    assert running.wrong(_REDIRECTED, case.name, case.shown) == []
