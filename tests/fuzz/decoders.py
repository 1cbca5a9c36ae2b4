"""What takes bytes from outside, each with the refusals in which it may end: nothing else is ever raised.

`corpus/DECODER/*` are inputs that went wrong once or that reach far into a decoder.
"""

import contextlib
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from weft.adapters import resolv_conf
from weft.adapters.dns import messages as dns_messages
from weft.api import mesh_config_decode
from weft.cluster import schedule
from weft.cluster.apiserver import (
    decoding,
    paths,
    protobuf,
    quantities,
    reading,
    selectors,
    spdy,
    tables,
)
from weft.cluster.apiserver.catalog import BUILT_IN
from weft.cluster.apiserver.errors import StatusError
from weft.cluster.apiserver.patches import json as json_patch
from weft.cluster.apiserver.patches import merge, ownership, strategic
from weft.cluster.apiserver.rest import bodies, deadlines
from weft.cluster.apiserver.schemas import Schemas
from weft.cluster.apiserver.streams_channels import Channels
from weft.cluster.apiserver.tables import jsonpath
from weft.model.mesh_settings import mesh_config
from weft.pki import credentials, messages, pem, plugged, request, revocation, succession
from weft.processes.agent.name_feed import NameFeed
from weft.processes.agent.relay import type_of
from weft.processes.agent.trust_feed import TrustFeed
from weft.xds import name_messages

CORPUS = Path(__file__).with_name("corpus")
SCHEMAS = Schemas.bundled()
KINDS = {kind.kind: kind for kind in BUILT_IN if kind.kind in {"Pod", "Service", "Deployment"}}
Decoder = Callable[[bytes], object]


def pod() -> dict[str, object]:
    return {"metadata": {"name": "a"}, "spec": {"containers": [{"name": "a", "env": [{"name": "A"}]}]}}


def body(media: str) -> Decoder:
    return lambda data: bodies.parse(data, media)


def typed(data: bytes) -> object:
    value = bodies.parse(data, "application/json")
    if not isinstance(value, dict):
        return None
    return [decoding.decode(value, kind, SCHEMAS.of(kind) or {}, SCHEMAS) for kind in KINDS.values()]


def patched(data: bytes) -> object:
    return json_patch.apply(pod(), bodies.parse(data, "application/json-patch+json"))


def merged(data: bytes) -> object:
    kind = KINDS["Pod"]
    patch = bodies.parse(data, "application/strategic-merge-patch+json")
    return strategic.apply(pod(), patch, SCHEMAS.of(kind) or {}, SCHEMAS)


def spdy_frames(data: bytes) -> object:
    for client in (True, False):
        session = spdy.Session(client=client)
        if client:
            session.open({"streamtype": "error"})
        session.receive(data)
    return session.data_to_send()


def channels(data: bytes) -> object:
    one = Channels({"stdin": "true", "stdout": "true", "tty": "true"})
    one.from_client(data)
    return [one.from_kubelet(data), one.lost(), one.to_kubelet()]


def labels(data: bytes) -> object:
    return selectors.parse_labels(data.decode(errors="replace"))


def fields(data: bytes) -> object:
    return selectors.parse_fields(data.decode(errors="replace"), "pods")


def quantity(data: bytes) -> object:
    return quantities.canonical(data.decode(errors="replace"))


def path(data: bytes) -> object:
    return paths.parse(data.decode(errors="replace"))


def objects(data: bytes, media: str = "application/json") -> list[dict[str, Any]]:
    """The objects of a body's list, which is how a decoder of several is fed."""
    value = bodies.parse(data, media)
    items = value if isinstance(value, list) else [value]
    return [item for item in items if isinstance(item, dict)]


def applied(data: bytes) -> object:
    """Server-side applies by two managers, one after another, each with a list of objects given in turn."""
    grammar = ownership.Grammar({**(SCHEMAS.of(KINDS["Pod"]) or {})}, SCHEMAS)
    live: dict[str, Any] | None = None
    for turn, obj in enumerate(objects(data, "application/apply-patch+yaml")):
        one = decoding.decode(obj, KINDS["Pod"], grammar.schema, SCHEMAS).obj
        one["metadata"] = {"name": "a", **(one.get("metadata") or {})}
        one["metadata"].pop("managedFields", None)
        writer = ownership.Writer(f"m{turn % 2}", "v1", "", "2026-01-01T00:00:00Z")
        live = ownership.apply(live, one, writer, grammar, force=turn % 3 > 0)
    return live


