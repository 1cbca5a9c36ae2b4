"""Where endpoints and proxies are, by their Nodes, pods and Services; and who shares resources all the same."""

from typing import Any

from tests.model.objects import endpoint, endpoint_slice, pod, service

from weft.model.locality import LocalityLb, Nearness, is_within
from weft.model.mesh_config import MeshConfig
from weft.model.services import Endpoint, Proxy
from weft.model.store import Store
from weft.model.view import View
from weft.model.views import proxy_of, view
from weft.xds.generate import Generator
from weft.xds.resource import CLUSTER, ENDPOINT

WEB = "web.shop.svc.cluster.local"


def node(name: str = "weft", **labels: str) -> dict[str, Any]:
    known = {"region": "topology.kubernetes.io/region", "zone": "topology.kubernetes.io/zone"}
    return {
        "kind": "Node",
        "metadata": {"name": name, "labels": {known[key]: each for key, each in labels.items()}},
    }


def failing_over() -> dict[str, Any]:
    spec = {"host": "web", "trafficPolicy": {"outlierDetection": {"consecutive5xxErrors": 1}}}
    return {"kind": "DestinationRule", "metadata": {"name": "web", "namespace": "shop"}, "spec": spec}


def store(*objects: dict[str, Any]) -> Store:
    made = Store()
    for each in objects:
        made.apply(each["kind"], {"kind": "Service", **each})
    return made


def cluster(*more: dict[str, Any]) -> Store:
    web = {"kind": "Service", **service("web")}
    listed = endpoint_slice("web", endpoint("10.244.0.6", "web-1"), endpoint("10.244.0.7"))
    return store(web, listed, pod("web-1", "10.244.0.6"), *more)


def endpoints(made: Store) -> tuple[Endpoint, ...]:
    return made.snapshot().directory.services[WEB].endpoints[0]


def seen(made: Store, **proxy: Any) -> View:
    return view(made.snapshot(), Proxy("client", "shop", "10.244.0.9", **proxy))


def test_a_pod_is_where_its_node_is_whichever_comes_first() -> None:
    late, early = cluster(), store(node(region="us", zone="west"))
    late.apply("Node", node(region="us", zone="west"))
    early.apply("Pod", pod("web-1", "10.244.0.6"))
    for made in (late, early):
        assert made.snapshot().workloads["shop", "web-1"].locality == "us/west"
    assert [each.locality for each in endpoints(late)] == ["us/west", ""]
    proxy = proxy_of(late.snapshot(), "shop", "web-1")
    assert proxy is not None
    assert (proxy.locality, proxy.node) == ("us/west", "weft")


def test_a_node_that_moves_or_goes_takes_its_endpoints_along() -> None:
    made = cluster(node(region="us", zone="west"))
    made.apply("Node", node(region="us", zone="east"))
    assert endpoints(made)[0].locality == "us/east"
    made.delete("Node", "", "weft")
    assert endpoints(made)[0].locality == ""


def test_a_node_that_only_reports_changes_nothing() -> None:
    made = cluster(node(region="us"))
    before = made.snapshot()
    made.apply("Node", node(region="us"))
    assert made.snapshot() is before


def test_a_service_prefers_what_its_namespace_does_unless_it_says_so_itself() -> None:
    annotations = {"networking.istio.io/traffic-distribution": "PreferClose"}
    namespace = {"kind": "Namespace", "metadata": {"name": "shop", "annotations": annotations}}
    made = cluster()
    made.apply("Namespace", namespace)
    services = made.snapshot().directory.services
    assert services[WEB].service.nearness is Nearness.SAME_ZONE
    made.apply("Service", {"kind": "Service", **service("web", trafficDistribution="PreferSameNode")})
    assert made.snapshot().directory.services[WEB].service.nearness is Nearness.SAME_NODE
    made.apply("Service", {"kind": "Service", **service("web")})
    made.apply("Namespace", {"kind": "Namespace", "metadata": {"name": "shop"}})
    assert made.snapshot().directory.services[WEB].service.nearness is Nearness.ANY


def test_clients_share_everything_where_no_rule_looks_at_localities() -> None:
    made, generator = cluster(node(region="us", zone="west")), Generator()
    one = generator.resources(seen(made, locality="us/west", node="a"))
    other = generator.resources(seen(made, locality="eu/north", node="b"))
    assert one[ENDPOINT] is other[ENDPOINT]


def test_only_endpoints_for_which_it_makes_a_difference_are_built_by_locality() -> None:
    api = {"kind": "Service", **service("api")}
    made, generator = cluster(node(region="us", zone="west"), api, failing_over()), Generator()
    west = generator.resources(seen(made, locality="us/west", node="a"))
    again = generator.resources(seen(made, locality="us/west", node="b"))
    north = generator.resources(seen(made, locality="eu/north", node="c"))
    assert west[ENDPOINT] is again[ENDPOINT]
    assert west[ENDPOINT][f"outbound|80||{WEB}"] is not north[ENDPOINT][f"outbound|80||{WEB}"]
    other = "outbound|80||api.shop.svc.cluster.local"
    assert west[ENDPOINT][other] is north[ENDPOINT][other]
    assert west[CLUSTER][f"outbound|80||{WEB}"] is north[CLUSTER][f"outbound|80||{WEB}"]


def test_the_meshs_setting_holds_from_when_it_changes() -> None:
    made, generator = cluster(node(region="us", zone="west"), failing_over()), Generator()
    far = {"locality": "eu/north", "node": "a"}

    def priorities() -> set[int]:
        [found] = [each.near for each in seen(made, **far).services]
        generator.resources(seen(made, **far))
        return {len(found)}

    assert priorities() == {2}
    made.configure(MeshConfig(locality=LocalityLb(enabled=False)))
    assert priorities() == {0}
    made.configure(MeshConfig())
    assert priorities() == {2}


def test_localities_are_within_those_that_end_in_an_asterisk_or_earlier() -> None:
    assert is_within("us/west/r1", "us/*")
    assert is_within("us/west/r1", "us")
    assert is_within("us/west", "*")
    assert not is_within("us/west", "us/east")
    assert not is_within("us", "us/west")
