"""NetworkPolicies with real packets: rules in the nodes, servers in the pods, clients everywhere."""

import asyncio
import sys
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cluster.network.conftest import HERE, Lan, Place, call

from weft.cluster.network.objects import Named
from weft.cluster.network.policies import Pod, Policy, State, isolated
from weft.cluster.network.policy_keeper import Keeper
from weft.cluster.network.policy_rules import TABLE, ruleset
from weft.cluster.network.ruleset import ruleset as service_rules

NODES = ("weft", "weft-2")
Spec = dict[str, Any]


def pod(lan: Lan, number: int, namespace: str, **spec: Any) -> Pod:
    """`pods[number]` of the LAN as an object, labelled `app: podN`."""
    ports = [{"name": "say", "containerPort": 8080}, {"name": "ask", "containerPort": 8053, "protocol": "UDP"}]
    wanted = {"nodeName": NODES[number // 2], "containers": [{"name": "c", "ports": ports}], **spec}
    labels = {"app": f"pod{number}"}
    metadata = {"name": f"pod{number}", "namespace": namespace, "labels": labels}
    status = {"phase": "Running", "podIP": lan.pods[number].ip}
    return msgspec.convert({"metadata": metadata, "spec": wanted, "status": status}, Pod)


def policy(name: str = "one", namespace: str = "a", **spec: Any) -> Policy:
    metadata = {"name": name, "namespace": namespace}
    return msgspec.convert({"metadata": metadata, "spec": {"podSelector": {}} | spec}, Policy)


def state(lan: Lan, *policies: Policy) -> State:
    """pod0 and pod2 in namespace `a`, pod1 and pod3 in `b`: each on both nodes."""
    pods = [pod(lan, number, "ab"[number % 2]) for number in range(4)]
    namespaces = [msgspec.convert({"metadata": {"name": name, "labels": {"team": name}}}, Named) for name in "ab"]
    return State(
        {(one.metadata.namespace, one.metadata.name): one for one in policies},
        {(one.metadata.namespace, one.metadata.name): one for one in pods},
        {("", one.metadata.name): one for one in namespaces},
    )


def apply(lan: Lan, *policies: Policy) -> None:
    for place, name in zip(lan.nodes, NODES, strict=True):
        # what is dropped is refused here, so that nobody has to wait for what does not come
        rules = ruleset(isolated(state(lan, *policies), name))
        rules = rules.replace("    drop", "    meta l4proto tcp reject with tcp reset\n    drop")
        services = service_rules([])  # without them the kernel tracks no connections; a node always has them
        done = place.run("nft", "-f", "-", text=services + rules)
        assert done.returncode == 0, done.stderr


def reaches(lan: Lan, client: Place, number: int, protocol: str = "tcp") -> bool:
    (said,) = call(client, lan.pods[number].ip, port=8080 if protocol == "tcp" else 8053, protocol=protocol)
    assert said.split()[0] in {f"pod{number}", "ConnectionRefusedError", "TimeoutError"}, said
    return said.startswith("pod")


FROM_POD2 = {"podSelector": {"matchLabels": {"app": "pod2"}}}
TEAM_B = {"namespaceSelector": {"matchLabels": {"team": "b"}}}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"policyTypes": ["Ingress"]}, []),
        ({"policyTypes": ["Egress"]}, [1, 3]),
        ({"ingress": [{}]}, [1, 2, 3]),
        ({"ingress": [{"from": [FROM_POD2]}]}, [2]),
        ({"ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "pod3"}}}]}]}, []),
        ({"ingress": [{"from": [TEAM_B]}]}, [1, 3]),
        ({"ingress": [{"from": [TEAM_B | {"podSelector": {"matchLabels": {"app": "pod3"}}}]}]}, [3]),
        ({"ingress": [{"from": [TEAM_B, FROM_POD2]}]}, [1, 2, 3]),
        ({"ingress": [{"from": [{"namespaceSelector": {}}]}]}, [1, 2, 3]),
        ({"ingress": [{"from": [{"ipBlock": {"cidr": "10.244.1.0/24"}}]}]}, [2, 3]),
        ({"ingress": [{"from": [{"ipBlock": {"cidr": "10.244.0.0/16", "except": ["10.244.1.13/32"]}}]}]}, [1, 2]),
        ({"ingress": [{"from": [{"ipBlock": {"cidr": "no range"}}]}]}, []),
        ({"ingress": [{"ports": [{"port": 8080}]}]}, [1, 2, 3]),
        ({"ingress": [{"ports": [{"port": "say"}]}]}, [1, 2, 3]),
        ({"ingress": [{"ports": [{"port": 8000, "endPort": 8100}]}]}, [1, 2, 3]),
        ({"ingress": [{"ports": [{"port": 81}]}]}, []),
        ({"ingress": [{"ports": [{"port": "unknown"}]}]}, []),
        ({"ingress": [{"ports": [{"protocol": "UDP"}]}]}, []),
        ({"ingress": [{"from": [FROM_POD2], "ports": [{"port": 81}]}, {"from": [TEAM_B]}]}, [1, 3]),
        ({"ingress": [], "podSelector": {"matchLabels": {"app": "pod2"}}}, [1, 2, 3]),
    ],
)
def test_a_pod_is_reached_by_whom_its_policies_allow(
    lan: Lan, servers: None, spec: Spec, expected: list[int]
) -> None:
    apply(lan, policy(**spec))

    assert [number for number in (1, 2, 3) if reaches(lan, lan.pods[number], 0)] == expected
    assert reaches(lan, lan.pods[0], 0), "itself it always reaches"
    assert reaches(lan, lan.nodes[0], 0), "and its own node, which asks for its health"
    assert reaches(lan, lan.pods[1], 3), "who is not isolated is as before"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"policyTypes": ["Egress"]}, []),
        ({"egress": [{"to": [TEAM_B]}], "policyTypes": ["Egress"]}, [1, 3]),
        ({"egress": [{"to": [FROM_POD2]}], "policyTypes": ["Egress"]}, [2]),
        ({"egress": [{"to": [TEAM_B], "ports": [{"port": "say"}]}], "policyTypes": ["Egress"]}, [1, 3]),
        ({"egress": [{"to": [TEAM_B], "ports": [{"port": "other"}]}], "policyTypes": ["Egress"]}, []),
        ({"egress": [{"ports": [{"port": "say"}]}], "policyTypes": ["Egress"]}, [1, 2, 3]),
        ({"egress": [{"ports": [{"port": 443}]}], "policyTypes": ["Egress"]}, []),
        ({"egress": [{"to": [{"ipBlock": {"cidr": "10.244.1.12/32"}}]}], "policyTypes": ["Egress"]}, [2]),
    ],
)
def test_a_pod_reaches_whom_its_policies_allow(lan: Lan, servers: None, spec: Spec, expected: list[int]) -> None:
    apply(lan, policy(**spec))

    assert [number for number in (1, 2, 3) if reaches(lan, lan.pods[0], number)] == expected
    assert reaches(lan, lan.pods[1], 0), "answers go back to whoever may ask"


