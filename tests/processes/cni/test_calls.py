"""Requests of the plugin as they are read, whatever they are."""

import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.processes.cni import calls
from weft.processes.cni.calls import CallError

VARIABLES = {
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": "ab",
    "CNI_NETNS": "/run/netns/a",
    "CNI_IFNAME": "eth0",
    "CNI_ARGS": "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web;K8S_POD_UID=7",
}
CONFIG = {
    "cniVersion": "1.1.0",
    "prevResult": {"cniVersion": "1.1.0", "ips": []},
    "exclude_namespaces": ["kube-system"],
    "plugin_log_level": "debug",
    "native_nftables": True,
}
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), texts, st.just("1.0.0")),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=5,
)
variables = st.dictionaries(st.sampled_from(sorted(VARIABLES)), texts, max_size=2)
keys = st.dictionaries(st.sampled_from(sorted(CONFIG)), values, max_size=2)


def request(variables: dict[str, str], text: bytes) -> bytes:
    return b"".join(f"{name}={value}\0".encode() for name, value in variables.items()) + b"\0" + text


@given(changed=variables, other=keys, length=st.integers(0, 400), cut=st.booleans())
def test_any_request_is_a_call_or_an_error_of_the_specification(
    *, changed: dict[str, str], other: dict[str, object], length: int, cut: bool
) -> None:
    whole = request(VARIABLES | changed, json.dumps(CONFIG | other).encode())
    sent = whole[:length] if cut else whole
    try:
        call = calls.read(sent)
    except CallError as error:
        code, _, body = error.answer(calls.version(sent)).partition(b"\n")
        answer = json.loads(body)
        assert (code, answer["code"] in {1, 4, 5, 6, 7}, bool(answer["msg"])) == (b"1", True, True)
        assert answer["cniVersion"] in calls.VERSIONS
    else:
        assert call.unchanged.startswith(b"0\n")
        assert call.level >= logging.DEBUG


@given(st.binary(max_size=100))
def test_bytes_that_nobody_meant_are_an_error_too(data: bytes) -> None:
    with pytest.raises(CallError):
        calls.read(data)
    assert calls.version(data) == ""


def test_a_call_says_which_pod_it_is_about_in_whatever_order_the_runtime_writes_it() -> None:
    call = calls.read(request(VARIABLES, json.dumps(CONFIG).encode()))
    assert (call.namespace, call.name, call.uid, call.level) == ("shop", "web", "7", logging.DEBUG)
    turned = "K8S_POD_INFRA_CONTAINER_ID=x;K8S_POD_NAME=web;IgnoreUnknown=1;K8S_POD_NAMESPACE=shop"
    call = calls.read(request(VARIABLES | {"CNI_ARGS": turned}, b'{"cniVersion":"0.3.0"}'))
    assert (call.namespace, call.name, call.uid, call.level) == ("shop", "web", "", logging.INFO)
    assert json.loads(call.unchanged[2:]) == {"cniVersion": "0.3.0"}
