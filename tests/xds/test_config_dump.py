"""The tables of proxy-config, from the dump of a real Envoy with the services of the walkthrough."""

from typing import Any

import pytest
from tests.support import envoy, mesh
from tests.support.identities import Authority

from weft.cli import proxy_tables
from weft.model.routing import Destination, HostRoutes, HttpRoute, MatchKind, RequestMatch, StringMatch
from weft.model.services import Protocol
from weft.model.traffic import HostTraffic, Subset, TrafficPolicy
from weft.xds import config_dump, config_dump_rows
from weft.xds.config_dump import ClusterFilter, EndpointFilter, ListenerFilter
from weft.xds.generate import Generator

LISTENERS = """\
ADDRESSES      PORT  MATCH                                                                                         DESTINATION
10.96.0.10     53    ALL                                                                                           Cluster: outbound|53||kube-dns.kube-system.svc.cluster.local
0.0.0.0        80    Trans: raw_buffer; App: http/1.1,h2c                                                          Route: 80
0.0.0.0        80    ALL                                                                                           PassthroughCluster
10.101.85.142  443   ALL                                                                                           Cluster: outbound|443||istio-egressgateway.istio-system.svc.cluster.local
10.107.180.168 443   ALL                                                                                           Cluster: outbound|443||istiod.istio-system.svc.cluster.local
10.108.4.104   443   ALL                                                                                           Cluster: outbound|443||istio-ingressgateway.istio-system.svc.cluster.local
10.96.0.1      443   ALL                                                                                           Cluster: outbound|443||kubernetes.default.svc.cluster.local
10.96.0.10     9153  Trans: raw_buffer; App: http/1.1,h2c                                                          Route: kube-dns.kube-system.svc.cluster.local:9153
10.96.0.10     9153  ALL                                                                                           Cluster: outbound|9153||kube-dns.kube-system.svc.cluster.local
0.0.0.0        15001 ALL                                                                                           PassthroughCluster
0.0.0.0        15001 Addr: *:15001                                                                                 Non-HTTP/Non-TCP
0.0.0.0        15006 Addr: *:15006                                                                                 Non-HTTP/Non-TCP
0.0.0.0        15006 Trans: tls; App: istio-http/1.0,istio-http/1.1,istio-h2; Addr: 0.0.0.0/0                      InboundPassthroughClusterIpv4
0.0.0.0        15006 Trans: raw_buffer; App: http/1.1,h2c; Addr: 0.0.0.0/0                                         InboundPassthroughClusterIpv4
0.0.0.0        15006 Trans: tls; App: TCP TLS; Addr: 0.0.0.0/0                                                     InboundPassthroughClusterIpv4
0.0.0.0        15006 Trans: raw_buffer; Addr: 0.0.0.0/0                                                            InboundPassthroughClusterIpv4
0.0.0.0        15006 Trans: tls; Addr: 0.0.0.0/0                                                                   InboundPassthroughClusterIpv4
0.0.0.0        15006 Trans: tls; App: istio,istio-peer-exchange,istio-http/1.0,istio-http/1.1,istio-h2; Addr: *:80 Cluster: inbound|80||
0.0.0.0        15006 Trans: raw_buffer; Addr: *:80                                                                 Cluster: inbound|80||
0.0.0.0        15010 Trans: raw_buffer; App: http/1.1,h2c                                                          Route: 15010
0.0.0.0        15010 ALL                                                                                           PassthroughCluster
10.107.180.168 15012 ALL                                                                                           Cluster: outbound|15012||istiod.istio-system.svc.cluster.local
0.0.0.0        15014 Trans: raw_buffer; App: http/1.1,h2c                                                          Route: 15014
0.0.0.0        15014 ALL                                                                                           PassthroughCluster
10.108.4.104   15021 Trans: raw_buffer; App: http/1.1,h2c                                                          Route: istio-ingressgateway.istio-system.svc.cluster.local:15021
10.108.4.104   15021 ALL                                                                                           Cluster: outbound|15021||istio-ingressgateway.istio-system.svc.cluster.local
10.108.4.104   15443 ALL                                                                                           Cluster: outbound|15443||istio-ingressgateway.istio-system.svc.cluster.local
10.108.4.104   31400 ALL                                                                                           Cluster: outbound|31400||istio-ingressgateway.istio-system.svc.cluster.local"""  # noqa: E501, what istioctl prints
ROUTES = """\
NAME                                                          VHOST NAME                                                    DOMAINS                                             MATCH     VIRTUAL SERVICE
15010                                                         istiod.istio-system.svc.cluster.local:15010                   istiod.istio-system, 10.107.180.168                 /*
15014                                                         istiod.istio-system.svc.cluster.local:15014                   istiod.istio-system, 10.107.180.168                 /*
80                                                            istio-egressgateway.istio-system.svc.cluster.local:80         istio-egressgateway.istio-system, 10.101.85.142     /*
80                                                            istio-ingressgateway.istio-system.svc.cluster.local:80        istio-ingressgateway.istio-system, 10.108.4.104     /*
80                                                            nginx.sidecar.svc.cluster.local:80                            nginx, nginx.sidecar + 1 more...                    /*
istio-ingressgateway.istio-system.svc.cluster.local:15021     istio-ingressgateway.istio-system.svc.cluster.local:15021     *                                                   /*
kube-dns.kube-system.svc.cluster.local:9153                   kube-dns.kube-system.svc.cluster.local:9153                   *                                                   /*
InboundPassthroughClusterIpv4                                 inbound|http|0                                                *                                                   /*
InboundPassthroughClusterIpv4                                 inbound|http|0                                                *                                                   /*
inbound|80||                                                  inbound|http|80                                               *                                                   /*
inbound|80||                                                  inbound|http|80                                               *                                                   /*"""  # noqa: E501, what istioctl prints
CLUSTERS = """\
SERVICE FQDN                                            PORT      SUBSET     DIRECTION     TYPE             DESTINATION RULE
                                                        80        -          inbound       ORIGINAL_DST
BlackHoleCluster                                        -         -          -             STATIC
InboundPassthroughClusterIpv4                           -         -          -             ORIGINAL_DST
PassthroughCluster                                      -         -          -             ORIGINAL_DST
istio-egressgateway.istio-system.svc.cluster.local      80        -          outbound      EDS
istio-egressgateway.istio-system.svc.cluster.local      443       -          outbound      EDS
istio-ingressgateway.istio-system.svc.cluster.local     80        -          outbound      EDS
istio-ingressgateway.istio-system.svc.cluster.local     443       -          outbound      EDS
istio-ingressgateway.istio-system.svc.cluster.local     15021     -          outbound      EDS
istio-ingressgateway.istio-system.svc.cluster.local     15443     -          outbound      EDS
istio-ingressgateway.istio-system.svc.cluster.local     31400     -          outbound      EDS
istiod.istio-system.svc.cluster.local                   443       -          outbound      EDS
istiod.istio-system.svc.cluster.local                   15010     -          outbound      EDS
istiod.istio-system.svc.cluster.local                   15012     -          outbound      EDS
istiod.istio-system.svc.cluster.local                   15014     -          outbound      EDS
kube-dns.kube-system.svc.cluster.local                  53        -          outbound      EDS
kube-dns.kube-system.svc.cluster.local                  9153      -          outbound      EDS
kubernetes.default.svc.cluster.local                    443       -          outbound      EDS
nginx.sidecar.svc.cluster.local                         80        -          outbound      EDS
sds-grpc                                                -         -          -             STATIC
xds-grpc                                                -         -          -             STATIC"""  # noqa: E501, what istioctl prints
ENDPOINTS = """\
ENDPOINT          STATUS      OUTLIER CHECK     CLUSTER
10.244.0.6:80     HEALTHY     OK                outbound|80||nginx.sidecar.svc.cluster.local"""
NGINX = "outbound|80||nginx.sidecar.svc.cluster.local"
STATIC = {
    "configs": [
        {
            "@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump",
            "static_listeners": [
                {
                    "listener": {
                        "address": {"socket_address": {"address": "0.0.0.0", "port_value": 15021}},
                        "filter_chains": [
                            {
                                "filters": [
                                    {
                                        "name": "envoy.filters.network.http_connection_manager",
                                        "typed_config": {
                                            "route_config": {
                                                "virtual_hosts": [
                                                    {
                                                        "name": "backend",
                                                        "domains": ["*"],
                                                        "routes": [
                                                            {
                                                                "match": {"prefix": "/healthz/ready"},
                                                                "route": {"cluster": "agent"},
                                                            }
                                                        ],
                                                    }
                                                ]
                                            }
                                        },
                                    }
                                ]
                            }
                        ],
                    }
                }
            ],
        }
    ]
}


