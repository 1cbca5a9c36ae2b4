"""EnvoyFilters cost those that have them, and what is the same for several proxies is made once."""

from dataclasses import replace

from tests.support.mesh import NGINX_INBOUND, walkthrough

from weft.api.envoy_values import parsed
from weft.model.patches import ClusterMatch, Context, ListenerMatch, Operation, Part, Patch
from weft.model.services import InboundPort, Protocol
from weft.xds.generate import Generator
from weft.xds.proto import cluster_pb2, listener_pb2
from weft.xds.resource import BOOTSTRAP, CLUSTER, ENDPOINT, EXTENSION, LISTENER, ROUTE

NGINX = "outbound|80||nginx.sidecar.svc.cluster.local"
LIMIT = Patch(
    Part.CLUSTER,
    Operation.MERGE,
    Context.SIDECAR_OUTBOUND,
    parsed("envoy.config.cluster.v3.Cluster", {"per_connection_buffer_limit_bytes": 7}).SerializeToString(),
    "limit.sidecar",
    cluster=ClusterMatch(service="nginx.sidecar.svc.cluster.local"),
)


def test_what_no_patch_touches_stays_the_very_same_resource() -> None:
    generator, view = Generator(), walkthrough()
    plain = generator.resources(view)
    patched = generator.resources(replace(view, patches=(LIMIT,)))
    assert patched[LISTENER] == plain[LISTENER]
    assert all(patched[LISTENER][name] is each for name, each in plain[LISTENER].items())
    assert patched[ROUTE] is plain[ROUTE]
    assert patched[ENDPOINT] is plain[ENDPOINT]
    changed = {name for name, each in plain[CLUSTER].items() if patched[CLUSTER][name] is not each}
    assert changed == {NGINX}
    assert (
        cluster_pb2.Cluster.FromString(patched[CLUSTER][NGINX].body).per_connection_buffer_limit_bytes.value == 7
    )


def test_proxies_with_the_same_patches_share_what_they_changed() -> None:
    generator, view = Generator(), walkthrough()
    other = InboundPort(81, Protocol.HTTP, "web.sidecar.svc.cluster.local", 81)
    first = generator.resources(replace(view, patches=(LIMIT,)))
    again = generator.resources(replace(view, patches=(LIMIT,)))
    beside = replace(view, patches=(LIMIT,), proxy=replace(view.proxy, inbound=(NGINX_INBOUND, other)))
    second = generator.resources(beside)
    assert again is first
    assert second[CLUSTER][NGINX] is first[CLUSTER][NGINX]
    assert second[ROUTE] is first[ROUTE]


def test_a_change_of_one_service_patches_that_service_alone() -> None:
    generator, view = Generator(), walkthrough()
    first = generator.resources(replace(view, patches=(replace(LIMIT, cluster=ClusterMatch()),)))
    services = tuple(
        replace(each, service=replace(each.service, addresses=("10.9.9.9",)))
        if each.service.name == "nginx"
        else each
        for each in view.services
    )
    second = generator.resources(
        replace(view, services=services, patches=(replace(LIMIT, cluster=ClusterMatch()),))
    )
    same = [name for name, each in first[CLUSTER].items() if second[CLUSTER].get(name) is each]
    assert len(same) >= len(first[CLUSTER]) - 1


def test_a_listener_is_added_once_and_only_outwards_where_no_side_is_named() -> None:
    body = listener_pb2.Listener(name="added").SerializeToString()
    everywhere = Patch(Part.LISTENER, Operation.ADD, Context.ANY, body, "a.b")
    inwards = replace(everywhere, context=Context.SIDECAR_INBOUND, value=b"\n\x03own")
    found = Generator().resources(replace(walkthrough(), patches=(everywhere, everywhere, inwards)))
    assert {"added", "own"} <= found[LISTENER].keys()


def test_what_the_mesh_has_of_a_name_goes_before_what_is_added() -> None:
    taken = cluster_pb2.Cluster(name="BlackHoleCluster", alt_stat_name="ours").SerializeToString()
    patch = Patch(Part.CLUSTER, Operation.ADD, Context.ANY, taken, "a.b")
    plain = Generator().resources(walkthrough())
    found = Generator().resources(replace(walkthrough(), patches=(patch,)))
    assert found[CLUSTER]["BlackHoleCluster"] == plain[CLUSTER]["BlackHoleCluster"]


def test_a_listener_may_go_and_its_table_stay() -> None:
    patch = Patch(
        Part.LISTENER, Operation.REMOVE, Context.ANY, b"", "a.b", listener=ListenerMatch(name="0.0.0.0_15014")
    )
    plain = Generator().resources(walkthrough())
    found = Generator().resources(replace(walkthrough(), patches=(patch,)))
    assert plain[LISTENER].keys() - found[LISTENER].keys() == {"0.0.0.0_15014"}


def test_changes_of_the_bootstrap_keep_their_order_and_filters_their_names() -> None:
    bootstraps = tuple(Patch(Part.BOOTSTRAP, Operation.MERGE, Context.ANY, bytes([n]), "a.b") for n in range(12))
    lua = Patch(Part.EXTENSION_CONFIG, Operation.ADD, Context.ANY, b"\n\x02my", "a.b")
    found = Generator().resources(replace(walkthrough(), patches=(*bootstraps, lua)))
    assert [found[BOOTSTRAP][name].body for name in sorted(found[BOOTSTRAP])] == [bytes([n]) for n in range(12)]
    assert found[EXTENSION].keys() == {"my"}
    assert not {BOOTSTRAP, EXTENSION} & Generator().resources(walkthrough()).keys()
