"""Names of services for DNS: which there are, and how clients may write them."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.model.objects import endpoint, endpoint_slice, pod, port, service, snapshot_of

from weft.model.name_table import EXTERNAL, KUBERNETES, Located, Named, NameTable
from weft.model.naming import named
from weft.model.services import Proxy, Service
from weft.model.snapshot import Snapshot
from weft.model.traffic import HostTraffic
from weft.model.view import ServiceView
from weft.model.views import view

DOMAIN = "cluster.local"
WEB = Named("web.shop.svc.cluster.local", ("10.96.0.9",), KUBERNETES, "web", "shop")
API = Named("api.example.com", ("240.240.0.1", "fd00::1"))
WILD = Named("*.wild.example.com", ("240.240.0.2",))
SEARCH = ("shop.svc.cluster.local", "svc.cluster.local", "cluster.local")


def names_of(snapshot: Snapshot) -> list[Named]:
    services = view(snapshot, Proxy("p", "shop", "10.244.0.6")).services
    return [each for service in services for each in named(service)]


def test_a_service_is_known_by_its_cluster_address() -> None:
    assert names_of(snapshot_of(service("web"))) == [WEB]


def test_a_headless_service_is_known_by_its_ready_pods_and_each_named_pod_by_its_own() -> None:
    peers = [
        {**endpoint("10.244.0.6"), "hostname": "db-1"},
        {**endpoint("10.244.0.5"), "hostname": "db-0"},
        {**endpoint("10.244.0.9", ready=False), "hostname": "db-2"},
    ]
    headless = service("db", "shop", port(80, "http", 8080), clusterIP="None", clusterIPs=["None"])
    assert names_of(snapshot_of(headless, endpoint_slice("db", *peers), pod("db-0", "10.244.0.5"))) == [
        Named("db.shop.svc.cluster.local", ("10.244.0.5", "10.244.0.6"), KUBERNETES, "db", "shop"),
        Named("db-0.db.shop.svc.cluster.local", ("10.244.0.5",), KUBERNETES, "db-0.db", "shop"),
        Named("db-1.db.shop.svc.cluster.local", ("10.244.0.6",), KUBERNETES, "db-1.db", "shop"),
    ]


def test_what_has_no_address_is_left_to_other_resolvers() -> None:
    alias = service("out", type="ExternalName", externalName="db.example.org", clusterIP="", clusterIPs=[])
    empty = service("empty", clusterIP="None", clusterIPs=["None"])
    assert names_of(snapshot_of(alias, empty)) == []


def test_a_host_outside_has_the_addresses_of_its_entry_and_no_ranges() -> None:
    addresses = ("fd00::1", "192.0.2.7", "10.0.0.0/8")
    entry = Service("api.example.com", "api.example.com", "shop", addresses, (), kubernetes=False)
    [found] = named(ServiceView(entry, HostTraffic(), ()))
    assert found == Named("api.example.com", ("192.0.2.7", "fd00::1"), EXTERNAL)


def test_a_host_without_addresses_has_the_one_that_was_allocated_to_it() -> None:
    entry = Service("api.example.com", "api.example.com", "shop", (), (), kubernetes=False)
    given = replace(entry, allocated=("240.240.0.1", "2001:2::1"))
    [found] = named(ServiceView(given, HostTraffic(), ()))
    assert found == Named("api.example.com", ("240.240.0.1",), EXTERNAL)
    assert named(ServiceView(entry, HostTraffic(), ())) == ()


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("web", "web.shop.svc.cluster.local"),
        ("web.shop", "web.shop.svc.cluster.local"),
        ("web.shop.svc", "web.shop.svc.cluster.local"),
        ("web.shop.svc.cluster.local", "web.shop.svc.cluster.local"),
        ("api.example.com", "api.example.com"),
        # what a search list makes of full names stands for them
        ("api.example.com.shop.svc.cluster.local", "api.example.com"),
        ("api.example.com.cluster.local", "api.example.com"),
        ("web.shop.svc.cluster.local.shop.svc.cluster.local", "web.shop.svc.cluster.local"),
        # but of short names it does not make new ones
        ("web.svc.cluster.local", None),
        ("web.cluster.local", None),
        ("a.wild.example.com", "*.wild.example.com"),
        ("a.b.wild.example.com", "*.wild.example.com"),
        ("a.wild.example.com.shop.svc.cluster.local", "a.wild.example.com"),
        ("wild.example.com", None),
        ("example.com", None),
        ("", None),
    ],
)
def test_names_are_found_in_every_form_that_clients_write(name: str, found: str | None) -> None:
    located = NameTable.of([WEB, API, WILD], "shop", DOMAIN, SEARCH).locate(name)
    assert (None if located is None else located.ipv4[0]) == {
        None: None,
        "web.shop.svc.cluster.local": "10.96.0.9",
        "api.example.com": "240.240.0.1",
        "*.wild.example.com": "240.240.0.2",
        "a.wild.example.com": "240.240.0.2",
    }[found]
    if located is not None and not (found or "").startswith("*"):
        assert located.host == found


def test_a_service_of_another_namespace_has_no_one_word_name_here() -> None:
    table = NameTable.of([WEB], "till", DOMAIN, ())
    assert table.locate("web") is None
    assert table.locate("web.shop") == Located(WEB.hostname, ("10.96.0.9",), ())


def test_a_full_name_goes_before_the_short_form_of_another() -> None:
    entry = Named("web.shop", ("240.240.0.9",))
    for infos in ([WEB, entry], [entry, WEB]):
        located = NameTable.of(infos, "shop", DOMAIN, SEARCH).locate("web.shop")
        assert located is not None
        assert located.ipv4 == ("240.240.0.9",)


@given(st.text(max_size=300))
def test_no_name_makes_the_table_fail(name: str) -> None:
    NameTable.of([WEB, API, WILD], "shop", DOMAIN, SEARCH).locate(name)
