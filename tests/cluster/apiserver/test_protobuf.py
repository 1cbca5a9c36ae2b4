"""Kubernetes' protobuf: real kubectl's bodies, the descriptors inside a real kubectl, and bytes that are none."""

import asyncio
import contextlib
import json
import zlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from weft.cluster.apiserver import discovery, protobuf
from weft.cluster.apiserver.catalog import BUILT_IN
from weft.cluster.apiserver.protobuf.envelope import Field, _table
from weft.cluster.apiserver.protobuf.special import duration

ROOT = Path(__file__).parents[3]
NEWEST, OLD = ROOT / ".tools/kubectl-newest/kubectl", ROOT / ".tools/kubectl-1.20/kubectl"


def without_empty(value: Any) -> Any:
    """What JSON encoders of different age leave in or out: nulls and empty objects."""
    match value:
        case dict():
            kept = {key: without_empty(inner) for key, inner in value.items()}
            return {key: inner for key, inner in kept.items() if inner not in ({}, [], None)}
        case list():
            return [without_empty(inner) for inner in value]
        case _:
            return value


# --- bodies of the newest kubectl ---


class Recorder:
    """A server that takes what is created, keeps the bodies, and gives the decoded objects back."""

    def __init__(self) -> None:
        self.types: list[str] = []
        self.objects: list[dict[str, Any]] = []
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        self.types.append(request.content_type)
        self.objects.append(protobuf.decode(await request.read()))
        return web.json_response(self.objects[-1], status=201)

    async def version(self, request: web.Request) -> web.Response:
        group, version = request.match_info.get("group", ""), request.match_info.get("version", "v1")
        return web.json_response(discovery.resource_list(BUILT_IN, group, version))

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/api", self.groups)
        app.router.add_get("/apis", self.groups)
        app.router.add_get("/api/v1", self.version)
        app.router.add_get("/apis/{group}/{version}", self.version)
        app.router.add_post("/{rest:.*}", self.take)
        return app

    async def groups(self, request: web.Request) -> web.Response:
        core = request.path == "/api"
        return web.json_response(discovery.api_versions() if core else discovery.api_group_list(BUILT_IN))


