"""The plugin's programs by themselves: what the CNI specification asks for, and what is done alone."""

import ast
import asyncio
import base64
import contextlib
import json
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.cluster.apiserver.servers import Authority
from tests.processes.cni.api import Json
from tests.processes.cni.api import serving as api_serving
from tests.processes.cni.node import serving
from tests.processes.cni.plugins import BEFORE, VERSIONS, attachment, call

from weft import cni_plugin

POD = attachment("shop", "web", uid="7")


@dataclass(frozen=True)
class Case:
    """A call, and the code of its CNI error: 0 where there is none."""

    verb: str
    config: Json | bytes
    error: int
    about: str = ""
    variables: dict[str, str] = field(default_factory=lambda: dict(POD))


def config(version: str = "1.0.0", **keys: object) -> Json:
    return {"cniVersion": version, "name": "pods", "type": "istio-cni", **keys}


def without(name: str) -> dict[str, str]:
    return {key: value for key, value in POD.items() if key != name}


SAME = {
    "DEL": Case("DEL", config(), 0),
    "DEL with garbage": Case("DEL", b"\xff{", 0, variables={}),
    "DEL of an old version": Case("DEL", config("0.1.0"), 0),
    "GC": Case("GC", config("1.1.0", **{"cni.dev/valid-attachments": []}), 0, variables={}),
    "GC before there was one": Case("GC", config("1.0.0"), 1, "does not have GC", {}),
    "STATUS before there was one": Case("STATUS", config("1.0.0"), 1, "does not have STATUS", {}),
    "CHECK before there was one": Case("CHECK", config("0.3.1"), 1, "does not have CHECK"),
    "a version too old": Case("ADD", config("0.2.0"), 1, "0.2.0"),
    "a version too new": Case("ADD", config("2.0.0"), 1, "2.0.0"),
    "no version": Case("ADD", {"name": "pods"}, 1, "cniVersion"),
    "no command": Case("", config(), 4, "CNI_COMMAND"),
    "another command": Case("UPDATE", config(), 4, "UPDATE"),
    "no container": Case("ADD", config(), 4, "CNI_CONTAINERID", without("CONTAINERID")),
    "no namespace": Case("ADD", config(), 4, "CNI_NETNS", without("NETNS")),
    "no interface": Case("CHECK", config(), 4, "CNI_IFNAME", without("IFNAME")),
    "arguments that are no pairs": Case("ADD", config(), 4, "CNI_ARGS", POD | {"ARGS": "K8S_POD_NAME"}),
    "nothing": Case("ADD", b"", 6, "JSON"),
    "half a configuration": Case("ADD", b'{"cniVersion": "1.0.0"', 6, "JSON"),
    "a list": Case("ADD", b"[]", 6, "object"),
    "too deep": Case("ADD", b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", 6, "JSON"),
    "too long": Case("ADD", b" " * ((16 << 20) + 1), 7, "longer"),
    "a result that is none": Case("ADD", config(prevResult=[1]), 7, "prevResult"),
    "namespaces that are no list": Case("ADD", config(exclude_namespaces="shop"), 7, "exclude_namespaces"),
    "a folder that is none": Case("ADD", config(cni_agent_run_dir="run"), 7, "cni_agent_run_dir"),
    "an excluded namespace": Case("ADD", config(exclude_namespaces=["shop"], prevResult=BEFORE), 0),
    "no pod of Kubernetes": Case("ADD", config(prevResult=BEFORE), 0, variables=without("ARGS")),
}
"""What comes out the same whether there is a node process or not."""


async def held(program: Path, case: Case, folder: Path) -> None:
    asked = case.config
    if isinstance(asked, dict):
        asked = {"cni_agent_run_dir": str(folder), **asked}
    answer = await call(program, case.verb, asked, **case.variables)
    assert answer.error == case.error, answer
    if case.error:
        assert case.about in answer.json["msg"], answer
        assert "Traceback" not in answer.err
    elif case.verb == "ADD":
        assert answer.json == BEFORE
    else:
        assert answer.out == b""


@pytest.mark.parametrize("case", SAME.values(), ids=SAME)
async def test_a_call_is_answered_without_a_node_process(program: Path, case: Case, tmp_path: Path) -> None:
    await held(program, case, tmp_path)


async def test_a_node_process_answers_the_same(self_contained: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    async with api_serving(tmp_path) as kube, serving(kube, tmp_path / "run") as node:
        await node.pods.synced.wait()
        for case in SAME.values():
            await held(self_contained, case, node.folder)
        ready = Case("STATUS", config("1.1.0"), 0, variables={})
        await held(self_contained, ready, node.folder)
        for name, value in (("CONTAINERID", "../x"), ("IFNAME", "eth0/1"), ("IFNAME", "0123456789abcdef")):
            await held(self_contained, Case("ADD", config(), 4, f"CNI_{name}", POD | {name: value}), node.folder)
        node.pods.synced.clear()
        await held(self_contained, Case("STATUS", config("1.1.0"), 50, "cannot be added"), node.folder)


async def test_version_prints_what_is_supported(program: Path) -> None:
    for asked in VERSIONS:
        answer = await call(program, "VERSION", {"cniVersion": asked})
        assert answer.json == {"cniVersion": asked, "supportedVersions": VERSIONS}
    assert (await call(program, "VERSION", b"\0")).json["supportedVersions"] == VERSIONS


async def test_while_the_node_process_is_away_an_enrolled_pod_does_not_start_and_the_message_says_why(
    program: Path, tmp_path: Path
) -> None:
    log = tmp_path / "log.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(log))
        listener.settimeout(20)
        asked = config("1.1.0", cni_agent_run_dir=str(tmp_path), pod_namespace="mesh")
        answer = await call(program, "ADD", asked, **POD)
        told = listener.recv(10_000).decode()
    assert answer.error == 11
    message = f"pod shop/web does not start: the node process of istio-cni does not answer ({tmp_path}/plugin"
    assert answer.json["msg"].startswith(message)
    assert "kubectl get pods -n mesh -l k8s-app=istio-cni-node" in answer.json["details"]
    assert told == f"error {answer.json['msg']}"
    assert answer.err == f"istio-cni: {told}\n"
    itself = await call(program, "ADD", asked, **attachment("mesh", "istio-cni-node-x2x4"))
    assert itself.json == {"cniVersion": "1.1.0"}
    assert (await call(program, "CHECK", asked, **POD)).error == 11
    assert (await call(program, "STATUS", asked)).error == 50


@pytest.mark.parametrize("said", [b"", b"0", b"x\n{}", b"\n{}"])
async def test_an_answer_that_is_cut_off_is_none(program: Path, said: bytes, tmp_path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.write(said)
        writer.close()

    async with await asyncio.start_unix_server(answer, tmp_path / "pluginevent.sock"):
        answered = await call(program, "ADD", config(cni_agent_run_dir=str(tmp_path)), **POD)
    assert answered.error == 11
    assert "it has ended before it answered" in answered.json["msg"]


@contextlib.asynccontextmanager
async def api(folder: Path, pods: dict[str, Json], seconds: float = 0.0) -> AsyncIterator[Path]:
    """An API server that has these pods, and the kubeconfig that the node process writes."""
    authority = Authority(folder / "pki")
    authority.issue("api", "kube-apiserver", sans=("127.0.0.1",))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "pki" / "api.crt", folder / "pki" / "api.key")

    async def get(request: web.Request) -> web.Response:
        await asyncio.sleep(seconds)
        if request.headers.get("Authorization") != "Bearer t0k3n":
            return web.json_response({}, status=401)
        pod = pods.get(request.match_info["name"])
        return web.json_response(pod or {}, status=200 if pod else 404)

    app = web.Application()
    app.router.add_get("/api/v1/namespaces/shop/pods/{name}", get)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    (folder / "token").write_text("t0k3n\n")
    cluster = {
        "server": f"https://127.0.0.1:{runner.addresses[0][1]}",
        "certificate-authority-data": base64.b64encode((folder / "pki" / "ca.crt").read_bytes()).decode(),
    }
    user = {"tokenFile": str(folder / "token")}
    written = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "local", "cluster": cluster}],
        "users": [{"name": "istio-cni", "user": user}],
    }
    (folder / "kubeconfig").write_text(json.dumps(written))
    try:
        yield folder / "kubeconfig"
    finally:
        await runner.cleanup()


