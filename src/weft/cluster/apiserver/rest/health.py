"""`/healthz`, `/livez` and `/readyz`: whether the server works, check by check where asked."""

from collections.abc import Sequence

from aiohttp import web

from weft.cluster.apiserver import errors

# A server that answers has its store open and its own objects made: nothing is served before.
_CHECKS = ("ping", "store", "bootstrap")


def answer(request: web.Request, parts: Sequence[str]) -> web.Response:
    """The answer to `/readyz`, `/readyz?verbose` or `/readyz/ping`; 404 for a check that there is not."""
    which, *names = parts
    if names:
        if names[0] not in _CHECKS or len(names) > 1:
            raise errors.no_such_path()
        return web.Response(text="ok")
    if "verbose" not in request.query:
        return web.Response(text="ok")
    left_out = set(request.query.getall("exclude", []))
    lines = [f"[+]{name} excluded: ok" if name in left_out else f"[+]{name} ok" for name in _CHECKS]
    unknown = sorted(left_out - set(_CHECKS))
    if unknown:
        lines.append(f"warn: some health checks cannot be excluded: no matches for {', '.join(unknown)}")
    return web.Response(text="\n".join([*lines, f"{which} check passed", ""]))