async def kubectl(*arguments: str) -> bytes:
    process = await asyncio.create_subprocess_exec(
        NEWEST, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0, err
    return out


@pytest.fixture
async def recorder() -> AsyncIterator[Recorder]:
    recorder = Recorder()
    runner = web.AppRunner(recorder.application(), shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    recorder.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield recorder
    await runner.cleanup()


@pytest.mark.parametrize(
    "command",
    [
        "namespace sidecar",
        "configmap c --from-literal=a=b --from-file=binary={binary}",
        "secret generic s --from-literal=password=x --from-file=binary={binary}",
        "serviceaccount robot",
        "deployment web --image=nginx:1.25.3 --replicas=0 --port=80",
        "service clusterip web --tcp=80:8080 --tcp=443",
        "service nodeport np --tcp=80:http --node-port=30080",
        "service externalname far --external-name=example.org",
        "role reader --verb=get,list --resource=pods,deployments.apps",
        "clusterrole viewer --verb=get --non-resource-url=/healthz",
        "clusterrolebinding b --clusterrole=viewer --user=jane --serviceaccount=default:robot",
        "rolebinding rb --role=reader --group=devs",
        "ingress i --class=nginx --rule=example.org/path*=web:80,tls=cert",
        "job once --image=busybox -- true",
        "cronjob tick --image=busybox --schedule=*/5(*(*(*(* -- date",
        "quota q --hard=cpu=1500m,memory=1Gi,pods=10",
        "poddisruptionbudget p --selector=app=web --min-available=50%",
        "priorityclass high --value=1000 --global-default=false --description=most",
    ],
)
async def test_what_the_newest_kubectl_creates_is_read_as_its_own_json_says(
    recorder: Recorder, tmp_path: Path, command: str
) -> None:
    (tmp_path / "binary").write_bytes(bytes(range(256)))
    words = [word.replace("(", " ") for word in command.format(binary=tmp_path / "binary").split()]
    create = [
        "create",
        *words[:1],
        f"--server={recorder.url}",
        "--kubeconfig=/dev/null",
        f"--cache-dir={tmp_path}",
    ]
    await kubectl(*create, *words[1:])
    assert recorder.types == [protobuf.MEDIA_TYPE]
    shown = json.loads(await kubectl(*create, "--dry-run=client", "-o=json", *words[1:]))
    shown["metadata"].pop("namespace", None)
    recorder.objects[0]["metadata"].pop("namespace", None)
    assert without_empty(recorder.objects[0]) == without_empty(shown)


# --- the descriptors that kubectl 1.20 carries ---


def descriptors() -> Iterator[descriptor_pb2.FileDescriptorProto]:
    """The gzipped file descriptors of Kubernetes' API in the binary (Go registers them at start)."""
    binary, at = OLD.read_bytes(), 0
    while (at := binary.find(b"\x1f\x8b\x08", at)) != -1:
        try:
            raw = zlib.decompressobj(31).decompress(binary[at : at + 400_000])
            file = descriptor_pb2.FileDescriptorProto.FromString(raw)
        except Exception:  # noqa: BLE001  # most places with these three bytes are something else
            file = descriptor_pb2.FileDescriptorProto()
        if file.package.startswith("k8s.io.api") and "metrics" not in file.package:
            yield file
        at += 3


@pytest.fixture(scope="module")
def old_files() -> list[descriptor_pb2.FileDescriptorProto]:
    return list(descriptors())


def short(package: str) -> str:
    if package.startswith("k8s.io.api."):
        return "/".join(package.removeprefix("k8s.io.api.").split("."))
    return {"k8s.io.apimachinery.pkg.apis.meta.v1": "meta/v1"}.get(package, package.rsplit(".", maxsplit=1)[-1])


def test_the_table_agrees_with_the_descriptors_inside_kubectl(
    old_files: list[descriptor_pb2.FileDescriptorProto],
) -> None:
    table, compared = _table(), 0
    for file in old_files:
        for message in file.message_type:
            known = table.get(f"{short(file.package)}.{message.name}")
            for field in message.field if known else []:
                ours: Field | None = known.get(field.number) if known else None
                if ours is None:
                    continue  # dropped from Kubernetes since
                compared += 1
                assert ours.repeated or ours.mapped or field.label != field.LABEL_REPEATED, (
                    message.name,
                    field.name,
                )
                if not ours.mapped and field.type == field.TYPE_MESSAGE:
                    assert ours.type in table, (message.name, field.name)  # some messages have other names by now
                elif not ours.mapped:
                    kind = descriptor_pb2.FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
                    assert ours.type == kind, (message.name, field.name)
    assert compared > 1200


def envelope(api_version: str, kind: str, raw: bytes) -> bytes:
    """A body by the bytes: `k8s\\0` and runtime.Unknown of type and message."""

    def run(number: int, payload: bytes) -> bytes:
        length, out = len(payload), bytearray([number << 3 | 2])
        while length > 0x7F:
            out.append(length & 0x7F | 0x80)
            length >>= 7
        return bytes([*out, length]) + payload

    return b"k8s\0" + run(1, run(1, api_version.encode()) + run(2, kind.encode())) + run(2, raw)


@pytest.fixture(scope="module")
def pool(old_files: list[descriptor_pb2.FileDescriptorProto]) -> descriptor_pool.DescriptorPool:
    found = descriptor_pool.DescriptorPool()
    waiting = {file.name.removeprefix("k8s.io/kubernetes/vendor/"): file for file in old_files}
    added: set[str] = set()

    def add(name: str) -> None:
        if name in added or name not in waiting:
            return
        added.add(name)
        file = waiting[name]
        kept = [one for one in file.dependency if one in waiting]
        for one in kept:
            add(one)
        copy = descriptor_pb2.FileDescriptorProto()
        copy.CopyFrom(file)
        copy.name = name
        copy.ClearField("options")
        del copy.dependency[:]
        copy.dependency.extend(kept)
        found.Add(copy)

    for name in list(waiting):
        add(name)
    return found


def message(pool: descriptor_pool.DescriptorPool, name: str, text: dict[str, Any]) -> Message:
    made = message_factory.GetMessageClass(pool.FindMessageTypeByName(name))()
    json_format.ParseDict(text, made)
    return made


def test_a_pod_with_probes_volumes_and_times_is_read(pool: descriptor_pool.DescriptorPool) -> None:
    pod = message(
        pool,
        "k8s.io.api.core.v1.Pod",
        {
            "metadata": {
                "name": "p",
                "creationTimestamp": {"seconds": 1641036031},
                "labels": {"a": "b", "empty": ""},
            },
            "spec": {
                "volumes": [{"name": "v", "volumeSource": {"emptyDir": {}}}],
                "containers": [
                    {
                        "name": "c",
                        "livenessProbe": {"handler": {"httpGet": {"port": {"type": 1, "strVal": "http"}}}},
                        "readinessProbe": {"handler": {"tcpSocket": {"port": {"type": 0, "intVal": 80}}}},
                        "resources": {"limits": {"cpu": {"string": "500m"}}},
                        "securityContext": {"runAsUser": 0, "privileged": False},
                    }
                ],
                "ephemeralContainers": [
                    {"ephemeralContainerCommon": {"name": "debug"}, "targetContainerName": "c"}
                ],
                "terminationGracePeriodSeconds": 0,
                "hostNetwork": False,
            },
            "status": {"phase": ""},
        },
    )
    found = protobuf.decode(envelope("v1", "Pod", pod.SerializeToString()))
    assert found["metadata"] == {
        "name": "p",
        "creationTimestamp": "2022-01-01T11:20:31Z",
        "labels": {"a": "b", "empty": ""},
    }
    assert found["spec"] == {
        "volumes": [{"name": "v", "emptyDir": {}}],
        "containers": [
            {
                "name": "c",
                "livenessProbe": {"httpGet": {"port": "http"}},
                "readinessProbe": {"tcpSocket": {"port": 80}},
                "resources": {"limits": {"cpu": "500m"}},
                "securityContext": {"runAsUser": 0, "privileged": False},
            }
        ],
        "ephemeralContainers": [{"name": "debug", "targetContainerName": "c"}],
        "terminationGracePeriodSeconds": 0,
    }


def test_numbers_below_zero_and_lists_of_names_are_read(pool: descriptor_pool.DescriptorPool) -> None:
    review = message(
        pool,
        "k8s.io.api.authentication.v1.TokenReview",
        {
            "status": {
                "user": {"username": "jane", "extra": {"scopes": {"items": ["a", "b"]}}},
                "authenticated": True,
            }
        },
    )
    found = protobuf.decode(envelope("authentication.k8s.io/v1", "TokenReview", review.SerializeToString()))
    assert found["status"]["user"] == {"username": "jane", "extra": {"scopes": ["a", "b"]}}
    priority = message(pool, "k8s.io.api.scheduling.v1.PriorityClass", {"value": -5})
    raw = priority.SerializeToString()
    assert protobuf.decode(envelope("scheduling.k8s.io/v1", "PriorityClass", raw))["value"] == -5


def test_options_of_deletion_belong_to_every_group(pool: descriptor_pool.DescriptorPool) -> None:
    options = message(
        pool,
        "k8s.io.apimachinery.pkg.apis.meta.v1.DeleteOptions",
        {"gracePeriodSeconds": 0, "propagationPolicy": "Foreground"},
    ).SerializeToString()
    for api_version in ("v1", "apps/v1", "policy/v1", "meta.k8s.io/v1"):
        found = protobuf.decode(envelope(api_version, "DeleteOptions", options))
        assert found == {
            "apiVersion": api_version,
            "kind": "DeleteOptions",
            "gracePeriodSeconds": 0,
            "propagationPolicy": "Foreground",
        }


# --- what is no such body ---


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"kind":"Pod"}', "does not begin with"),
        (envelope("example.org/v1", "Thing", b""), "example.org/v1 Thing"),
        (envelope("apps.example.org/v1", "Deployment", b""), "send JSON"),
        (envelope("v1", "Pod", b"\x0a\xff\x01"), "longer than its message"),
        (envelope("v1", "Pod", b"\x08\x01"), "metadata is a number"),
        (envelope("v1", "Pod", b"\x0a\x03\x0a\x01\xff"), "no UTF-8"),
    ],
)
def test_a_wrong_body_is_refused_with_its_reason(body: bytes, words: str) -> None:
    with pytest.raises(protobuf.ProtobufError, match=words):
        protobuf.decode(body)