def known(uid: str, **annotations: str) -> Json:
    return {"metadata": {"uid": uid, "annotations": annotations}}


async def test_while_the_node_process_is_away_the_api_server_says_which_pods_are_not_the_meshs(
    tmp_path: Path,
) -> None:
    status = {"sidecar.istio.io/status": "{}"}
    pods = {
        "plain": known("1"),
        "meshed": known("2", **status),
        "mirror": known("3", **{"kubernetes.io/config.hash": "9"}),
    }
    async with api(tmp_path, pods) as kubeconfig:
        asked = config(cni_agent_run_dir=str(tmp_path), kubeconfig=str(kubeconfig), prevResult=BEFORE)
        for name, uid, error, about in (
            ("plain", "1", 0, ""),
            ("plain", "", 0, ""),
            ("mirror", "9", 0, ""),
            ("plain", "other", 11, "another pod of this name"),
            ("meshed", "2", 11, "it is in the mesh"),
            ("unknown", "4", 11, "404"),
        ):
            answer = await call(cni_plugin.PYTHON, "ADD", asked, **attachment("shop", name, uid=uid))
            assert answer.error == error, (name, answer)
            assert about in answer.json["msg"] if error else answer.json == BEFORE
        (tmp_path / "token").write_text("another")
        refused = await call(cni_plugin.PYTHON, "ADD", asked, **attachment("shop", "plain"))
        assert (refused.error, "takes the token" in refused.json["msg"]) == (11, True)
    gone = await call(cni_plugin.PYTHON, "ADD", asked, **attachment("shop", "plain"))
    assert (gone.error, "cannot be asked" in gone.json["msg"]) == (11, True)