def tabled(data: bytes) -> object:
    """Rows of tables: each object as every kind, and by a custom column whose path is its name."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    rows = []
    for obj in objects(data):
        for kind in BUILT_IN:
            with contextlib.suppress(StatusError):
                known = decoding.decode(obj, kind, SCHEMAS.of(kind) or {}, SCHEMAS).obj
                rows.append(tables.table(kind, [{**known, "metadata": known.get("metadata") or {}}], now))
    return rows


def printed(data: bytes) -> object:
    path, _, value = data.decode(errors="replace").partition("\n")
    return list(jsonpath.find(jsonpath.parse(path), bodies.parse(value.encode(), "application/json")))


def scheduled(data: bytes) -> object:
    return schedule.parse(data.decode(errors="replace")).after(datetime(2026, 1, 1, tzinfo=UTC))


def merged_plainly(data: bytes) -> object:
    return merge.merge(pod(), bodies.parse(data, "application/merge-patch+json"))


def page_token(data: bytes) -> object:
    return reading._read_token(data.decode(errors="replace"))


def deadline(data: bytes) -> object:
    return deadlines.seconds({"timeout": data.decode(errors="replace")})


def credential(data: bytes) -> object:
    """What a Secret holds for a gateway: a chain and its key, and roots with a list of the revoked."""
    chain, _, key = data.partition(b"\n\n")
    for read in (credentials.roots, credentials.crl):
        with contextlib.suppress(credentials.CredentialError):
            read(data)
    return credentials.pair(chain, key)


def mesh_settings(data: bytes) -> object:
    text = data.decode(errors="replace")
    decoded = mesh_config_decode.decode({"data": {"mesh": text}}, "istio-system", "istio")
    return mesh_config(decoded.salvaged, "istio-system")


async def learned(_: succession.Trusted) -> None:
    pass


def done(work: Coroutine[Any, Any, Any]) -> None:
    """Run what waits for nothing."""
    with contextlib.suppress(StopIteration):
        work.send(None)


def authority(data: bytes) -> None:
    """A Secret of keys and values, one after the other on lines of their own."""
    parts = data.split(b"\n\n")
    found = {key.decode(errors="replace"): value for key, value in zip(parts[::2], parts[1::2], strict=False)}
    plugged.read(found, datetime(2026, 1, 1, tzinfo=UTC))


DECODERS: dict[str, tuple[Decoder, tuple[type[Exception], ...]]] = {
    "json": (body("application/json"), (StatusError,)),
    "yaml": (body("application/yaml"), (StatusError,)),
    "mesh-settings": (mesh_settings, ()),
    "protobuf-body": (body("application/vnd.kubernetes.protobuf"), (StatusError,)),
    "protobuf": (protobuf.decode, (protobuf.ProtobufError,)),
    "typed": (typed, (StatusError,)),
    "json-patch": (patched, (StatusError,)),
    "strategic-merge-patch": (merged, (StatusError,)),
    "spdy": (spdy_frames, (spdy.SpdyError,)),
    "channels": (channels, ()),
    "label-selector": (labels, (StatusError,)),
    "field-selector": (fields, (StatusError,)),
    "quantity": (quantity, (ValueError,)),
    "path": (path, ()),
    "apply-patch": (applied, (StatusError,)),
    "merge-patch": (merged_plainly, (StatusError,)),
    "table": (tabled, (StatusError,)),
    "jsonpath": (printed, (StatusError, jsonpath.JsonPathError)),
    "schedule": (scheduled, (schedule.ScheduleError,)),
    "page-token": (page_token, (StatusError,)),
    "deadline": (deadline, (StatusError,)),
    "certificate-order": (messages.decode_request, (messages.MessageError,)),
    "certificate-request": (request.read, (request.RefusedError,)),
    "dns": (dns_messages.parse, ()),
    "resolv-conf": (lambda data: resolv_conf.parse(data.decode(errors="replace")), ()),
    "name-table": (name_messages.decode, (name_messages.NameTableError,)),
    "names-or-envoys": (type_of, ()),
    "credential": (credential, (credentials.CredentialError,)),
    "names-response": (lambda data: done(NameFeed(lambda infos: None).take(data)), ()),
    "trust-response": (lambda data: done(TrustFeed(learned).take(data)), ()),
    "revocation-lists": (revocation.load, (pem.PemError,)),
    "roots-record": (lambda data: succession.loaded(data.decode(errors="replace")), (ValueError,)),
    "authority": (authority, (plugged.PluggedError,)),
}
CASES = [(folder.name, file) for folder in sorted(CORPUS.iterdir()) for file in sorted(folder.iterdir())]


def run(name: str, data: bytes) -> None:
    decode, refusal = DECODERS[name]
    with contextlib.suppress(*refusal):
        decode(data)
