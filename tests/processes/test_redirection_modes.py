"""istio-iptables beyond the rules of a plain pod: modes, IPv6, native nftables, validation, interfaces."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.istio_iptables import INJECTED, empty_namespace, istio_iptables, run, saved
from tests.support.netns import Pod, pods

# the one right that is left: this tree may lie where nobody else may read
_READS = ("--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search", "--clear-groups")
AS_PROXY = ("setpriv", "--reuid=1337", "--regid=1337", *_READS)
AS_APPLICATION = ("setpriv", "--reuid=1000", "--regid=1000", *_READS)
VALIDATE = ("--skip-rule-apply", "--run-validation", "--probe-timeout", "1s")


@pytest.fixture
def namespace() -> Iterator[str]:
    with empty_namespace() as name:
        yield name


@pytest.fixture
def pod() -> Iterator[Pod]:
    with pods(1) as (only,):
        yield only


def tables(namespace: str) -> set[str]:
    listed = json.loads(run(namespace, "nft", "--json", "list", "tables").stdout)["nftables"]
    return {part["table"]["name"] for part in listed if "table" in part}


def test_native_nftables_are_written_once_and_taken_away(namespace: str) -> None:
    native = (*INJECTED, "--native-nftables")
    assert "rules in place (nftables)" in istio_iptables(namespace, *native).stderr
    assert "nothing to do" in istio_iptables(namespace, *native).stderr
    text = run(namespace, "nft", "list", "table", "inet", "istio-proxy-nat").stdout
    assert 'ip daddr 127.0.0.1 return comment "localhost stays local"' in text
    assert "ISTIO" not in saved(namespace, "nft")
    assert "rules taken away" in istio_iptables(namespace, *native, "--cleanup-only").stderr
    assert tables(namespace) == set()


def test_native_nftables_that_drifted_are_replaced_and_those_of_others_stay(namespace: str) -> None:
    native = (*INJECTED, "--native-nftables")
    assert istio_iptables(namespace, *native).returncode == 0
    run(namespace, "nft", "add table inet theirs; flush chain inet istio-proxy-nat istio-output")
    assert "rules in place" in istio_iptables(namespace, *native, "--reconcile").stderr
    assert "everything else that goes out is captured" in run(namespace, "nft", "list", "ruleset").stdout
    assert tables(namespace) == {"istio-proxy-nat", "theirs"}


def test_cleanup_takes_the_rules_whichever_way_they_were_written(namespace: str) -> None:
    assert istio_iptables(namespace, *INJECTED, "--native-nftables").returncode == 0
    assert istio_iptables(namespace, *INJECTED).returncode == 0
    done = istio_iptables(namespace, "--cleanup-only")
    assert done.returncode == 0, done.stderr
    assert "nftables, " in done.stderr
    assert "istio-proxy-nat" not in tables(namespace)
    assert "ISTIO" not in saved(namespace, "nft")


def test_tproxy_brings_its_routing_and_takes_it_back(namespace: str) -> None:
    transparent = ["TPROXY" if part == "REDIRECT" else part for part in INJECTED]
    done = istio_iptables(namespace, *transparent)
    assert done.returncode == 0, done.stderr
    assert "-j TPROXY --on-port 15006" in saved(namespace, "nft", "mangle")
    assert "fwmark 0x539 lookup 133" in run(namespace, "ip", "rule").stdout
    assert "local default dev lo" in run(namespace, "ip", "route", "show", "table", "133").stdout
    assert "nothing to do" in istio_iptables(namespace, *transparent).stderr
    # another mode does not leave it behind
    assert istio_iptables(namespace, *INJECTED).returncode == 0
    assert "fwmark" not in run(namespace, "ip", "rule").stdout
    assert "TPROXY" not in saved(namespace, "nft", "mangle")


@pytest.mark.parametrize("native", [(), ("--native-nftables",)], ids=["iptables", "nftables"])
def test_validation_finds_what_is_captured_and_what_is_not(pod: Pod, native: tuple[str, ...]) -> None:
    command = (sys.executable, "-m", "weft", "istio-iptables", *INJECTED, *native)
    for user in (AS_PROXY, AS_APPLICATION):
        missing = run(pod.namespace, *user, *command, *VALIDATE)
        assert missing.returncode == 126, missing.stderr
        assert "does not reach the proxy's port" in missing.stderr
    assert run(pod.namespace, *command).returncode == 0
    inbound = run(pod.namespace, *AS_PROXY, *command, *VALIDATE)
    assert inbound.returncode == 0, inbound.stderr
    assert f"into the pod, to {pod.address} port 15002, reaches the proxy's port 15006" in inbound.stderr
    outbound = run(pod.namespace, *AS_APPLICATION, *command, *VALIDATE)
    assert outbound.returncode == 0, outbound.stderr
    assert "out of the pod, to 192.0.2.1 port 15002, reaches the proxy's port 15001" in outbound.stderr


def test_validation_says_so_where_the_proxy_has_its_port_already(pod: Pod) -> None:
    command = (sys.executable, "-m", "weft", "istio-iptables", *INJECTED)
    with socket_in(pod, 15006):
        done = run(pod.namespace, *AS_PROXY, *command, *VALIDATE)
    assert done.returncode == 1
    assert "cannot listen on port 15006" in done.stderr


def socket_in(pod: Pod, port: int) -> socket.socket:
    from weft.adapters import netns

    return netns.inside(pod.namespace, lambda: socket.create_server(("", port)))


def test_a_pod_with_ipv6_has_it_captured_without_being_asked(pod: Pod) -> None:
    pod.run("ip", "addr", "add", "fd77::7/64", "dev", "eth0", "nodad")
    done = istio_iptables(pod.namespace, *INJECTED, "--run-validation")
    assert done.returncode == 0, done.stderr
    six = saved(pod.namespace, "nft", program="ip6tables")
    assert "-A ISTIO_OUTPUT -s ::6/128 -o lo -j RETURN\n" in six
    assert "-A ISTIO_OUTPUT -d ::1/128 -j RETURN\n" in six
    assert "127.0.0" not in six
    assert "inet6 ::6/128" in pod.run("ip", "-6", "addr", "show", "dev", "lo")
    assert istio_iptables(pod.namespace, *INJECTED, "--cleanup-only").returncode == 0
    assert "ISTIO" not in saved(pod.namespace, "nft", program="ip6tables")
    assert "::6" not in pod.run("ip", "-6", "addr", "show", "dev", "lo")


def test_rules_are_written_into_another_namespace_from_the_nodes_file_system(namespace: str) -> None:
    command = [sys.executable, "-m", "weft", "istio-iptables", *INJECTED, "--cni-mode", "--redirect-dns"]
    path = f"/run/netns/{namespace}"
    for variant in ("nft", "legacy"):
        flags = ["--network-namespace", path, "--force-iptables-binary", variant]
        subprocess.run([*command, *flags], check=True, timeout=60, capture_output=True)
        # the node's resolvers are not the pod's: all are captured
        wanted = "-A ISTIO_OUTPUT_DNS -p udp -m udp --dport 53 -j REDIRECT --to-ports 15053\n"
        assert wanted in saved(namespace, variant)
        subprocess.run([*command, *flags, "--cleanup-only"], check=True, timeout=60, capture_output=True)
    gone = subprocess.run(
        [*command, "--network-namespace", "/run/netns/nowhere"],
        timeout=60,
        capture_output=True,
        text=True,
        check=False,
    )
    assert gone.returncode == 1
    assert "/run/netns/nowhere" in gone.stderr


def test_an_interface_that_would_swallow_connections_is_told_of_and_cured_where_asked(pod: Pod) -> None:
    # as Spiderpool makes it: the node reaches the pod's address by a link of its own, which has no address
    pod.run("ip", "link", "add", "veth0", "type", "veth", "peer", "name", "host0")
    for link in ("veth0", "host0"):
        pod.run("ip", "link", "set", link, "up")
    told = istio_iptables(pod.namespace, *INJECTED, "-c", "host0")
    assert told.returncode == 0
    assert "[WEFT0008] (Interface/veth0): it has no IPv4 address" in told.stderr
    assert "host0" not in told.stderr
    cured = istio_iptables(pod.namespace, *INJECTED, "-c", "host0", "--veth-link-address", "169.254.100.1")
    assert "interface veth0 has the address 169.254.100.1 now" in cured.stderr
    assert "WEFT0008" not in cured.stderr
    assert "169.254.100.1/32" in pod.run("ip", "addr", "show", "dev", "veth0")


def test_a_cured_interface_really_delivers() -> None:
    """The pod has its address on eth0, and the node comes by veth0: the case that Spiderpool's users met."""
    with pods(2) as (pod, node):
        pod.run("ip", "link", "add", "veth0", "type", "veth", "peer", "name", "vpod", "netns", node.namespace)
        for where, link in ((pod, "veth0"), (node, "vpod")):
            where.run("ip", "link", "set", link, "up")
        pod.run("ip", "route", "add", f"{node.address}/32", "dev", "veth0", "src", pod.address)
        node.run("ip", "route", "add", f"{pod.address}/32", "dev", "vpod", "src", node.address)
        assert istio_iptables(pod.namespace, *INJECTED).returncode == 0
        with socket_in(pod, 15006):
            assert connect(node, pod.address, seconds=1) == "TimeoutError"
            cured = istio_iptables(pod.namespace, *INJECTED, "--veth-link-address", "169.254.100.1")
            assert cured.returncode == 0
            assert connect(node, pod.address, seconds=15) == "connected"


