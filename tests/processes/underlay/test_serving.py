"""Calls as they come over the wire: what the specification does not allow, and what plugins say."""

import json
from typing import Any

import pytest

from weft.processes.cni import calls
from weft.processes.cni.calls import CallError
from weft.processes.cni.metrics import Registry
from weft.processes.underlay.plugins import Call
from weft.processes.underlay.serving import Serving

Json = dict[str, Any]

POD = {
    "CNI_CONTAINERID": "ab12",
    "CNI_NETNS": "/run/netns/x",
    "CNI_IFNAME": "eth0",
    "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web;K8S_POD_UID=7",
}
CONFIG: Json = {"cniVersion": "1.0.0", "name": "n", "type": "multus"}


class Noting:
    """A plugin that notes its calls, and gives the pod of the call before it."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.calls: list[Call] = []
        self._failure = failure

    async def add(self, call: Call) -> Json:
        self._note(call)
        ips = [{"address": "10.0.0.1/24"}, {"address": "fd00::1/64"}]
        return {"cniVersion": "1.0.0", "interfaces": [{"name": "eth0", "sandbox": call.sandbox}], "ips": ips}

    async def delete(self, call: Call) -> None:
        self._note(call)

    async def check(self, call: Call) -> None:
        self._note(call)

    async def gc(self, call: Call) -> None:
        self._note(call)

    async def status(self, call: Call) -> None:
        self._note(call)

    def _note(self, call: Call) -> None:
        self.calls.append(call)
        if self._failure:
            raise self._failure


def request(command: str, config: Json | bytes, variables: dict[str, str] | None = None) -> bytes:
    given = {"CNI_COMMAND": command, "CNI_PLUGIN": "multus", **(POD if variables is None else variables)}
    head = "".join(f"{name}={value}\0" for name, value in given.items())
    return head.encode() + b"\0" + (config if isinstance(config, bytes) else json.dumps(config).encode())


async def ask(asked: bytes, plugin: Noting, netns: str = "/dev/null") -> tuple[int, Json]:
    registry = Registry()
    answer = await Serving({"multus": plugin}, registry, lambda: 0.0).answer(asked, netns)
    code, _, text = answer.partition(b"\n")
    assert "spiderpool_cni_calls_total{" in registry.text()
    return int(code), json.loads(text) if text.strip() else {}


WRONG: dict[str, tuple[bytes, int, str]] = {
    "no command": (request("", CONFIG), 4, "CNI_COMMAND"),
    "no container": (request("ADD", CONFIG, {"CNI_NETNS": "/x", "CNI_IFNAME": "eth0"}), 4, "CNI_CONTAINERID"),
    "a container that is a path": (
        request("DEL", CONFIG, POD | {"CNI_CONTAINERID": "../x"}),
        4,
        "CNI_CONTAINERID",
    ),
    "no JSON": (request("ADD", b"{"), 6, "no JSON object"),
    "a list": (request("DEL", b"[]"), 6, "no JSON object"),
    "no version": (request("ADD", {"name": "n"}), 1, "no cniVersion"),
    "an unknown version": (request("ADD", CONFIG | {"cniVersion": "0.2.0"}), 1, "0.2.0"),
    "a version without CHECK": (request("CHECK", CONFIG | {"cniVersion": "0.3.1"}), 1, "does not have CHECK"),
    "a result that is none": (request("ADD", CONFIG | {"prevResult": {"ips": [1]}}), 7, "prevResult"),
    "attachments that are none": (
        request("GC", CONFIG | {"cniVersion": "1.1.0", "cni.dev/valid-attachments": {}}),
        7,
        "valid-attachments",
    ),
    "arguments that are none": (request("ADD", CONFIG, POD | {"CNI_ARGS": "x"}), 4, "CNI_ARGS"),
    "another plugin": (request("ADD", CONFIG, POD | {"CNI_PLUGIN": "ptp"}), 4, "no plugin of type 'ptp'"),
    "cut off": (b"CNI_COMMAND=ADD", 5, "cut off"),
}


@pytest.mark.parametrize("case", WRONG.values(), ids=WRONG)
async def test_what_the_specification_does_not_allow_reaches_no_plugin(case: tuple[bytes, int, str]) -> None:
    asked, error, about = case
    plugin = Noting()
    code, answer = await ask(asked, plugin)
    assert (code, answer["code"]) == (1, error), answer
    assert about in answer["msg"]
    assert plugin.calls == []


@pytest.mark.parametrize("version", calls.VERSIONS)
async def test_a_plugin_gets_one_form_and_the_runtime_its_own(version: str) -> None:
    before = {"cniVersion": version, "ips": [{"version": "4", "address": "10.0.0.9/24"}]}
    plugin = Noting()
    code, answer = await ask(request("ADD", CONFIG | {"cniVersion": version, "prevResult": before}), plugin)
    assert (code, answer["cniVersion"]) == (0, version)
    older = version in {"0.3.0", "0.3.1", "0.4.0"}
    assert [each.get("version") for each in answer["ips"]] == (["4", "6"] if older else [None, None])
    (call,) = plugin.calls
    assert call.config["prevResult"] == {"cniVersion": "1.0.0", "ips": [{"address": "10.0.0.9/24"}]}
    assert (call.namespace, call.name, call.uid, call.ifname) == ("shop", "web", "7", "eth0")
    assert (call.netns, call.sandbox) == ("/dev/null", "/run/netns/x")


async def test_each_command_is_answered() -> None:
    plugin = Noting()
    for command in ("ADD", "CHECK", "DEL", "GC", "STATUS"):
        code, _ = await ask(request(command, CONFIG | {"cniVersion": "1.1.0"}), plugin)
        assert code == 0
    assert [each.command for each in plugin.calls] == ["ADD", "CHECK", "DEL", "GC", "STATUS"]


async def test_failures_are_told_in_the_runtimes_version() -> None:
    failing = Noting(CallError(11, "later", "wait"))
    assert await ask(request("ADD", CONFIG), failing) == (
        1,
        {"cniVersion": "1.0.0", "code": 11, "msg": "later", "details": "wait"},
    )
    code, answer = await ask(request("DEL", CONFIG), Noting(KeyError("x")))
    assert (code, answer["code"]) == (1, 100)
    assert "a defect of the node process: KeyError" in answer["msg"]
