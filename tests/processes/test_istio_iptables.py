"""The real kernel, in network namespaces of the test's own."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.istio_iptables import INJECTED, empty_namespace, istio_iptables, run, saved

VARIANTS = ("nft", "legacy")

# the pod of the walkthrough: what `iptables-save -t nat` shows, counters aside
WALKTHROUGH = (Path(__file__).parent / "istio_iptables.txt").read_text()


@pytest.fixture
def namespace() -> Iterator[str]:
    with empty_namespace() as name:
        yield name


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_pods_rules_are_those_of_the_walkthrough(namespace: str, variant: str) -> None:
    done = istio_iptables(namespace, *INJECTED, "--force-iptables-binary", variant)
    assert done.returncode == 0, done.stderr
    assert saved(namespace, variant) == WALKTHROUGH


@pytest.mark.parametrize("variant", VARIANTS)
def test_twice_is_once(namespace: str, variant: str) -> None:
    for _ in range(2):
        done = istio_iptables(namespace, *INJECTED, "--force-iptables-binary", variant)
        assert done.returncode == 0, done.stderr
    assert "nothing to do" in done.stderr
    assert saved(namespace, variant) == WALKTHROUGH


@pytest.mark.parametrize("variant", VARIANTS)
def test_changed_flags_replace_the_rules_and_leave_those_of_others(namespace: str, variant: str) -> None:
    foreign = "*nat\n:THEIRS - [0:0]\n-A PREROUTING -p udp -j THEIRS\nCOMMIT\n"
    assert run(namespace, f"iptables-{variant}-restore", "--noflush", stdin=foreign).returncode == 0
    first = istio_iptables(
        namespace, "-i", "10.0.0.0/8", "-b", "80", "-c", "net1", "--force-iptables-binary", variant
    )
    assert first.returncode == 0, first.stderr
    assert "-A ISTIO_OUTPUT -d 10.0.0.0/8 -j ISTIO_REDIRECT\n" in saved(namespace, variant)
    second = istio_iptables(namespace, *INJECTED, "--force-iptables-binary", variant)
    assert second.returncode == 0, second.stderr
    after = saved(namespace, variant)
    assert after.count("-j ISTIO_INBOUND") == 1
    assert "10.0.0.0/8" not in after
    assert "-A PREROUTING -p udp -j THEIRS\n" in after


@pytest.mark.parametrize("variant", VARIANTS)
def test_cleanup_leaves_nothing_of_ours(namespace: str, variant: str) -> None:
    flags = ["--force-iptables-binary", variant]
    assert istio_iptables(namespace, *INJECTED, *flags).returncode == 0
    done = istio_iptables(namespace, *INJECTED, "--cleanup-only", *flags)
    assert done.returncode == 0, done.stderr
    assert "ISTIO" not in saved(namespace, variant)


@pytest.mark.parametrize("variant", VARIANTS)
def test_capture_of_dns_is_applied_once_and_taken_back_with_its_table(namespace: str, variant: str) -> None:
    flags = ["--force-iptables-binary", variant]
    for _ in range(2):
        done = istio_iptables(namespace, *INJECTED, "--redirect-dns", "--capture-all-dns", *flags)
        assert done.returncode == 0, done.stderr
    assert "nothing to do" in done.stderr
    assert [line for line in saved(namespace, variant, "raw").splitlines() if line.startswith("-A")] == [
        "-A PREROUTING -j ISTIO_INBOUND",
        "-A OUTPUT -j ISTIO_OUTPUT_DNS",
        "-A ISTIO_INBOUND -p udp -m udp --sport 53 -j CT --zone 1",
        "-A ISTIO_OUTPUT_DNS -p udp -m udp --dport 53 -m owner --uid-owner 1337 -j CT --zone 1",
        "-A ISTIO_OUTPUT_DNS -p udp -m udp --sport 15053 -m owner --uid-owner 1337 -j CT --zone 2",
        "-A ISTIO_OUTPUT_DNS -p udp -m udp --dport 53 -m owner --gid-owner 1337 -j CT --zone 1",
        "-A ISTIO_OUTPUT_DNS -p udp -m udp --sport 15053 -m owner --gid-owner 1337 -j CT --zone 2",
        "-A ISTIO_OUTPUT_DNS -p udp -m udp --dport 53 -j CT --zone 2",
    ]
    assert "-A ISTIO_OUTPUT -j ISTIO_OUTPUT_DNS\n" in saved(namespace, variant)

    assert istio_iptables(namespace, *INJECTED, *flags).returncode == 0
    assert "ISTIO" not in saved(namespace, variant, "raw")
    assert saved(namespace, variant) == WALKTHROUGH


def test_dns_is_captured_where_the_pods_metadata_says_so(namespace: str) -> None:
    said = run(
        namespace,
        *("env", "ISTIO_META_DNS_CAPTURE=true", sys.executable, "-m", "weft", "agent", "istio-iptables"),
        *(*INJECTED, "--dry-run"),
    )
    servers = [
        line.split()[1] for line in Path("/etc/resolv.conf").read_text().splitlines() if "nameserver" in line
    ]
    assert said.returncode == 0, said.stderr
    expected = f"-A ISTIO_OUTPUT_DNS -d {servers[0]}/32 -p udp -m udp --dport 53 -j REDIRECT --to-ports 15053\n"
    assert expected in said.stdout


def test_the_variant_that_a_namespace_already_uses_is_used_again(namespace: str) -> None:
    assert istio_iptables(namespace, *INJECTED, "--force-iptables-binary", "legacy").returncode == 0
    done = istio_iptables(namespace, *INJECTED)
    assert "nothing to do" in done.stderr, done.stderr


def test_a_dry_run_explains_and_changes_nothing(namespace: str) -> None:
    done = istio_iptables(namespace, *INJECTED, "--dry-run")
    assert done.returncode == 0
    assert "# the proxy's own connections would loop\n" in done.stdout
    assert "ISTIO" not in saved(namespace, "nft")


def test_a_flag_that_is_not_known_fails_with_its_name(namespace: str) -> None:
    done = istio_iptables(namespace, *INJECTED, "--drop-everything")
    assert done.returncode == 1
    assert done.stderr == "istio-iptables: --drop-everything: this flag is not known; leave it out\n"
    assert "ISTIO" not in saved(namespace, "nft")


def test_without_the_right_to_change_rules_it_says_so(namespace: str) -> None:
    command = ["setpriv", "--bounding-set=-net_admin,-net_raw", sys.executable, "-m", "weft", "istio-iptables"]
    done = run(namespace, *command, *INJECTED)
    assert done.returncode == 1
    assert "NET_ADMIN" in done.stderr
