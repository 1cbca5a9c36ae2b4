"""What a process asks of the system before it serves: files for every connection, and memory that goes back."""

import asyncio
import ctypes
import gc
import resource
from asyncio import sslproto

_EVERY = 10.0
"""Seconds between looks for memory to give back: some milliseconds of work."""
_TLS_BUFFER = 32 * 1024


def widen() -> None:
    """Let the process open as many files as it may: each connection is one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def small_connections() -> None:
    """Give each TLS connection a buffer of two records to read into, where asyncio gives it a quarter of a MiB."""
    sslproto.SSLProtocol.max_size = _TLS_BUFFER


def settled() -> None:
    """For when all is loaded that stays: the collector looks only at what comes and goes, and so, often."""
    gc.collect()
    gc.freeze()


async def keep_small() -> None:
    """Give back what is free, for ever: a list or a crowd of clients leaves holes that glibc keeps by itself."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries need no such call
    while trim is not None:
        await asyncio.sleep(_EVERY)
        gc.collect()
        trim(0)


def no_core_dumps() -> None:
    """Leave no copy of our memory, with its keys, when we or a child crash.

    A limit of 1 byte: with 0 a dump would still go to a program that the machine has for them (core(5)).
    """
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    least = 0 if most == 0 else 1
    resource.setrlimit(resource.RLIMIT_CORE, (least, least))
