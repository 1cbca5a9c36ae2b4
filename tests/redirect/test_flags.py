from ipaddress import IPv4Network

import pytest

from weft.redirect import flags
from weft.redirect.capture import EVERYTHING, Capture

INJECTED = (
    "-p 15001 -z 15006 -u 1337 -m REDIRECT -i * -x  -b * -d 15090,15021,15020 --log_output_level=default:info"
)


def test_the_arguments_of_an_injected_pod_give_its_capture() -> None:
    found = flags.parse(INJECTED.split(" "))
    assert found == flags.Command(Capture(excluded_inbound_ports=(15090, 15021, 15020)))


def test_lists_are_parsed_and_the_group_follows_the_user() -> None:
    argv = "-u 1400 -i 10.0.0.0/8,172.16.0.0/12 -x 10.1.0.0/16 -b 80,443 -o 9090 -q 3306 -c net1 -k k6t-eth0 -n"
    found = flags.parse(argv.split())
    assert found.capture == Capture(
        proxy_uids=(1400,),
        proxy_gids=(1400,),
        inbound_ports=(80, 443),
        outbound_networks=(IPv4Network("10.0.0.0/8"), IPv4Network("172.16.0.0/12")),
        excluded_outbound_networks=(IPv4Network("10.1.0.0/16"),),
        excluded_outbound_ports=(9090,),
        outbound_ports=(3306,),
        excluded_interfaces=("net1",),
        virtual_interfaces=("k6t-eth0",),
    )
    assert found.dry_run


def test_without_include_lists_nothing_is_included_as_in_istio() -> None:
    found = flags.parse([])
    assert found.capture.inbound_ports == ()
    assert found.capture.outbound_networks == ()


def test_long_names_are_istios() -> None:
    argv = ["--envoy-port=1", "--inbound-capture-port=2", "--istio-service-cidr=*", "--istio-inbound-ports=*"]
    found = flags.parse(argv).capture
    assert (found.outbound_port, found.inbound_port) == (1, 2)
    assert (found.outbound_networks, found.inbound_ports) == (EVERYTHING, EVERYTHING)


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        (["-m", "TPROXY"], "-m TPROXY"),
        (["--redirect-dns"], "--redirect-dns"),
        (["-t", "1337"], "-t"),
        (["-p", "none"], "'none' is not a port"),
        (["-p", "65536"], "'65536' is not a port"),
        (["-i", "10.0.0.0/33"], "'10.0.0.0/33' is not an address range"),
        (["-x", "fd00::/8"], "only IPv4"),
        (["-u", "envoy"], "'envoy' is not a numeric user"),
        (["--force-iptables-binary", "bpf"], "bpf"),
    ],
)
def test_what_cannot_be_done_is_refused_and_named(argv: list[str], named: str) -> None:
    with pytest.raises(flags.FlagError) as refused:
        flags.parse(argv)
    assert named in str(refused.value)
