import pytest

from weft.base.names import full_host, host_fault, host_matches, nearest


@pytest.mark.parametrize(
    ("host", "full"),
    [
        ("web", "web.shop.svc.cluster.local"),
        ("WEB", "web.shop.svc.cluster.local"),
        ("web.other", "web.other"),
        ("web.other.svc", "web.other.svc.cluster.local"),
        ("WEB.other.svc.", "web.other.svc.cluster.local"),
        ("other.svc", "other.svc"),
        ("a.web.other.svc", "a.web.other.svc"),
        ("*.other.svc", "*.other.svc"),
        ("web.shop.svc.cluster.local.", "web.shop.svc.cluster.local"),
        ("*", "*"),
        ("*.example.com", "*.example.com"),
    ],
)
def test_a_name_without_dots_is_of_the_rules_namespace_and_one_in_svc_of_the_one_it_names(
    host: str, full: str
) -> None:
    assert full_host(host, "shop", "cluster.local") == full


@pytest.mark.parametrize(
    ("pattern", "host", "fits"),
    [
        ("*", "a.b", True),
        ("*.b", "a.b", True),
        ("*.b", "c.a.b", True),
        ("*.b", "b", False),
        ("*.b", ".b", False),
        ("a.b", "a.b", True),
        ("a.b", "x.a.b", False),
    ],
)
def test_a_wildcard_stands_for_the_first_parts_of_a_name(pattern: str, host: str, *, fits: bool) -> None:
    assert host_matches(pattern, host) is fits


@pytest.mark.parametrize("host", ["web", "a.b.c", "10.0.0.1", "under_score.x", "a" * 63])
def test_names_of_hosts_are_accepted(host: str) -> None:
    assert host_fault(host, wildcard=False) == ""


@pytest.mark.parametrize("host", ["", "a b", "-a", "a..b", "http://a", "a:80", "a" * 64, "*.a", "a.*", "a/b"])
def test_what_is_no_host_is_told(host: str) -> None:
    assert host_fault(host, wildcard=False)


@pytest.mark.parametrize("host", ["a.*", "*a.b", "*.*", "*."])
def test_a_wildcard_is_the_whole_first_part_and_nothing_else(host: str) -> None:
    assert host_fault(host, wildcard=True)


def test_the_nearest_name_is_found_without_regard_to_case() -> None:
    assert nearest("Hots", ["hosts", "http", "gateways"]) == "hosts"
    assert nearest("zzz", ["hosts", "http"]) == ""
