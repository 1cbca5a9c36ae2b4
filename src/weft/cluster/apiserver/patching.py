"""Patches of every sort, as changes for the verb update."""

from dataclasses import dataclass
from typing import Any

import msgspec

from weft.cluster.apiserver import decoding, errors, forms
from weft.cluster.apiserver.cluster import Call, Cluster, Obj
from weft.cluster.apiserver.patches import json as json_patch
from weft.cluster.apiserver.patches import merge, ownership, strategic
from weft.cluster.apiserver.patches.ownership import Grammar, Writer
from weft.cluster.apiserver.writing import Change, Writing

JSON = "application/json-patch+json"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"


@dataclass(frozen=True, slots=True)
class Patching:
    """The verb patch."""

    cluster: Cluster
    writing: Writing

    async def patch(self, call: Call, media: str, patch: Any) -> tuple[Obj, bool]:
        """Patch an object; returns it, and whether server-side apply created it."""
        if media == APPLY:
            return await self._apply(call, patch)
        call.patch = go_value(patch) if media == STRATEGIC else msgspec.json.encode(patch).decode()
        return await self.writing.update(call, self.change(call, media, patch)), False

    def change(self, call: Call, media: str, patch: Any) -> Change:
        """What a patch does to an object of the call's kind."""
        if media == JSON:
            return lambda before: json_patch.apply(before, patch)
        if media == MERGE:
            return lambda before: merge.merge(before, _an_object(patch))
        if media == STRATEGIC:
            schema = self.cluster.scheme.schemas.of(call.kind)
            if schema is None:
                raise self._unsupported()
            return lambda before: strategic.apply(before, patch, schema, self.cluster.scheme.schemas)
        raise self._unsupported()

    @staticmethod
    def _unsupported() -> errors.StatusError:
        message = (
            "the body of the request was in an unknown format - accepted media types include:"
            f" {JSON}, {MERGE}, {APPLY}"
        )
        return errors.StatusError(415, "UnsupportedMediaType", message)

    async def _apply(self, call: Call, patch: Any) -> tuple[Obj, bool]:
        if not call.manager:
            found = errors.required("fieldManager", "is required for apply patch")
            raise errors.invalid_options("PatchOptions", found)
        applied = forms.clean(call, forms.typed(_an_object(patch), call.kind), self.cluster.scheme)
        meta = applied["metadata"]
        if meta.pop("managedFields", None):
            raise errors.bad_request("metadata.managedFields must be nil")
        if meta.setdefault("name", call.name) != call.name:
            raise errors.bad_request("the name of the object does not match the name on the URL")
        if call.kind.namespaced:
            meta.setdefault("namespace", call.namespace)
        grammar = Grammar.of(call.kind, self.cluster.scheme)
        below = call.subresource if call.subresource == "status" else ""
        writer = Writer(call.manager, call.kind.api_version, below, self.cluster.world.stamp())
        if self.cluster.store.get(call.key()) is None and not call.subresource:
            new = ownership.apply(None, applied, writer, grammar, force=call.force)
            return await self.writing.create(call, new, owned=True), True

        def change(before: Obj) -> Obj:
            result = ownership.apply(before, applied, writer, grammar, force=call.force)
            result["metadata"]["resourceVersion"] = meta.get("resourceVersion", "")
            return result

        return await self.writing.update(call, change, owned=True), False


def go_value(value: Any) -> str:
    """A decoded body as Go prints it (`%+v`), which is how a refusal shows a strategic patch."""
    match value:
        case None:
            return "<nil>"
        case bool():
            return "true" if value else "false"
        case dict():
            return f"map[{' '.join(f'{key}:{go_value(item)}' for key, item in sorted(value.items()))}]"
        case list():
            return f"[{' '.join(map(go_value, value))}]"
        case _:
            return str(value)


def _an_object(patch: Any) -> Obj:
    if not isinstance(patch, dict):
        what = f"cannot unmarshal {decoding.json_type(patch)} into Go value of type map[string]interface {{}}"
        raise errors.bad_request(f"error decoding patch: json: {what}")
    return patch
