from typing import Any

from google.protobuf import json_format

from weft.api.envoy_values import parsed
from weft.xds.patch_merge import merge

CLUSTER = "envoy.config.cluster.v3.Cluster"
MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
FILTER = "envoy.config.listener.v3.Filter"
OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def merged(kind: str, target: dict[str, Any], source: dict[str, Any], *, replace_lists: bool = False) -> Any:
    message = parsed(kind, target)
    merge(message, parsed(kind, source), replace_lists=replace_lists)
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


def test_scalars_replace_and_messages_merge() -> None:
    before = {"name": "a", "common_lb_config": {"healthy_panic_threshold": {"value": 20}}}
    change = {
        "per_connection_buffer_limit_bytes": 5,
        "common_lb_config": {"ignore_new_hosts_until_first_hc": True},
    }
    assert merged(CLUSTER, before, change) == {
        "name": "a",
        "per_connection_buffer_limit_bytes": 5,
        "common_lb_config": {"healthy_panic_threshold": {"value": 20.0}, "ignore_new_hosts_until_first_hc": True},
    }


def test_lists_grow_or_are_replaced() -> None:
    before = {"circuit_breakers": {"thresholds": [{"max_connections": 1}]}}
    change = {"circuit_breakers": {"thresholds": [{"max_connections": 2}]}}
    both = {"circuit_breakers": {"thresholds": [{"max_connections": 1}, {"max_connections": 2}]}}
    assert merged(CLUSTER, before, change) == both
    assert merged(CLUSTER, before, change, replace_lists=True) == change


def test_a_duration_is_replaced_whole() -> None:
    assert merged(CLUSTER, {"connect_timeout": "1.5s"}, {"connect_timeout": "2s"}) == {"connect_timeout": "2s"}


def test_false_can_be_said_where_the_field_is_wrapped() -> None:
    assert merged(MANAGER, {"normalize_path": True}, {"normalize_path": False}) == {"normalize_path": False}


def test_one_of_several_takes_the_place_of_another() -> None:
    before = {"rds": {"route_config_name": "80", "config_source": {"ads": {}}}}
    assert merged(MANAGER, before, {"route_config": {"name": "own"}}) == {"route_config": {"name": "own"}}


def test_an_empty_message_is_there_after_a_merge() -> None:
    change: dict[str, Any] = {"upstream_connection_options": {"tcp_keepalive": {}}}
    assert merged(CLUSTER, {"name": "a"}, change) == {"name": "a", **change}


def test_equal_types_merge_inside_an_any_and_others_replace() -> None:
    tcp = {"@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"}
    before = {"name": "tcp", "typed_config": {**tcp, "stat_prefix": "a", "cluster": "b"}}
    longer = {"typed_config": {**tcp, "idle_timeout": "5s"}}
    assert merged(FILTER, before, longer)["typed_config"] == {
        **before["typed_config"],  # type: ignore[dict-item]  # it is a dict
        "idle_timeout": "5s",
    }
    echo = {"typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo"}}
    assert merged(FILTER, before, echo) == {"name": "tcp", **echo}


def test_entries_of_a_map_are_replaced_except_that_anys_merge() -> None:
    url = {"@type": f"type.googleapis.com/{OPTIONS}"}
    explicit: dict[str, Any] = {"explicit_http_config": {"http2_protocol_options": {}}}
    before = {
        "typed_extension_protocol_options": {OPTIONS: {**url, **explicit}},
        "metadata": {"filter_metadata": {"istio": {"a": 1}, "other": {"b": 2}}},
    }
    change = {
        "typed_extension_protocol_options": {
            OPTIONS: {**url, "common_http_protocol_options": {"idle_timeout": "9s"}}
        },
        "metadata": {"filter_metadata": {"istio": {"c": 3}}},
    }
    found = merged(CLUSTER, before, change)
    options = found["typed_extension_protocol_options"][OPTIONS]
    assert options == {**url, **explicit, "common_http_protocol_options": {"idle_timeout": "9s"}}
    assert found["metadata"]["filter_metadata"] == {"istio": {"c": 3.0}, "other": {"b": 2.0}}