@pytest.fixture(scope="module")
def admin() -> tuple[dict[str, Any], dict[str, Any]]:
    """The config dump and the clusters of an Envoy that has what toolbox had."""
    identity = Authority().issue("spiffe://cluster.local/ns/sidecar/sa/default")
    with envoy.started(Generator().resources(mesh.walkthrough()), identity) as (running, management):
        dump, clusters = running.json("/config_dump"), running.json("/clusters?format=json")
        assert management.rejected == []
    return dump, clusters


def test_the_tables_are_those_of_the_walkthrough(admin: tuple[dict[str, Any], dict[str, Any]]) -> None:
    dump, clusters = admin
    assert proxy_tables.listener_table(config_dump_rows.listener_rows(dump)) == LISTENERS
    assert proxy_tables.route_table(config_dump_rows.route_rows(dump)) == ROUTES
    assert proxy_tables.cluster_table(config_dump_rows.cluster_rows(dump)) == CLUSTERS
    rows = config_dump_rows.endpoint_rows(clusters, EndpointFilter(cluster=NGINX))
    assert proxy_tables.endpoint_table(rows) == ENDPOINTS


def test_filters_narrow_the_tables(admin: tuple[dict[str, Any], dict[str, Any]]) -> None:
    dump, clusters = admin
    by_port = config_dump_rows.listener_rows(dump, ListenerFilter(port=15006))
    assert len(by_port) == 8
    by_address = config_dump_rows.listener_rows(dump, ListenerFilter(address="10.96.0.10"))
    assert {row.port for row in by_address} == {53, 9153}
    tcp = config_dump_rows.listener_rows(dump, ListenerFilter(type="tcp"))
    assert {row.port for row in tcp} == {53, 443, 15001, 15012, 15443, 31400}
    assert {row.name for row in config_dump_rows.route_rows(dump, "80")} == {"80"}
    inbound = config_dump_rows.cluster_rows(dump, ClusterFilter(direction="inbound"))
    assert [row.port for row in inbound] == ["80"]
    narrow = ClusterFilter(fqdn="istiod.istio-system.svc.cluster.local", port=15014)
    assert [row.fqdn for row in config_dump_rows.cluster_rows(dump, narrow)] == [narrow.fqdn]
    assert config_dump_rows.endpoint_rows(clusters, EndpointFilter(status="unhealthy")) == []
    assert len(config_dump_rows.endpoint_rows(clusters, EndpointFilter(address="10.244.0.6", port=80))) == 1


