"""A pod's queries by real packets: rules of istio-iptables, the pod's own DNS server, and a resolver beside it."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.netns import Pod, pods

HERE = Path(__file__).parent
AS_PROXY = ("env", "RUN_AS=1337")


@pytest.fixture(params=["resolv.conf", "all"])
def pod(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Pod, str]]:
    """A pod whose DNS is captured, and the address of its resolver."""
    with pods(2) as (pod, resolver):
        (tmp_path / "resolv.conf").write_text(f"nameserver {resolver.address}\n")
        everywhere = "--capture-all-dns" if request.param == "all" else ""
        command = f"{sys.executable} -m weft agent istio-iptables -b '*' -i '*' --redirect-dns {everywhere}"
        script = f"mount --bind {tmp_path}/resolv.conf /etc/resolv.conf && {command}"
        pod.run("unshare", "--mount", "sh", "-c", script)
        with (
            resolver.serving(HERE / "dns_server.py", "resolver", resolver.address),
            pod.serving(HERE / "dns_server.py", "pod", "15053", resolver.address, wrapper=AS_PROXY),
        ):
            yield pod, resolver.address


def ask(pod: Pod, *arguments: str, wrapper: tuple[str, ...] = ()) -> str:
    return pod.run(*wrapper, sys.executable, str(HERE / "dns_client.py"), *arguments).strip()


def test_queries_go_to_the_proxy_which_asks_the_resolver_about_the_rest(pod: tuple[Pod, str]) -> None:
    inside, resolver = pod
    for transport in ("udp", "tcp"):
        assert ask(inside, transport, resolver, "0", "api.example.com") == "NOERROR 240.240.0.1"
        assert ask(inside, transport, resolver, "0", "example.org") == "NOERROR 192.0.2.1"


def test_the_proxy_reaches_the_resolver_even_from_the_port_that_the_application_asked_from(
    pod: tuple[Pod, str],
) -> None:
    # without zones the kernel would take the proxy's packets for those of the application, and send them back
    inside, resolver = pod
    assert ask(inside, "udp", resolver, "40053", "api.example.com") == "NOERROR 240.240.0.1"
    assert ask(inside, "udp", resolver, "40053", "api.example.com", wrapper=AS_PROXY) == "NOERROR 192.0.2.1"
    assert ask(inside, "udp", resolver, "40053", "api.example.com") == "NOERROR 240.240.0.1"
