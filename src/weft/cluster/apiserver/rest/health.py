"""`/healthz`, `/livez` and `/readyz`: whether the server works, check by check where asked."""

from collections.abc import Sequence

from aiohttp import web

from weft.cluster.apiserver import errors

KINDS = ("healthz", "livez", "readyz")
CHECKS = (
    "ping",
    "etcd",
    "poststarthook/rbac/bootstrap-roles",
    "poststarthook/scheduling/bootstrap-system-priority-classes",
)
"""Kubernetes' names of what is true here, too, of a server that answers: nothing is served before the store is
open and its own objects are made."""
_READY = ("shutdown",)


def _checks(which: str) -> tuple[str, ...]:
    return (*CHECKS, *(_READY if which == "readyz" else ()))


def answer(request: web.Request, parts: Sequence[str]) -> web.Response:
    """The answer to `/readyz`, `/readyz?verbose` or `/readyz/ping`; 404 for a check that there is not."""
    which, *names = parts
    checks = _checks(which)
    if names:
        if "/".join(names) not in checks:
            raise errors.no_such_path()
        return web.Response(text="ok")
    if "verbose" not in request.query:
        return web.Response(text="ok")
    left_out = set(request.query.getall("exclude", []))
    lines = [f"[+]{name} excluded: ok" if name in left_out else f"[+]{name} ok" for name in checks]
    unknown = sorted(left_out - set(checks))
    if unknown:
        listed = ",".join(f'"{name}"' for name in unknown)
        lines.append(f"warn: some health checks cannot be excluded: no matches for {listed}")
    return web.Response(text="\n".join([*lines, f"{which} check passed", ""]))