def test_the_objects_are_those_that_istioctl_prints(admin: tuple[dict[str, Any], dict[str, Any]]) -> None:
    dump, clusters = admin
    [table] = config_dump.route_objects(dump, "80")
    host = next(each for each in table["virtualHosts"] if each["name"] == "nginx.sidecar.svc.cluster.local:80")
    policy = host["routes"][0]["route"].pop("retryPolicy")
    assert policy["numRetries"] == 2
    assert host == {
        "name": "nginx.sidecar.svc.cluster.local:80",
        "domains": [
            "nginx.sidecar.svc.cluster.local",
            "nginx",
            "nginx.sidecar.svc",
            "nginx.sidecar",
            "10.100.93.113",
        ],
        "routes": [
            {
                "name": "default",
                "match": {"prefix": "/"},
                "route": {"cluster": NGINX, "timeout": "0s", "maxGrpcTimeout": "0s"},
                "decorator": {"operation": "nginx.sidecar.svc.cluster.local:80/*"},
            }
        ],
        "includeRequestAttemptCount": True,
    }
    assert next(iter(host["routes"][0])) == "name"
    del table["virtualHosts"]
    assert table == {
        "name": "80",
        "validateClusters": False,
        "maxDirectResponseBodySizeBytes": 1048576,
        "ignorePortInHostMatching": True,
    }
    [nginx] = config_dump.endpoint_objects(clusters, EndpointFilter(cluster=NGINX))
    limit = 4294967295
    assert nginx["circuitBreakers"]["thresholds"][0] == {
        "maxConnections": limit,
        "maxPendingRequests": limit,
        "maxRequests": limit,
        "maxRetries": limit,
    }
    assert (nginx["addedViaApi"], nginx["edsServiceName"], nginx["observabilityName"]) == (True, NGINX, NGINX)
    [status] = nginx["hostStatuses"]
    assert status["address"] == {"socketAddress": {"address": "10.244.0.6", "portValue": 80}}
    assert status["healthStatus"] == {"edsHealthStatus": "HEALTHY"}
    assert (status["weight"], status["locality"]) == (1, {})


def test_the_inbound_chain_of_the_port_is_that_of_the_walkthrough(
    admin: tuple[dict[str, Any], dict[str, Any]],
) -> None:
    [listener] = config_dump.listener_objects(admin[0], ListenerFilter(port=15006))
    assert listener["name"] == "virtualInbound"
    managers = [
        each["typedConfig"]
        for chain in listener["filterChains"]
        for each in chain["filters"]
        if each["typedConfig"].get("statPrefix") == "inbound_0.0.0.0_80"
    ]
    assert len(managers) == 2
    for manager in managers:
        assert manager["routeConfig"] == {
            "name": "inbound|80||",
            "virtualHosts": [
                {
                    "name": "inbound|http|80",
                    "domains": ["*"],
                    "routes": [
                        {
                            "name": "default",
                            "match": {"prefix": "/"},
                            "route": {
                                "cluster": "inbound|80||",
                                "timeout": "0s",
                                "maxStreamDuration": {"maxStreamDuration": "0s", "grpcTimeoutHeaderMax": "0s"},
                            },
                            "decorator": {"operation": "nginx.sidecar.svc.cluster.local:80/*"},
                        }
                    ],
                }
            ],
            "validateClusters": False,
        }


