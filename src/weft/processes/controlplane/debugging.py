"""What the control plane shows of itself and its proxies, and to whom: on 15014, and as `istio.io/debug` over xDS.

As in Istio: accounts of istiod's namespace and of those in DEBUG_ENDPOINT_AUTH_ALLOWED_NAMESPACES see everything,
all others what proxies of their own namespace have, and who has proved nothing sees nothing. Within istiod's pod
no proof is asked for: who may exec into it, or forward a port to it, holds its keys anyway.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import grpc
import msgspec

from weft.adapters.grpc_server import RefusedError
from weft.pki.identity import SpiffeId
from weft.processes.controlplane.identities import Caller
from weft.xds.channel import Send
from weft.xds.resource import Resource
from weft.xds.sotw import FullRequest, FullSend
from weft.xds.stream import Request

TYPE = "istio.io/debug"
"""The type whose resources are pages: `syncz`, `config_dump?proxyID=POD.NAMESPACE`."""

Json = dict[str, Any]


class NoPageError(Exception):
    """There is no such page, or nothing to show on it."""


class ForbiddenError(Exception):
    """The page is not for this caller."""


@dataclass(frozen=True, slots=True)
class Pages:
    """What each page shows. `dump` is None for a proxy that is not connected here."""

    syncz: Callable[[], list[Json]]
    dump: Callable[[str], Json | None]
    problems: Callable[[], list[Json]]

    def show(self, page: str, query: Mapping[str, str]) -> bytes:
        """A page as JSON; NoPageError."""
        match page:
            case "syncz":
                return msgspec.json.encode(self.syncz())
            case "problems":
                return msgspec.json.encode(self.problems())
            case "config_dump":
                proxy = query.get("proxyID", "")
                if (found := self.dump(proxy)) is None:
                    said = f"proxy {proxy!r} is not connected here. See /debug/syncz for those that are."
                    raise NoPageError(said)
                return msgspec.json.encode(found)
        raise NoPageError("no such page. There are syncz, config_dump?proxyID=POD.NAMESPACE and problems.")


class Debugging:
    """The pages, and who may see them. `everything` are the namespaces whose accounts may see all."""

    def __init__(self, pages: Pages, everything: Collection[str]) -> None:
        self._pages, self._everything = pages, frozenset(everything)

    def within(self, page: str, query: Mapping[str, str]) -> bytes:
        """A page for who is in the pod; NoPageError."""
        return self._pages.show(page, query)

    def to(self, caller: SpiffeId | None, page: str, query: Mapping[str, str]) -> bytes:
        """A page for a caller; ForbiddenError, NoPageError."""
        if caller is None:
            raise ForbiddenError("only for who proves who he is. From outside: weft proxy-status")
        _, _, namespace = query.get("proxyID", "").rpartition(".")
        own = page == "config_dump" and namespace == caller.namespace
        if not own and caller.namespace not in self._everything:
            raise ForbiddenError(f"not for {caller}: only config_dump, of proxies of its own namespace")
        return self._pages.show(page, query)

    def named(self, caller: SpiffeId | None, name: str) -> bytes:
        """The same by a resource's name, `PAGE?QUERY`."""
        page, _, query = name.partition("?")
        return self.to(caller, page, dict(parse_qsl(query)))


def answer(pages: Debugging, caller: Caller | None, request: Request | FullRequest) -> Send | FullSend:
    """The response to who asks for pages over xDS; RefusedError where one is not for them, or there is none."""

    def show(name: str) -> Resource:
        try:
            return Resource(TYPE, name, "", pages.named(caller.identity if caller else None, name))
        except ForbiddenError as error:
            raise RefusedError(grpc.StatusCode.PERMISSION_DENIED, str(error)) from error
        except NoPageError as error:
            raise RefusedError(grpc.StatusCode.NOT_FOUND, str(error)) from error

    if isinstance(request, Request):
        return Send(TYPE, tuple(map(show, request.subscribe)), (), "1")
    return FullSend(TYPE, tuple(map(show, sorted(request.names))), "1")