@pytest.mark.parametrize("hasty", ["python"], indirect=True)
async def test_an_api_server_that_does_not_answer_is_not_waited_for_long(hasty: Path, tmp_path: Path) -> None:
    async with api(tmp_path, {"plain": known("1")}, seconds=60) as kubeconfig:
        asked = config(cni_agent_run_dir=str(tmp_path), kubeconfig=str(kubeconfig))
        answer = await call(hasty, "ADD", asked, **attachment("shop", "plain"))
    assert (answer.error, "no answer in 1 s" in answer.json["msg"]) == (11, True)


async def test_a_node_process_that_hangs_is_as_good_as_none(hasty: Path, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "pluginevent.sock"))
        server.listen()
        asked = config(cni_agent_run_dir=str(tmp_path), exclude_namespaces=["kube-system"], prevResult=BEFORE)
        answer = await call(hasty, "ADD", asked, **POD)
        assert answer.error == 11
        assert f"{tmp_path}/pluginevent.sock: no answer in 1 s" in answer.json["msg"]
        passed = await call(hasty, "ADD", asked, **attachment("kube-system", "dns"))
        assert passed.json == BEFORE


names = st.sampled_from(["COMMAND", "CONTAINERID", "NETNS", "IFNAME", "ARGS", "PATH"])
values = st.one_of(
    st.sampled_from(["ADD", "CHECK", "GC", "STATUS", "VERSION", "K8S_POD_NAME=a;K8S_POD_NAMESPACE=b"]),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20),
)
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.floats(), st.text(max_size=5), st.sampled_from(VERSIONS)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=6,
)
keys = st.sampled_from(["cniVersion", "prevResult", "exclude_namespaces", "kubeconfig", "pod_namespace", "x"])
configurations = st.one_of(
    st.binary(max_size=60),
    st.dictionaries(keys, json_values, max_size=5).map(lambda found: json.dumps(found).encode()),
    st.tuples(st.dictionaries(keys, json_values), st.integers(0, 40)).map(
        lambda found: json.dumps(found[0]).encode()[: found[1]]
    ),
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(variables=st.dictionaries(names, values, max_size=6), text=configurations, verb=values)
def test_whatever_comes_the_answer_is_one_of_the_specification(
    program: Path, variables: dict[str, str], text: bytes, verb: str
) -> None:
    environment = {"CNI_COMMAND": verb, "CNI_CONTAINERID": "a", "CNI_NETNS": "/n", "CNI_IFNAME": "e"}
    environment |= {f"CNI_{name}": value for name, value in variables.items()}
    done = subprocess.run([program], input=text, capture_output=True, env=environment, timeout=60, check=False)
    assert b"Traceback" not in done.stderr
    if done.returncode:
        error = json.loads(done.stdout)
        assert set(error) - {"details"} == {"cniVersion", "code", "msg"}
        assert (done.returncode, error["code"] in {1, 4, 6, 7, 11, 50}) == (1, True), error
    elif environment["CNI_COMMAND"] in {"ADD", "VERSION"}:
        json.loads(done.stdout)


def test_the_program_for_python_runs_by_3_8_with_its_standard_library() -> None:
    text = cni_plugin.PYTHON.read_text()
    assert text.startswith("#!/usr/bin/python3 -ISE\n")
    assert cni_plugin.PYTHON.stat().st_mode & 0o111
    tree = ast.parse(text, feature_version=(3, 8))
    imported = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    modules = {alias.name for node in imported if isinstance(node, ast.Import) for alias in node.names}
    modules |= {str(node.module) for node in imported if isinstance(node, ast.ImportFrom)}
    assert {module.partition(".")[0] for module in modules} <= sys.stdlib_module_names
    at_once = {node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)}
    assert {alias.name for node in at_once if isinstance(node, ast.Import) for alias in node.names} == {"sys"}
    assert {node.module for node in at_once if isinstance(node, ast.ImportFrom)} == {"_socket", "posix"}
