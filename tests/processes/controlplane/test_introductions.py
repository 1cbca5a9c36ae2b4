"""What nobody may claim who is bound to no pod: the names and addresses of pods."""

import pytest
from tests.model.objects import JSON, pod, snapshot_of

from weft.pki.identity import SpiffeId
from weft.processes.controlplane.configuring import introduced
from weft.processes.controlplane.connection import Client
from weft.processes.controlplane.introductions import claims_another
from weft.xds.wire import Node


def running_as(account: str, name: str, address: str) -> JSON:
    made = pod(name, address)
    made["spec"]["serviceAccountName"] = account
    return made


MESH = snapshot_of(running_as("teller", "web-1", "10.244.0.1"), running_as("boss", "vault-1", "10.244.0.2"))
TELLER = SpiffeId("cluster.local", "shop", "teller")


def client(name: str, address: str, *, bound: bool = False, identity: SpiffeId | None = TELLER) -> Client:
    node = Node(f"sidecar~{address}~{name}.shop~shop.svc.cluster.local", "", {"NAMESPACE": "shop"})
    return Client(node, identity, "ipv4:192.0.2.7:1", bound=bound)


@pytest.mark.parametrize(
    ("name", "address", "said"),
    [
        ("vault-1", "10.244.0.9", "the pod shop/vault-1 does not run as teller"),
        ("machine", "10.244.0.2", "10.244.0.2 is the address of a pod, and machine.shop is none"),
    ],
)
def test_a_machine_takes_no_pods_name_and_no_pods_address(name: str, address: str, said: str) -> None:
    assert claims_another(MESH, client(name, address)) == said


def test_a_machine_of_its_own_name_and_address_is_let_in() -> None:
    assert claims_another(MESH, client("machine", "192.0.2.7")) == ""


def test_a_pod_is_let_in_by_its_accounts_proof_or_by_its_own() -> None:
    assert claims_another(MESH, client("web-1", "10.244.0.1")) == ""
    assert claims_another(MESH, client("new", "10.244.0.2", bound=True)) == ""


def test_what_came_before_the_pod_whose_name_it_took_is_configured_as_itself() -> None:
    early = introduced(MESH, client("vault-1", "192.0.2.7"))
    assert (early.service_account, early.address, early.labels) == ("teller", "192.0.2.7", ())
    vault = SpiffeId("cluster.local", "shop", "boss")
    assert introduced(MESH, client("vault-1", "192.0.2.7", identity=vault)).address == "10.244.0.2"
