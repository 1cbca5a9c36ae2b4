"""Results of plugins in the versions of the specification."""

from ipaddress import ip_address

import pytest

from weft.underlay.networks import results

NEW = {
    "cniVersion": "1.1.0",
    "interfaces": [{"name": "eth0", "mac": "02:00:00:00:00:01", "sandbox": "/x", "mtu": 1500}],
    "ips": [{"address": "10.0.0.1/24", "interface": 0}, {"address": "fd00::1/64"}],
    "routes": [{"dst": "0.0.0.0/0", "gw": "10.0.0.254", "mtu": 1400}, {"dst": "::/0", "gw": "fd00::2"}],
    "dns": {},
}


def test_the_newest_version_is_as_it_is() -> None:
    assert results.written(results.inside(NEW), "1.1.0") == NEW


@pytest.mark.parametrize("version", ["0.3.0", "0.3.1", "0.4.0", "1.0.0"])
def test_an_older_version_has_what_it_knows(version: str) -> None:
    made = results.written(results.inside(NEW), version)
    assert made["cniVersion"] == version
    assert "mtu" not in made["interfaces"][0]
    assert made["routes"][0] == {"dst": "0.0.0.0/0", "gw": "10.0.0.254"}
    assert [each.get("version") for each in made["ips"]] == ([None, None] if version == "1.0.0" else ["4", "6"])
    assert results.written(results.inside(made), version) == made
    assert all("version" not in each for each in results.inside(made)["ips"])


def test_an_empty_result_stays_empty() -> None:
    assert results.written(results.inside({"cniVersion": "0.3.1"}), "0.4.0") == {"cniVersion": "0.4.0"}


def test_each_side_sees_the_namespace_by_its_own_name() -> None:
    seen = results.seen_from(NEW, "/x", "/proc/self/fd/7")
    assert seen["interfaces"][0]["sandbox"] == "/proc/self/fd/7"
    assert results.seen_from(seen, "/proc/self/fd/7", "/x") == NEW
    assert results.seen_from(NEW, "", "/y") == NEW


def test_default_routes_change_by_their_versions() -> None:
    made = results.routed(NEW, {4}, [ip_address("10.6.0.1")])
    assert made["routes"] == [{"dst": "::/0", "gw": "fd00::2"}, {"dst": "0.0.0.0/0", "gw": "10.6.0.1"}]