def connect(pod: Pod, address: str, *, seconds: float) -> str:
    code = f"""import socket
try:
    socket.create_connection(({address!r}, 8080), {seconds}); print("connected")
except OSError as error: print(type(error).__name__)"""
    return pod.run("/usr/bin/python3", "-I", "-S", "-c", code).strip()


def test_what_fits_no_connection_gets_no_reset_where_it_is_dropped() -> None:
    with pods(2) as (pod, other):
        # else the kernel takes a stray segment for a connection that it has missed
        pod.run("sh", "-c", "echo 0 > /proc/sys/net/netfilter/nf_conntrack_tcp_loose")
        script = str(Path(__file__).parent / "stray_segment.py")
        assert istio_iptables(pod.namespace, *INJECTED).returncode == 0
        assert other.run(sys.executable, script, other.address, pod.address).strip() == "reset"
        assert istio_iptables(pod.namespace, *INJECTED, "--drop-invalid").returncode == 0
        assert other.run(sys.executable, script, other.address, pod.address).strip() == "silence"


def test_a_dry_run_is_text_that_the_programs_themselves_take(namespace: str) -> None:
    both = istio_iptables(namespace, *INJECTED, "--dual-stack", "--dry-run").stdout
    four, six = both.split("# ip6tables-restore --noflush\n")
    assert run(namespace, "iptables-nft-restore", "--noflush", stdin=four).returncode == 0
    assert run(namespace, "ip6tables-nft-restore", "--noflush", stdin=six).returncode == 0
    native = istio_iptables(namespace, *INJECTED, "--native-nftables", "--dry-run").stdout
    assert run(namespace, "nft", "--json", "--file", "-", stdin=native).returncode == 0
    assert tables(namespace) >= {"istio-proxy-nat"}
