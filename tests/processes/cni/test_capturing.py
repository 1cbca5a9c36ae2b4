"""A pod's traffic captured from outside it, in real network namespaces."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.netns import Pod, pods

from weft.processes.cni import capturing
from weft.processes.cni.capturing import WrongNamespaceError
from weft.redirect.pod import RedirectError

BACKENDS = pytest.mark.parametrize("native", [False, True], ids=["iptables", "nftables"])


@pytest.fixture(scope="module")
def namespaces() -> Iterator[list[Pod]]:
    with pods(3) as made:
        yield made


def pod(*environment: tuple[str, str], **annotations: str) -> dict[str, Any]:
    """A pod as the webhook leaves it."""
    written = {name.replace("_", "."): value for name, value in annotations.items()}
    env = [{"name": name, "value": value} for name, value in environment]
    return {
        "metadata": {
            "name": "web",
            "namespace": "shop",
            "annotations": {"sidecar.istio.io/status": "{}"} | written,
        },
        "spec": {"containers": [{"name": "istio-proxy", "args": ["proxy", "sidecar"], "env": env}]},
    }


def path(of: Pod) -> str:
    return f"/run/netns/{of.namespace}"


@BACKENDS
def test_a_captured_namespace_lacks_nothing_and_capturing_again_changes_nothing(
    namespaces: list[Pod], *, native: bool
) -> None:
    here, how = namespaces[int(native)], capturing.backend(native=native)
    wanted = pod(("ISTIO_META_DNS_CAPTURE", "true"))
    lacking = capturing.missing(wanted, path(here), how)
    first = capturing.apply(wanted, path(here), how)
    assert first.changed
    assert len(lacking) >= len(first.plan.rules)
    assert capturing.missing(wanted, path(here), how) == ()
    assert not capturing.apply(wanted, path(here), how).changed
    rules = here.run("nft", "list", "ruleset") if native else here.run("iptables-save")
    assert "15006" in rules
    # queries to whatever resolver the pod has: the node's own are not the pod's
    assert "udp dport 53 redirect to :15053" in rules or "--dport 53 -j REDIRECT --to-ports 15053" in rules


def test_a_pod_that_asks_for_nonsense_is_told_of_the_annotation(namespaces: list[Pod]) -> None:
    wrong = pod()
    wrong["metadata"]["annotations"]["traffic.sidecar.istio.io/excludeOutboundPorts"] = "ninety"
    with pytest.raises(RedirectError, match=r"traffic\.sidecar\.istio\.io/excludeOutboundPorts"):
        capturing.apply(wrong, path(namespaces[2]))
    assert "ISTIO" not in namespaces[2].run("iptables-save")


def test_the_network_of_the_node_is_never_captured() -> None:
    with pytest.raises(WrongNamespaceError, match="left alone"):
        capturing.apply(pod(), "/proc/self/ns/net")
    with pytest.raises(WrongNamespaceError):
        capturing.missing(pod(), "/proc/self/ns/net")


def test_an_interface_that_would_swallow_traffic_is_told_of_and_cured_where_the_pod_says_so(
    namespaces: list[Pod],
) -> None:
    here, other = namespaces[2], namespaces[0]
    here.run("ip", "link", "add", "veth0", "type", "veth", "peer", "name", "veth0", "netns", other.namespace)
    here.run("ip", "link", "set", "veth0", "up")
    (problem,) = capturing.apply(pod(), path(here)).problems
    assert problem.at.name == "veth0"
    cured = capturing.apply(pod(("VETH_LINK_ADDRESS", "169.254.100.1")), path(here))
    assert [(name, str(address)) for name, address in cured.addresses] == [("veth0", "169.254.100.1")]
    assert cured.problems == ()


def test_what_is_no_network_namespace_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for wrong in (tmp_path / "file", tmp_path / "missing"):
        with pytest.raises(OSError, match=wrong.name):
            capturing.apply(pod(), str(wrong))
