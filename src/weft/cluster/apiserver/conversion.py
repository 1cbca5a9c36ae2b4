"""Objects of custom kinds in other versions, converted by the webhook of their definition (`ConversionReview`).

Source: `apiextensions-apiserver/pkg/apiserver/conversion/webhook_converter.go`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from weft.cluster.apiserver import errors
from weft.cluster.apiserver.admission.attributes import Attributes
from weft.cluster.apiserver.cluster import Cluster, Obj
from weft.cluster.apiserver.kinds import Kind
from weft.cluster.apiserver.scheme import storage_api_version
from weft.cluster.apiserver.store import Row
from weft.cluster.apiserver.versions import from_stored, to_stored
from weft.cluster.apiserver.webhookclient import Caller, CallError, resolve

_SECONDS = 30
_GROUP = "apiextensions.k8s.io"


class _Head(msgspec.Struct):
    """What of a stored object tells its version."""

    apiVersion: str = ""  # noqa: N815 - the field's name


@dataclass(frozen=True, slots=True)
class Conversion:
    """Between the versions that objects are stored in and those that requests speak. Without `caller`, by name."""

    cluster: Cluster
    caller: Caller | None = None

    async def shown(self, kind: Kind, row: Row) -> Obj:
        """A stored object in the version `kind`."""
        return (await self.all_shown(kind, [row]))[0]

    async def all_shown(self, kind: Kind, rows: Sequence[Row]) -> list[Obj]:
        """Stored objects in the version `kind`, converted by one review."""
        objects = [row.decode() for row in rows]
        config = self._webhook(kind)
        if config is None:
            return [from_stored(kind, obj) for obj in objects]
        return await self._converted(kind, kind.api_version, objects, config)

    async def raw(self, kind: Kind, rows: Sequence[Row]) -> list[bytes]:
        """The JSON of stored objects in the version `kind`: the stored bytes, where they are that already."""
        if self.cluster.scheme.custom(kind) is None:
            if storage_api_version(kind, self.cluster.scheme) == kind.api_version:
                return [row.raw for row in rows]
            return [msgspec.json.encode(from_stored(kind, row.decode())) for row in rows]
        decoder = msgspec.json.Decoder(_Head)
        others = [row for row in rows if decoder.decode(row.raw).apiVersion != kind.api_version]
        found = dict(zip(others, await self.all_shown(kind, others), strict=True)) if others else {}
        return [msgspec.json.encode(found[row]) if row in found else row.raw for row in rows]

    async def stored(self, kind: Kind, obj: Obj) -> Obj:
        """An object of the version `kind` as it is stored."""
        config = self._webhook(kind)
        if config is None:
            return to_stored(kind, obj, self.cluster.scheme)
        wanted = storage_api_version(kind, self.cluster.scheme)
        return (await self._converted(kind, wanted, [obj], config))[0]

    async def between(self, kind: Kind, obj: Obj | None) -> Obj | None:
        """An object of any version of a kind, in the version `kind`."""
        config = self._webhook(kind)
        if obj is None or config is None:
            return obj and {**obj, "apiVersion": kind.api_version}
        return (await self._converted(kind, kind.api_version, [obj], config))[0]

    async def show(self, attributes: Attributes, kind: Kind) -> None:
        """Let admission see a request's objects in the version `kind`, as they are now."""
        if kind.api_version == attributes.call.kind.api_version or attributes.operation == "CONNECT":
            return
        views = await self.between(kind, attributes.obj), await self.between(kind, attributes.old)
        attributes.views[kind.api_version] = views

    def _webhook(self, kind: Kind) -> Obj | None:
        custom = self.cluster.scheme.custom(kind)
        if custom is None or custom.conversion.get("strategy") != "Webhook":
            return None
        return custom.conversion.get("webhook") or {}

    async def _converted(self, kind: Kind, wanted: str, objects: list[Obj], config: Obj) -> list[Obj]:
        others = [index for index, obj in enumerate(objects) if obj.get("apiVersion") != wanted]
        if not others:
            return objects
        asked = [objects[index] for index in others]
        try:
            answers = await self._ask(wanted, asked, config)
            for index, answer in zip(others, answers, strict=True):
                objects[index] = _checked(index, answer, objects[index], wanted)
        except CallError as error:
            what = f"{asked[0].get('apiVersion')}, Kind={kind.kind}"
            message = f"conversion webhook for {what} failed: {error}"
            raise errors.StatusError(500, "", message) from error
        return objects

    async def _ask(self, wanted: str, objects: list[Obj], config: Obj) -> list[Any]:
        if self.caller is None:
            raise CallError("there is no client for webhooks")
        version = next(
            (one for one in config.get("conversionReviewVersions") or () if one in {"v1", "v1beta1"}), "v1"
        )
        uid, client = self.cluster.world.uid(), config.get("clientConfig") or {}
        request = {"uid": uid, "desiredAPIVersion": wanted, "objects": objects}
        review = {"kind": "ConversionReview", "apiVersion": f"{_GROUP}/{version}", "request": request}
        target = resolve(client, self.cluster, _SECONDS)
        content = await self.caller.post(target, client, review, _SECONDS)
        try:
            answer: Any = msgspec.json.decode(content)
        except msgspec.DecodeError as error:
            raise CallError(f"the answer is not JSON: {error}") from error
        response = answer.get("response") if isinstance(answer, dict) else None
        if not isinstance(response, dict):
            raise CallError("no response provided")
        if response.get("uid") != uid:
            raise CallError(f'expected response.uid="{uid}", got "{response.get("uid") or ""}"')
        result = response.get("result") or {}
        if result.get("status") != "Success":
            raise CallError(result.get("message") or "response.result.status was not Success")
        found = response.get("convertedObjects") or []
        if len(found) != len(objects):
            raise CallError(f"webhook returned {len(found)} objects, expected {len(objects)}")
        return list(found)


def _checked(index: int, answer: Any, before: Obj, wanted: str) -> Obj:
    """The converted object with the metadata it had; of that a webhook changes labels and annotations alone."""
    where = f"webhook returned invalid converted object at index {index}"
    if not isinstance(answer, dict) or not isinstance(answer.get("metadata"), dict):
        raise CallError(f"{where}: it is no object with metadata")
    if answer.get("apiVersion") != wanted:
        raise CallError(f"{where}: invalid groupVersion (expected {wanted}, received {answer.get('apiVersion')})")
    if answer.get("kind") != before.get("kind"):
        raise CallError(f"{where}: invalid kind (expected {before.get('kind')}, received {answer.get('kind')})")
    for name in ("name", "namespace", "uid"):
        if answer["metadata"].get(name) != before["metadata"].get(name):
            raise CallError(f"{where}: invalid metadata: must have same {name}")
    metadata = {**before["metadata"]}
    for name in ("labels", "annotations"):
        metadata.pop(name, None)
        if answer["metadata"].get(name):
            metadata[name] = answer["metadata"][name]
    return {**answer, "metadata": metadata}