def test_schemas_within_schemas_end_somewhere() -> None:
    raw = b""
    for _ in range(5000):
        length, prefix = len(raw), bytearray(b"\xe2\x01")  # field 28, `not`
        while length > 0x7F:
            prefix.append(length & 0x7F | 0x80)
            length >>= 7
        raw = bytes([*prefix, length]) + raw
    with pytest.raises(protobuf.ProtobufError, match="deeper"):
        protobuf.decode(envelope("apiextensions.k8s.io/v1", "JSONSchemaProps", raw))


@given(st.binary(max_size=300), st.sampled_from(["Pod", "Event", "Secret", "Service", "DeleteOptions", "PodList"]))
def test_random_bytes_are_an_object_or_a_protobuf_error(raw: bytes, kind: str) -> None:
    for body in (envelope("v1", kind, raw), b"k8s\0" + raw):
        with contextlib.suppress(protobuf.ProtobufError):
            json.dumps(protobuf.decode(body), allow_nan=False)


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0s"),
        (90 * 10**9, "1m30s"),
        (3600 * 10**9, "1h0m0s"),
        (1_500_000_000, "1.5s"),
        (20_000_000, "20ms"),
        (-(10**9), "-1s"),
    ],
)
def test_durations_are_written_as_go_writes_them(nanoseconds: int, text: str) -> None:
    assert duration(nanoseconds) == text
