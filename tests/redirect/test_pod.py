from dataclasses import replace
from ipaddress import IPv4Network, ip_address
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.cni import selection
from tests.cni.redirection import CASES, Case
from tests.inject.pods import SETTINGS, ask, container, injected, pod

from weft.redirect import decide, flags
from weft.redirect.capture import Capture
from weft.redirect.decide import Packet
from weft.redirect.plan import plan
from weft.redirect.pod import RedirectError, capture, link_addresses

TRAFFIC = "traffic.sidecar.istio.io/"
POD, ELSEWHERE = ip_address("10.244.0.9"), ip_address("10.244.0.10")
USUAL = Capture(excluded_inbound_ports=(15090, 15021, 15020))
HOST = flags.Host(resolvers=(ip_address("10.96.0.10"),), has_ipv6=True, groups={"shop": 7})

ports = st.sampled_from(["", "80", "80, 443", "15020,8080", "15021", "15520,80", " 9 ,"])
ranges = st.sampled_from(["", "10.0.0.0/8", "10.0.0.1/8, 192.168.0.0/16", "127.0.0.1", "fd00::/8"])
interfaces = st.sampled_from(["", "net1", "net1, k6t-eth0"])
variables = st.dictionaries(
    st.sampled_from(
        [
            *("ISTIO_META_DNS_CAPTURE", "CAPTURE_ALL_DNS", "INVALID_DROP", "ISTIO_DUAL_STACK", "DUAL_STACK"),
            *("ISTIO_OUTBOUND_OWNER_GROUPS", "PROXY_GID", "ENVOY_PORT", "ISTIO_LOCAL_OUTBOUND_PORTS_EXCLUDE"),
        ]
    ),
    st.sampled_from(["true", "1", "7"]),
)
annotations = st.fixed_dictionaries(
    {},
    optional={
        "sidecar.istio.io/interceptionMode": st.sampled_from(["REDIRECT", "TPROXY"]),
        "status.sidecar.istio.io/port": st.sampled_from(["15020", "15520", "80"]),
        f"{TRAFFIC}includeInboundPorts": st.one_of(st.just("*"), ports),
        f"{TRAFFIC}excludeInboundPorts": ports,
        f"{TRAFFIC}includeOutboundIPRanges": st.one_of(st.just("*"), ranges),
        f"{TRAFFIC}excludeOutboundIPRanges": ranges,
        f"{TRAFFIC}includeOutboundPorts": ports,
        f"{TRAFFIC}excludeOutboundPorts": ports,
        f"{TRAFFIC}excludeInterfaces": interfaces,
        f"{TRAFFIC}kubevirtInterfaces": interfaces,
        "istio.io/reroute-virtual-interfaces": interfaces,
    },
)


def captured_by_init(after: dict[str, Any], host: flags.Host) -> Capture:
    init = container(after, "istio-init")
    env = {one["name"]: one["value"] for one in init.get("env", ())}
    return flags.parse(init["args"][1:], env, host).capture


@settings(max_examples=60, deadline=None)
@given(annotations, variables, st.sampled_from([{}, {"native_sidecars": True}, {"outbound_port": 15101}]))
def test_a_pod_is_captured_by_the_plugin_as_its_own_init_container_would(
    written: dict[str, str], metadata: dict[str, str], operators: dict[str, Any]
) -> None:
    lines = "".join(f'  {name}: "{value}"\n' for name, value in metadata.items())
    config = {"proxy.istio.io/config": f"proxyMetadata:\n{lines}"} if lines else {}
    before = pod(annotations={**written, **config})
    chosen = replace(SETTINGS, **operators)
    alone = injected(before, settings=chosen)
    with_cni = injected(before, settings=replace(chosen, cni=True))
    try:
        expected = captured_by_init(alone, HOST)
    except flags.FlagError:
        with pytest.raises(RedirectError):
            capture(with_cni, HOST)
    else:
        assert capture(with_cni, HOST) == expected


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_an_annotation_or_variable_changes_what_it_is_about(case: Case) -> None:
    assert capture(case.pod) == replace(USUAL, **{"excluded_outbound_ports": (15020,), **case.capture})


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_that_shows_in_the_fate_of_connections(case: Case) -> None:
    found = plan(capture(case.pod))
    for one in case.shown:
        if one.way == "in":
            decision = decide.inbound(Packet(ELSEWHERE, POD, one.port), found)
        else:
            packet = Packet(POD, ip_address(one.address), one.port, tcp=one.way == "out", uid=one.uid, gid=one.gid)
            decision = decide.outbound(packet, found)
        assert isinstance(decision, decide.Captured) == one.captured, (one, decision)