def test_rules_show_in_their_columns() -> None:
    host = "canary.canary.svc.cluster.local"
    match = RequestMatch(uri=StringMatch(MatchKind.EXACT, "/v2"))
    routes = HostRoutes(
        (
            HttpRoute((Destination(host, 80, "v2", 100),), matches=(match,)),
            HttpRoute((Destination(host, 80, "", 100),)),
        ),
        rule="canary.canary",
    )
    traffic = HostTraffic(subsets=(Subset("v2", (("version", "v2"),), TrafficPolicy()),), rule="reviews.v1.canary")
    view = mesh.view(
        mesh.service_view(
            "canary",
            "10.96.0.5",
            [("http", 80, Protocol.HTTP)],
            namespace="canary",
            endpoints=(mesh.endpoint("10.244.0.8", 80, namespace="canary", labels=(("version", "v2"),)),),
            routes=routes,
            traffic=traffic,
        ),
        namespace="canary",
    )
    identity = Authority().issue("spiffe://cluster.local/ns/canary/sa/default")
    with envoy.started(Generator().resources(view), identity) as (running, management):
        dump, clusters = running.json("/config_dump"), running.json("/clusters?format=json")
        assert management.rejected == []
    rows = [(row.match, row.virtual_service) for row in config_dump_rows.route_rows(dump, "80")]
    assert rows == [("/v2", "canary.canary"), ("/*", "canary.canary")]
    shown = config_dump_rows.cluster_rows(dump, ClusterFilter(fqdn=host))
    assert [(row.subset, row.destination_rule) for row in shown] == [
        ("-", "reviews.v1.canary"),
        ("v2", "reviews.v1.canary"),
    ]
    endpoints = config_dump_rows.endpoint_rows(clusters, EndpointFilter(address="10.244.0.8"))
    assert [row.cluster for row in endpoints] == [f"outbound|80|v2|{host}", f"outbound|80||{host}"]


def test_shares_of_connections_and_what_tells_them_apart_show_in_the_table() -> None:
    match = {
        "server_names": ["a.example.com"],
        "prefix_ranges": [{"address_prefix": "10.1.0.0", "prefix_len": 16}],
        "source_prefix_ranges": [{"address_prefix": "10.244.0.9", "prefix_len": 32}],
    }
    shares = [{"name": "outbound|443|v1|a.example.com", "weight": 90}, {"name": "BlackHoleCluster", "weight": 10}]
    proxy = {
        "name": "envoy.filters.network.tcp_proxy",
        "typed_config": {"weighted_clusters": {"clusters": shares}},
    }
    listener = {
        "name": "0.0.0.0_443",
        "address": {"socket_address": {"address": "0.0.0.0", "port_value": 443}},
        "filter_chains": [{"filter_chain_match": match, "filters": [proxy]}],
    }
    section = {
        "@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump",
        "dynamic_listeners": [{"active_state": {"listener": listener}}],
    }
    [row] = config_dump_rows.listener_rows({"configs": [section]})
    assert row.match == "SNI: a.example.com; Addr: 10.1.0.0/16; Source: 10.244.0.9/32"
    assert row.destination == "Clusters: outbound|443|v1|a.example.com (90), BlackHoleCluster (10)"


def test_routes_inside_a_listener_are_named() -> None:
    [row] = config_dump_rows.listener_rows(STATIC)
    assert (row.port, row.match, row.destination) == (15021, "ALL", "Inline Route: /healthz/ready*")


def test_names_that_users_chose_keep_their_underscores() -> None:
    given = {"filter_metadata": {"my_filter": {"some_key": 1}}, "envoy.my_ext": {"max_requests": 2}}
    assert config_dump.camel_case(given) == {
        "filterMetadata": {"my_filter": {"some_key": 1}},
        "envoy.my_ext": {"maxRequests": 2},
    }


def test_json_and_yaml_hold_the_same_objects() -> None:
    objects = [{"name": "80", "routes": [{"domains": ["*"]}]}]
    assert proxy_tables.as_json(objects).splitlines()[:3] == ["[", "    {", '        "name": "80",']
    assert proxy_tables.as_yaml(objects).splitlines()[0] == "- name: '80'"
