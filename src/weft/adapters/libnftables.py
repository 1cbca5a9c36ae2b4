"""nftables in the network namespace of the calling thread, by the system's libnftables and its JSON.

The library's own Python module is a system package that pip does not have; what is needed of it is five functions
(libnftables(3)). A call takes a millisecond, a process of nft(8) fifteen.
"""

import ctypes
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, Final

_NAME: Final = "libnftables.so.1"
_JSON: Final = 1 << 4
"""NFT_CTX_OUTPUT_JSON; with no other flag owners, ports and marks are printed as numbers."""


class LibnftablesError(RuntimeError):
    """libnftables is missing, or refused; nothing was applied. The message says what to do."""


def listed() -> list[dict[str, Any]]:
    """All rules that there are, as `nft --json list ruleset` has them under `nftables`."""
    found: list[dict[str, Any]] = json.loads(_run("list ruleset"))["nftables"]
    return found


def table(family: str, name: str) -> list[dict[str, Any]]:
    """What one table holds, in the same form; nothing where there is none."""
    # not the whole ruleset: the others may have thousands of rules
    wanted = {"family": family, "name": name}
    tables = json.loads(_run(f"list tables {family}"))["nftables"]
    if not any(part.get("table", {}).items() >= wanted.items() for part in tables):
        return []
    found: list[dict[str, Any]] = json.loads(_run(f"list table {family} {name}"))["nftables"]
    return found


def apply(commands: Sequence[dict[str, Any]]) -> None:
    """Apply commands as one transaction: all of them or, with LibnftablesError, none."""
    _run(json.dumps({"nftables": commands}))


def _run(text: str) -> str:
    library = _library()
    with _context(library) as context:
        failed = library.nft_run_cmd_from_buffer(context, text.encode())
        if failed:
            error = bytes(library.nft_ctx_get_error_buffer(context) or b"").decode(errors="replace")
            raise LibnftablesError(f"nftables: {' '.join(error.split()[:60]) or 'refused'}")
        return bytes(library.nft_ctx_get_output_buffer(context) or b"").decode(errors="replace")


@contextmanager
def _context(library: ctypes.CDLL) -> Iterator[int]:
    # a context holds a netlink socket of the namespace that it was made in: it must not outlive the call
    context: int = library.nft_ctx_new(0)
    if not context:
        raise LibnftablesError("nftables: no netlink socket. Run as root with NET_ADMIN.")
    try:
        library.nft_ctx_output_set_flags(context, _JSON)
        library.nft_ctx_buffer_output(context)
        library.nft_ctx_buffer_error(context)
        yield context
    finally:
        library.nft_ctx_free(context)


@cache
def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(_NAME)
    except OSError as error:
        raise LibnftablesError(
            f"{_NAME} is not installed. Install nftables, or leave out --native-nftables."
        ) from error
    pointer, text = ctypes.c_void_p, ctypes.c_char_p
    library.nft_ctx_new.restype, library.nft_ctx_new.argtypes = pointer, [ctypes.c_uint32]
    library.nft_ctx_free.restype, library.nft_ctx_free.argtypes = None, [pointer]
    library.nft_ctx_output_set_flags.restype = None
    library.nft_ctx_output_set_flags.argtypes = [pointer, ctypes.c_uint]
    for function in (library.nft_ctx_buffer_output, library.nft_ctx_buffer_error):
        function.restype, function.argtypes = ctypes.c_int, [pointer]
    for function in (library.nft_ctx_get_output_buffer, library.nft_ctx_get_error_buffer):
        function.restype, function.argtypes = text, [pointer]
    library.nft_run_cmd_from_buffer.restype = ctypes.c_int
    library.nft_run_cmd_from_buffer.argtypes = [pointer, text]
    return library
