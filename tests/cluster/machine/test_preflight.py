"""What preflight says, and the way out that it names."""

from ipaddress import IPv4Network
from pathlib import Path

import pytest

from weft.cluster.machine import facts
from weft.cluster.machine.layout import Layout
from weft.cluster.machine.preflight import FEATURES, PACKAGES, Facts, Network, check

HOME = Path("/srv/weft")


def said(layout: Layout, found: Facts) -> list[str]:
    return [str(trouble) for trouble in check(layout, found)]


def test_a_machine_with_everything_is_fine() -> None:
    assert said(Layout(HOME), Facts()) == []


def test_without_root_only_that_is_said() -> None:
    (line,) = said(Layout(HOME), Facts(root=False, missing=frozenset({"nft"})))

    assert "sudo weft up" in line


def test_missing_programs_are_one_line_per_package() -> None:
    lines = said(Layout(HOME), Facts(missing=frozenset({"/usr/lib/cni/ptp", "/usr/lib/cni/portmap", "runc"})))

    assert lines == [
        "/usr/lib/cni/portmap, /usr/lib/cni/ptp not found. Try: apt-get install containernetworking-plugins",
        "runc not found. Try: apt-get install runc",
    ]


@pytest.mark.parametrize("feature", FEATURES)
def test_a_missing_feature_is_named_with_what_the_kernel_said(feature: str) -> None:
    (line,) = said(Layout(HOME), Facts(failed_features={feature: "Operation not supported"}))

    assert FEATURES[feature] in line
    assert "Operation not supported" in line
    assert "modprobe" in line


def test_a_taken_port_names_the_option() -> None:
    (line,) = said(Layout(HOME, api_port=7000), Facts(api_port_taken=True))

    assert "Port 7000" in line
    assert "weft up --api-port 7001" in line


@pytest.mark.parametrize(
    ("network", "option"),
    [
        (Network(IPv4Network("10.244.3.0/24"), "route by tun0"), "--pod-cidr 10.42.0.0/16"),
        (Network(IPv4Network("10.0.0.0/8"), "route by tun0"), "--pod-cidr 172.30.0.0/16"),
        (Network(IPv4Network("10.96.0.0/12"), "address of eth1"), "--service-cidr 10.43.0.0/16"),
        (Network(IPv4Network("192.168.0.0/16"), "address of wlan0"), "--node-cidr 172.29.49.0/24"),
    ],
)
def test_a_taken_range_names_who_has_it_and_a_free_one(network: Network, option: str) -> None:
    lines = said(Layout(HOME), Facts(networks=(network,)))

    assert any(network.use in line and line.endswith(f"weft up {option}") for line in lines), lines


def test_a_default_route_takes_nothing() -> None:
    assert said(Layout(HOME), Facts(networks=(Network(IPv4Network("0.0.0.0/0"), "route by eth0"),))) == []


def test_ranges_that_overlap_each_other_are_refused() -> None:
    (line,) = said(Layout(HOME, pods=IPv4Network("10.96.0.0/16")), Facts())

    assert "--pod-cidr 10.96.0.0/16 and --service-cidr 10.96.0.0/12 overlap" in line


def test_more_nodes_than_the_pod_range_holds_are_refused() -> None:
    (line,) = said(Layout(HOME, node_count=3, pods=IPv4Network("10.244.0.0/23")), Facts())

    assert "2 node(s)" in line


def test_this_machine_has_what_the_tests_need() -> None:
    """The probe itself, on the real kernel: it finds nothing wrong, and leaves nothing behind."""
    found = facts._features(Path("/tmp/no-such-home"))

    assert found == {}
    assert not list(Path("/tmp").glob(".weft-probe-*"))


def test_the_probe_reports_what_the_kernel_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "_PROBE", facts._PROBE.replace("try bridge ip link", "try bridge ip no-such-thing"))

    assert list(facts._features(tmp_path)) == ["bridge"]


def test_a_program_that_is_not_installed_is_found_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")

    missing = facts.gather(Layout(HOME), fresh=False).missing

    assert missing == {program for program in PACKAGES if not program.startswith("/")}
