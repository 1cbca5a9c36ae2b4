"""Addresses for hosts without any: stable, distinct, and never a user's own."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from weft.api.decode import decode
from weft.api.service_entry import AllocatedAddress, ServiceEntry
from weft.model.allocation import RANGES, allocated, allocation


def entry(name: str, *hosts: str, created: str = "2026-01-01T00:00:00Z", **more: Any) -> ServiceEntry:
    labels, held = more.pop("labels", None), more.pop("held", None)
    spec = {"resolution": "DNS", "ports": [{"number": 443, "name": "tls", "protocol": "TLS"}], **more}
    read = decode(
        ServiceEntry,
        {
            "metadata": {"name": name, "namespace": "shop", "creationTimestamp": created, "labels": labels},
            "spec": {"hosts": list(hosts), **spec},
            "status": {"addresses": held} if held else {},
        },
    )
    assert isinstance(read, ServiceEntry), read
    return read


def holding(source: ServiceEntry, addresses: tuple[AllocatedAddress, ...]) -> ServiceEntry:
    """The entry once its status has been written."""
    held = [{"host": each.host, "value": each.value} for each in addresses]
    meta = source.metadata
    return entry(meta.name, *source.spec.hosts, created=meta.creation_timestamp or "", held=held)


def test_each_host_gets_one_address_of_each_family() -> None:
    found = allocation([entry("api", "a.example.com", "b.example.com")])["shop", "api"]
    assert [each.host for each in found] == ["a.example.com"] * 2 + ["b.example.com"] * 2
    assert all(each.value.startswith("240.240.") for each in found[::2])
    assert all(each.value.startswith("2001:2:") for each in found[1::2])
    assert len({each.value for each in found}) == 4


def test_what_is_written_down_stays_and_needs_no_further_write() -> None:
    first = entry("api", "a.example.com")
    written = holding(first, allocation([first])["shop", "api"])
    assert allocation([written, entry("new", "b.example.com")]).keys() == {("shop", "new")}
    assert allocated(written, "a.example.com") == tuple(each.value for each in written.status.addresses or ())


def test_a_host_that_is_added_leaves_the_others_where_they_are() -> None:
    held = [{"host": "a.example.com", "value": "240.240.7.7"}, {"host": "a.example.com", "value": "2001:2::7"}]
    found = allocation([entry("api", "new.example.com", "a.example.com", held=held)])["shop", "api"]
    assert [each.value for each in found if each.host == "a.example.com"] == ["240.240.7.7", "2001:2::7"]


def test_of_two_that_hold_one_address_the_older_keeps_it() -> None:
    held = [{"host": "a.example.com", "value": "240.240.7.7"}, {"host": "a.example.com", "value": "2001:2::7"}]
    old = entry("old", "a.example.com", created="2025-01-01T00:00:00Z", held=held)
    young = entry("young", "a.example.com", held=held)
    found = allocation([young, old])
    assert found.keys() == {("shop", "young")}
    assert {"240.240.7.7", "2001:2::7"}.isdisjoint(each.value for each in found["shop", "young"])


def test_an_address_that_a_user_wrote_is_never_given_to_another() -> None:
    held = [{"host": "a.example.com", "value": "240.240.7.7"}, {"host": "a.example.com", "value": "2001:2::7"}]
    own = entry("own", "own.example.com", addresses=["240.240.7.7"])
    found = allocation([entry("api", "a.example.com", held=held, created="2020-01-01T00:00:00Z"), own])
    four, six = (each.value for each in found["shop", "api"])
    assert six == "2001:2::7"
    assert four != "240.240.7.7"


def test_wildcards_resolution_none_own_addresses_and_the_label_false_get_none() -> None:
    assert not allocation(
        [
            entry("wild", "*.example.com", endpoints=[{"address": "1.2.3.4"}]),
            entry("none", "a.example.com", resolution="NONE"),
            entry("own", "b.example.com", addresses=["10.1.2.3"]),
            entry("off", "c.example.com", labels={"networking.istio.io/enable-autoallocate-ip": "false"}),
        ]
    )


def test_an_entry_that_is_to_have_no_more_addresses_loses_them() -> None:
    held = [{"host": "a.example.com", "value": "240.240.7.7"}]
    gone = entry("api", "a.example.com", held=held, labels={"networking.istio.io/enable-autoallocate-ip": "False"})
    assert allocation([gone]) == {("shop", "api"): ()}
    assert allocated(gone, "a.example.com") == ()


def test_nonsense_in_a_status_is_written_over() -> None:
    held = [{"host": "a.example.com", "value": "what"}, {"host": "a.example.com", "value": "10.0.0.1"}]
    found = allocation([entry("api", "a.example.com", held=held)])["shop", "api"]
    assert [each.value.partition(".")[0].partition(":")[0] for each in found] == ["240", "2001"]


@settings(deadline=None, max_examples=20)
@given(st.permutations([f"host-{number}.example.com" for number in range(40)]))
def test_no_two_hosts_share_an_address_and_the_order_of_entries_does_not_matter(hosts: list[str]) -> None:
    entries = [entry(host.partition(".")[0], host) for host in hosts]
    found = allocation(entries)
    values = [each.value for addresses in found.values() for each in addresses]
    assert len(set(values)) == len(values) == len(RANGES) * len(hosts)
    assert found == allocation(sorted(entries, key=lambda each: each.metadata.name))
