"""Reading objects: get, list with selectors and pages."""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from weft.cluster.apiserver import errors
from weft.cluster.apiserver.cluster import Call, Cluster, Obj
from weft.cluster.apiserver.kinds import Kind
from weft.cluster.apiserver.scheme import resource_of
from weft.cluster.apiserver.selectors import FieldSelector, LabelSelector
from weft.cluster.apiserver.store import CompactedError, FutureError, Key, Row

TOO_LARGE = "Too large resource version"
_COMPACTED = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list"
    " without the continue parameter, or use the continue token in this response to retrieve the remainder of the"
    " results. Continuing with the provided token results in an inconsistent list - objects that were created,"
    " modified, or deleted between the time the first chunk was returned and now may show up in the list."
)
_TOO_OLD = "The resourceVersion for the provided list is too old."
_NOW = -1
"""The revision of a token that goes on with things as they are then."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which objects of a kind are meant."""

    kind: Kind
    namespace: str = ""
    labels: LabelSelector = field(default_factory=LabelSelector)
    fields: FieldSelector = field(default_factory=FieldSelector)

    def everything(self) -> bool:
        """Whether no selector narrows it."""
        return not self.labels.requirements and not self.fields.terms

    def matches(self, obj: Obj) -> bool:
        """Whether a stored object belongs to it."""
        return self.labels.matches((obj.get("metadata") or {}).get("labels")) and self.fields.matches(obj)

    def takes(self, row: Row | None) -> bool:
        """The same for a row; an absent one does not belong."""
        return row is not None and (self.everything() or self.matches(row.decode()))


@dataclass(frozen=True, slots=True)
class Page:
    """Part of a list: its rows, the revision it shows, and how to go on."""

    rows: list[Row]
    revision: int
    more: str = ""
    remaining: int | None = None

    def metadata(self) -> Obj:
        """The list's metadata."""
        return {
            "resourceVersion": str(self.revision),
            **({"continue": self.more} if self.more else {}),
            **({"remainingItemCount": self.remaining} if self.remaining else {}),
        }


class _Token(msgspec.Struct):
    revision: int
    namespace: str
    name: str


def _read_token(text: str) -> _Token:
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(text), type=_Token)
    except (binascii.Error, ValueError, msgspec.MsgspecError) as error:
        raise errors.bad_request(f"continue key is not valid: {error}") from error


def _written(token: _Token) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(token)).decode()


def _cut_short(token: _Token) -> errors.StatusError:
    """410 with a token for those who take the rest as it is now."""
    error = errors.expired(_COMPACTED)
    error.metadata["continue"] = _written(_Token(_NOW, token.namespace, token.name))
    return error


def too_large(wanted: int, current: int) -> errors.StatusError:
    """504: a revision that this server has not reached; clients try again after a second."""
    details = {"causes": [{"reason": "ResourceVersionTooLarge", "message": TOO_LARGE}]}
    return errors.StatusError(
        504, "Timeout", f"Timeout: {TOO_LARGE}: {wanted}, current: {current}", details, retry_after=1
    )


async def page(cluster: Cluster, selection: Selection, *, limit: int = 0, more: str = "", exact: int = 0) -> Page:
    """The objects of a selection, `limit` at a time (0: all). `exact` asks for the state at that revision."""
    store = cluster.store
    token = _read_token(more) if more else None
    asked = token.revision if token else exact
    revision = store.revision if asked in {0, _NOW} else asked
    try:
        rows = await store.list_at(resource_of(selection.kind), selection.namespace, revision)
    except CompactedError:
        raise (_cut_short(token) if token else errors.expired(_TOO_OLD)) from None
    except FutureError:
        raise too_large(revision, store.revision) from None
    if token:
        rows = [row for row in rows if (row.key.namespace, row.key.name) > (token.namespace, token.name)]
    if not selection.everything():
        rows = [row for row in rows if selection.takes(row)]
    if not limit or len(rows) <= limit:
        return Page(rows, revision)
    last = rows[limit - 1].key
    text = _written(_Token(revision, last.namespace, last.name))
    return Page(rows[:limit], revision, text, len(rows) - limit if selection.everything() else None)


def get(cluster: Cluster, kind: Kind, namespace: str, name: str) -> Row:
    """One object, or 404."""
    row = cluster.store.get(Key(resource_of(kind), namespace, name))
    if row is None:
        raise errors.not_found(kind, name)
    return row


def missing(cluster: Cluster, call: Call) -> bool:
    """Whether the object of a call is not there."""
    return cluster.store.get(call.key()) is None


def list_json(kind: Kind, found: Page, items: Sequence[bytes]) -> bytes:
    """The JSON of a list with these items."""
    head: dict[str, Any] = {
        "kind": f"{kind.kind}List",
        "apiVersion": kind.api_version,
        "metadata": found.metadata(),
    }
    return msgspec.json.encode(head)[:-1] + b',"items":[' + b",".join(items) + b"]}"
