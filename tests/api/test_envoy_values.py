import pytest

from weft.api.envoy_messages import message_class
from weft.api.envoy_values import misfits, parsed
from weft.api.istio_filters import stock_replacement

FILTER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter"
CLUSTER = "envoy.config.cluster.v3.Cluster"
LUA = "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua"


def told(kind: str, value: dict[str, object]) -> list[tuple[str, str, str]]:
    return [(each.fault.path, each.fault.message, each.fault.hint) for each in misfits(kind, value, "value")]


def test_every_misfit_is_found_by_its_path() -> None:
    value = {
        "name": 3,
        "typed_config": {
            "@type": LUA,
            "inlineCode": "x",
            "source_codes": {"a": {"inline_string": 4}},
            "inlineCod": "",
        },
        "disabled": "true",
    }
    assert [path for path, _, _ in told(FILTER, value)] == [
        "value.name",
        "value.typed_config.source_codes.a.inline_string",
        "value.typed_config.inlineCod",
        "value.disabled",
    ]


def test_an_unknown_field_is_left_out_and_the_rest_goes_on() -> None:
    value = {"nam": "x", "name": "y"}
    [misfit] = misfits(FILTER, value, "value")
    assert misfit.unknown
    assert (misfit.fault.path, misfit.fault.hint) == ("value.nam", 'Did you mean "name"?')
    assert parsed(FILTER, value).name == "y"


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("stats.PluginConfig", "envoy.access_loggers.stats"),
        ("istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig", "envoy.filters.http.set_filter_state"),
        ("io.istio.http.peer_metadata.Config", "envoy.filters.http.header_to_metadata"),
        ("envoy.config.filter.http.lua.v2.Lua", "envoy.extensions.filters.http.lua.v3.Lua"),
        ("envoy.extensions.filters.http.lua.v3.Lau", "envoy.extensions.filters.http.lua.v3.Lua"),
        ("nothing.Like.This", "documentation of Envoy"),
    ],
)
def test_a_type_that_envoy_has_not_names_what_to_use(written: str, hint: str) -> None:
    [(path, message, way_out)] = told(FILTER, {"typed_config": {"@type": f"type.googleapis.com/{written}"}})
    assert path == 'value.typed_config["@type"]'
    assert written in message
    assert hint in way_out


def test_a_typed_struct_may_not_hide_a_filter_of_istios() -> None:
    hidden = {
        "@type": "type.googleapis.com/udpa.type.v1.TypedStruct",
        "type_url": "type.googleapis.com/stats.PluginConfig",
    }
    assert [path for path, _, _ in told(FILTER, {"typed_config": hidden})] == ["value.typed_config.type_url"]
    assert told(FILTER, {"typed_config": {**hidden, "type_url": LUA, "value": {"any": ["thing"]}}}) == []


def test_wasm_that_is_compiled_into_istios_envoy_names_what_to_use() -> None:
    wasm = {"@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm"}
    code = {"local": {"inline_string": "envoy.wasm.stats"}}
    vm = {"runtime": "envoy.wasm.runtime.null", "code": code}
    [(path, _, way_out)] = told(FILTER, {"typed_config": {**wasm, "config": {"vm_config": vm}}})
    assert path == "value.typed_config.config"
    assert "envoy.access_loggers.stats" in way_out
    own = {"runtime": "envoy.wasm.runtime.v8", "code": {"local": {"filename": "/a.wasm"}}}
    assert told(FILTER, {"typed_config": {**wasm, "config": {"vm_config": own}}}) == []


@pytest.mark.parametrize(
    ("field", "value", "hint"),
    [
        ("connect_timeout", "1m", 'Write it in seconds: "60s".'),
        ("connect_timeout", 5, 'Write it in seconds: "5s".'),
        ("type", "STATICS", 'Did you mean "STATIC"?'),
        ("alt_stat_name", 7, 'Write it in quotes: "7".'),
        ("per_connection_buffer_limit_bytes", "many", "Write a whole number, 0 or more here."),
        ("health_checks", {}, "Write each entry on a line of its own, after a dash."),
        ("circuit_breakers", [], "Write an object here."),
        ("typed_extension_protocol_options", 1, "Write a map here."),
        ("transport_socket", {"typed_config": "x"}, "Write an object with @type here."),
        ("transport_socket", {"typed_config": {"a": 1}}, "type.googleapis.com/"),
    ],
)
def test_a_value_of_another_kind_says_what_to_write(field: str, value: object, hint: str) -> None:
    [(path, _, way_out)] = told(CLUSTER, {field: value})
    assert path.startswith(f"value.{field}")
    assert hint in way_out


def test_two_of_which_only_one_may_be_are_told() -> None:
    both = {"typed_config": {"@type": LUA}, "config_discovery": {"type_urls": [LUA]}}
    [(path, message, _)] = told(FILTER, both)
    assert path == "value"
    assert "config_type" in message


def test_messages_inside_others_are_found_and_nonsense_is_not() -> None:
    assert message_class(f"{CLUSTER}.EdsClusterConfig") is not None
    assert message_class(f"{CLUSTER}.Nonsense") is None
    assert message_class("os.path") is None
    assert message_class("") is None


def test_stock_filters_need_no_replacement() -> None:
    assert stock_replacement("envoy.filters.http.lua") == ""
    assert stock_replacement("istio.something.new") != ""