def test_datagrams_are_judged_as_connections_are(lan: Lan, servers: None) -> None:
    apply(lan, policy(ingress=[{"from": [TEAM_B], "ports": [{"protocol": "UDP", "port": "ask"}]}]))

    assert reaches(lan, lan.pods[1], 0, "udp")
    assert not reaches(lan, lan.pods[2], 0, "udp")
    assert not reaches(lan, lan.pods[1], 0)


def test_what_one_of_several_policies_allows_is_allowed(lan: Lan, servers: None) -> None:
    apply(lan, policy("deny", policyTypes=["Ingress"]), policy("b", ingress=[{"from": [TEAM_B]}]))

    assert [number for number in (1, 2, 3) if reaches(lan, lan.pods[number], 0)] == [1, 3]


def test_both_ends_must_allow_it(lan: Lan, servers: None) -> None:
    out = policy("out", egress=[{"to": [TEAM_B]}], policyTypes=["Egress"])
    into = policy("into", "b", ingress=[{"from": [{"podSelector": {}}]}])
    apply(lan, out, into)
    assert not reaches(lan, lan.pods[0], 3), "it may go, but not come in"
    assert reaches(lan, lan.pods[1], 3)

    apply(lan, out)
    assert reaches(lan, lan.pods[0], 3)