@pytest.mark.parametrize(
    ("name", "value", "way_out"),
    [
        ("sidecar.istio.io/interceptionMode", "PROXY", "Use REDIRECT or TPROXY or NONE."),
        ("status.sidecar.istio.io/port", "http", "Write numbers"),
        (f"{TRAFFIC}includeInboundPorts", "80-90", "Write numbers"),
        (f"{TRAFFIC}excludeInboundPorts", "*", "Write numbers"),
        (f"{TRAFFIC}includeOutboundIPRanges", "10.0.0.0/40", "Write them as"),
        (f"{TRAFFIC}excludeOutboundIPRanges", "*", "Write them as"),
        (f"{TRAFFIC}includeOutboundPorts", "65536", "Write numbers"),
        (f"{TRAFFIC}excludeOutboundPorts", "\u0668", "Write numbers"),
        (f"{TRAFFIC}excludeInterfaces", "an-interface-too-long", "Write it as"),
        (f"{TRAFFIC}kubevirtInterfaces", "a/b", "Write it as"),
        ("istio.io/reroute-virtual-interfaces", "\u00e9" * 8, "Write it as"),
    ],
)
def test_a_malformed_annotation_is_named_with_the_way_out(name: str, value: str, way_out: str) -> None:
    made = selection.pod("malformed")
    made["metadata"]["annotations"][name] = value
    with pytest.raises(RedirectError, match="annotation") as raised:
        capture(made)
    assert f'{name}: "{value}" ' in str(raised.value)
    assert way_out in str(raised.value)
    # and the webhook has the same view of it
    refused = ask(pod(annotations={name: value}))
    assert not refused["allowed"]
    assert name in refused["status"]["message"]


def test_a_malformed_variable_is_named_with_its_container() -> None:
    made = selection.proxied("malformed", env=selection.env("ISTIO_OUTBOUND_OWNER_GROUPS", "nobody-knows"))
    with pytest.raises(RedirectError, match=r"container istio-proxy: ISTIO_OUTBOUND_OWNER_GROUPS.*number"):
        capture(made)


def test_addresses_against_swallowing_interfaces_are_asked_for_by_a_variable() -> None:
    made = selection.proxied("cured", env=selection.env("VETH_LINK_ADDRESS", "169.254.100.1"))
    assert link_addresses(made) == (ip_address("169.254.100.1"),)
    assert link_addresses(selection.pod("usual")) == ()


def test_with_known_resolvers_queries_to_others_pass() -> None:
    made = selection.proxied("asking", env=selection.env("ISTIO_META_DNS_CAPTURE", "true"))
    assert capture(made).resolvers == "*"
    assert capture(made, HOST).resolvers == HOST.resolvers


def test_the_proxy_keeps_the_wishes_of_its_owner_for_its_user() -> None:
    wishes = {"name": "istio-proxy", "image": "auto", "securityContext": {"runAsUser": 1400}}
    before = pod(containers=[{"name": "app"}, wishes])
    flags_of = container(injected(before), "istio-init")["args"]
    assert flags_of[5:9] == ["-u", "1400", "-g", "1337"]
    assert capture(injected(before, settings=replace(SETTINGS, cni=True))) == replace(USUAL, proxy_uids=(1400,))


def test_ranges_may_name_a_host_as_istio_takes_them() -> None:
    made = selection.pod("hosts")
    made["metadata"]["annotations"][f"{TRAFFIC}includeOutboundIPRanges"] = "10.1.2.3/16"
    assert capture(made).outbound_networks == (IPv4Network("10.1.0.0/16"),)
