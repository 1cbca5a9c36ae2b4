from dataclasses import replace
from ipaddress import ip_address, ip_interface

import pytest

from weft.redirect.capture import Capture
from weft.redirect.interfaces import Interface, Swallowing, cures, swallowing

LO = Interface("lo", (ip_interface("127.0.0.1/8"), ip_interface("::1/128")))
ETH0 = Interface("eth0", (ip_interface("10.6.212.7/16"),))
VETH0 = Interface("veth0", (ip_interface("fe80::a/64"),))
POD = (LO, ETH0, VETH0)


def test_an_interface_without_an_address_is_found_and_the_problem_says_what_to_do() -> None:
    found = swallowing(Capture(), POD)
    assert found == (Swallowing("veth0", 4),)
    said = str(found[0].problem())
    assert said.startswith("Warning [WEFT0008] (Interface/veth0): it has no IPv4 address")
    assert "vethLinkAddress: 169.254.100.1" in said


@pytest.mark.parametrize(
    "capture",
    [
        Capture(mode="TPROXY"),
        Capture(mode="NONE"),
        Capture(inbound_ports=()),
        Capture(excluded_interfaces=("veth0",)),
    ],
    ids=str,
)
def test_nothing_is_swallowed_where_nothing_is_redirected(capture: Capture) -> None:
    assert swallowing(capture, POD) == ()


def test_an_interface_that_receives_nothing_itself_is_no_trouble() -> None:
    assert swallowing(Capture(), (LO, ETH0, replace(VETH0, up=False))) == ()
    assert swallowing(Capture(), (LO, ETH0, replace(VETH0, enslaved=True))) == ()
    # no packet of a version comes where the pod has no address of it
    assert swallowing(Capture(), (LO, VETH0)) == ()


def test_a_guests_interface_swallows_in_every_mode_since_its_traffic_is_redirected() -> None:
    capture = Capture(mode="TPROXY", virtual_interfaces=("veth0",))
    assert swallowing(capture, POD) == (Swallowing("veth0", 4),)


def test_ipv6_counts_where_it_is_captured() -> None:
    pod = (LO, replace(ETH0, addresses=(*ETH0.addresses, ip_interface("fd00::7/64"))), Interface("veth0"))
    found = swallowing(Capture(ipv6=True), pod)
    assert found == (Swallowing("veth0", 4), Swallowing("veth0", 6))
    given = (ip_address("169.254.100.1"), ip_address("fe80::1"))
    assert tuple(cures(found, given)) == (("veth0", given[0]), ("veth0", given[1]))
    assert tuple(cures(found, ())) == ()