def test_the_machine_and_other_nodes_are_outside(lan: Lan, servers: None) -> None:
    apply(lan, policy(policyTypes=["Ingress"]))
    assert not reaches(lan, lan.machine, 0)
    assert not reaches(lan, lan.nodes[1], 0)

    apply(lan, policy(ingress=[{"from": [{"ipBlock": {"cidr": "192.168.49.0/24"}}]}]))
    assert reaches(lan, lan.machine, 0)
    assert reaches(lan, lan.nodes[1], 0)


async def test_a_connection_goes_on_and_a_new_one_is_judged_anew(lan: Lan, servers: None) -> None:
    apply(lan)
    words = ["nsenter", f"--net=/run/netns/{lan.pods[2].namespace}", sys.executable, str(HERE / "call.py")]
    process = await asyncio.create_subprocess_exec(
        *words, "tcp", lan.pods[0].ip, "8080", "60", "keep", stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout
    assert await process.stdout.readline()
    apply(lan, policy(policyTypes=["Ingress"]))
    assert not reaches(lan, lan.pods[2], 0)
    output, _ = await process.communicate()
    assert set(output.decode().splitlines()) == {f"pod0 {lan.pods[2].ip}"}


def test_without_policies_there_is_no_table(lan: Lan) -> None:
    apply(lan, policy(policyTypes=["Ingress"]))
    assert lan.nodes[0].run("nft", "list", "table", "ip", TABLE).returncode == 0
    apply(lan)
    assert lan.nodes[0].run("nft", "list", "table", "ip", TABLE).returncode != 0


def test_pods_with_their_nodes_network_or_without_an_address_are_not_isolated(lan: Lan) -> None:
    hosted = pod(lan, 0, "a", hostNetwork=True)
    waiting = msgspec.structs.replace(pod(lan, 0, "a"), status=type(hosted.status)())
    for one in (hosted, waiting):
        found = State({("a", "one"): policy(policyTypes=["Ingress"])}, {("a", "pod0"): one}, {})
        assert isolated(found, "weft") == []


async def test_rules_wait_for_the_whole_picture_and_then_follow_it(lan: Lan) -> None:
    applied: list[str] = []

    async def apply_(text: str) -> None:
        applied.append(text)

    async def until(count: int) -> None:
        async with asyncio.timeout(5):
            while len(applied) < count:
                await asyncio.sleep(0.005)

    keeper = Keeper("weft", apply_)
    task = asyncio.create_task(keeper.keep())
    whole = state(lan, policy(policyTypes=["Ingress"]))
    keeper.show(State(), "policies")
    await until(1)
    keeper.show(State(policies=whole.policies), "policies")
    await asyncio.sleep(0.1)
    assert applied == [ruleset([])], "nobody knows yet which pods there are"
    keeper.show(whole, "pods", "namespaces")
    await until(2)
    assert "a/pod0" in applied[1]
    keeper.show(State(pods=whole.pods, namespaces=whole.namespaces))
    await until(3)
    assert applied[2] == ruleset([])
    task.cancel()


RANGES = st.sampled_from(["0.0.0.0/0", "10.0.0.0/8", "10.244.0.0/24", "10.244.0.11/32", "::/0", "x", "10.1.1.1/8"])


@given(st.lists(st.tuples(RANGES, st.lists(RANGES, max_size=3)), max_size=4))
def test_any_mixture_of_ranges_gives_rules_without_overlaps(blocks: list[tuple[str, list[str]]]) -> None:
    peers = [{"ipBlock": {"cidr": cidr, "except": besides}} for cidr, besides in blocks]
    one = {"metadata": {"name": "p", "namespace": "a"}, "spec": {"nodeName": "n", "containers": []}}
    found = State(
        {("a", "one"): policy(ingress=[{"from": [*peers, {"podSelector": {}}]}])},
        {("a", "p"): msgspec.convert(one | {"status": {"podIP": "10.244.0.11"}}, Pod)},
    )
    ((allowed,),) = (each.allowed for each in isolated(found, "n"))
    assert allowed.peers
    assert len(set(allowed.peers)) == len(allowed.peers)
