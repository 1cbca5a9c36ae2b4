from ipaddress import IPv4Address, IPv6Address

from weft.adapters.resolv_conf import ResolvConf, parse


def test_servers_of_both_ip_versions_are_told_apart_and_what_is_neither_is_passed_over() -> None:
    text = "nameserver 10.96.0.10 # ours\nnameserver fd00::a\nnameserver ns.example\nsearch Shop.svc. svc\n"
    assert parse(text) == ResolvConf((IPv4Address("10.96.0.10"),), ("shop.svc", "svc"), (IPv6Address("fd00::a"),))
