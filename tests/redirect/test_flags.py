from ipaddress import IPv4Network, ip_address, ip_network

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
        (["-m", "PROXY"], "'PROXY' is none of REDIRECT, TPROXY, NONE"),
        (["--redirect-dns"], "--redirect-dns"),
        (["-t", "0"], "'0' is not a mark"),
        (["-r", "255"], "'255' is not a routing table"),
        (["--kube", "x"], "--kube"),
        (["-c", "an-interface-too-long"], "is not the name of an interface"),
        (["--probe-timeout", "soon"], "'soon' is not a duration"),
        (["--dual-stack=maybe"], "'maybe' is neither true nor false"),
        (["-p", "none"], "'none' is not a port"),
        (["-p", "65536"], "'65536' is not a port"),
        (["-i", "10.0.0.0/33"], "'10.0.0.0/33' is not an address range"),
        (["-u", "envoy"], "'envoy' is not a numeric user"),
        (["--force-iptables-binary", "bpf"], "bpf"),
    ],
)
def test_what_cannot_be_done_is_refused_and_named(argv: list[str], named: str) -> None:
    with pytest.raises(flags.FlagError) as refused:
        flags.parse(argv)
    assert named in str(refused.value)


def test_variables_stand_in_for_flags_and_flags_win() -> None:
    environment = {
        "ENVOY_PORT": "16001",
        "INBOUND_CAPTURE_PORT": "16006",
        "ISTIO_INBOUND_INTERCEPTION_MODE": "TPROXY",
        "ISTIO_INBOUND_TPROXY_MARK": "1400",
        "ISTIO_INBOUND_PORTS": "*",
        "ISTIO_SERVICE_CIDR": "10.0.0.0/8,fd00::/8",
        "KUBE_VIRT_INTERFACES": "k6t-eth0",
        "INVALID_DROP": "true",
        "ISTIO_DUAL_STACK": "true",
        "ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR": "127.0.0.0/8",
        "NATIVE_NFTABLES": "true",
        "IPTABLES_PROBE_PORT": "15003",
    }
    found = flags.parse(["-p", "17001"], environment)
    assert (found.capture.outbound_port, found.capture.inbound_port) == (17001, 16006)
    assert (found.capture.mode, found.capture.tproxy_mark) == ("TPROXY", 1400)
    assert found.capture.inbound_ports == EVERYTHING
    assert found.capture.outbound_networks == (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
    assert found.capture.virtual_interfaces == ("k6t-eth0",)
    assert found.capture.drop_invalid
    assert found.capture.ipv6
    assert found.capture.loopback == ip_network("127.0.0.0/8")
    assert found.native
    assert found.probe_port == 15003
    assert not flags.parse(["--native-nftables=false"], environment).native


def test_a_malformed_variable_is_named() -> None:
    with pytest.raises(flags.FlagError, match="ENVOY_PORT: 'high' is not a port"):
        flags.parse([], {"ENVOY_PORT": "high"})


def test_ipv6_is_captured_wherever_there_is_an_address_of_it() -> None:
    assert flags.parse([], host=flags.Host(has_ipv6=True)).capture.ipv6
    assert flags.parse(["--dual-stack"]).capture.ipv6
    assert not flags.parse([]).capture.ipv6


def test_owner_groups_are_numbers_or_names_of_the_host() -> None:
    host = flags.Host(groups={"java": 202})
    included = flags.parse([], {"ISTIO_OUTBOUND_OWNER_GROUPS": "java, 101"}, host)
    assert included.capture.owner_groups == (202, 101)
    excluded = flags.parse([], {"ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE": "java"}, host)
    assert (excluded.capture.owner_groups, excluded.capture.excluded_owner_groups) == (EVERYTHING, (202,))


@pytest.mark.parametrize(
    ("included", "excluded", "said"),
    [
        ("python", "", "no group 'python'"),
        (",".join(map(str, range(65))), "", "at most 64"),
        ("1", "2", "groups are excluded from all"),
        ("*", "*", "would exclude every process"),
    ],
)
def test_owner_groups_that_make_no_sense_are_refused(included: str, excluded: str, said: str) -> None:
    names = ("ISTIO_OUTBOUND_OWNER_GROUPS", "ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE")
    with pytest.raises(flags.FlagError, match=said) as refused:
        flags.parse([], dict(zip(names, (included, excluded), strict=True)))
    assert str(refused.value).startswith(names)


def test_the_proxys_user_is_looked_up_by_name_where_no_number_is_given() -> None:
    host = flags.Host(users={"istio-proxy": 1400, "envoy": 1500})
    assert flags.parse([], {}, host).capture.proxy_uids == (1400,)
    assert flags.parse([], {"ENVOY_USER": "envoy"}, host).capture.proxy_gids == (1500,)


def test_a_plugin_on_the_node_captures_every_query_since_it_cannot_read_the_pods_resolvers() -> None:
    host = flags.Host(resolvers=(ip_address("192.0.2.53"),))
    assert flags.parse(["--redirect-dns"], host=host).capture.resolvers == host.resolvers
    assert flags.parse(["--redirect-dns", "--cni-mode"], host=host).capture.resolvers == EVERYTHING


def test_the_help_names_every_flag_of_istio() -> None:
    flags_of_istio = (
        "-p -z -e -u -g -m -b -d -c -i -x -q -o -k -t -r -n --iptables-probe-port --probe-timeout "
        "--skip-rule-apply --run-validation --redirect-dns --drop-invalid --dual-stack --capture-all-dns "
        "--network-namespace --cni-mode "
        "--reconcile --cleanup-only --force-apply --native-nftables --force-iptables-binary"
    )
    assert [
        flag
        for flag in flags_of_istio.split()
        if flag not in flags.usage().split() and f"{flag}," not in flags.usage()
    ] == []
