"""`weft apiserver`: the Kubernetes API and the controllers, in one process."""

import argparse
import asyncio
import contextlib
import logging
import random
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from weft.adapters import keys
from weft.adapters.kube.access import Access
from weft.adapters.kube.client import Kube
from weft.cluster import controllers
from weft.cluster.apiserver.history import StoreError
from weft.cluster.apiserver.loadbalancers import Range
from weft.cluster.apiserver.serving import Settings, serve
from weft.cluster.apiserver.world import World
from weft.pki import authority, pem
from weft.processes import limits

_log = logging.getLogger("weft.apiserver")


def _bind(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is no IP:PORT, such as 127.0.0.1:6443")
    return host, int(port)


def _range(text: str) -> Range:
    try:
        return Range.read(text)
    except ValueError as error:
        example = "192.168.49.200-192.168.49.250"
        raise argparse.ArgumentTypeError(
            f"{text!r} is no range of addresses, such as {example}: {error}"
        ) from error


def _usual_range(binds: Sequence[tuple[str, int]]) -> Range | None:
    """The end of the /24 that the nodes' side of the server is in: `weft up` counts nodes from its beginning."""
    outside = (address for host, _ in binds if not (address := IPv4Address(host)).is_loopback)
    network = next((IPv4Network((address, 24), strict=False) for address in outside), None)
    return Range(network[200], network[250]) if network else None


def _settings(argv: Sequence[str]) -> tuple[Settings, bool]:
    parser = argparse.ArgumentParser(prog="weft apiserver", description="Serve the Kubernetes API of one cluster.")
    parser.add_argument("--home", type=Path, required=True, help="the cluster's folder, with pki/ in it")
    parser.add_argument("--bind", type=_bind, action="append", required=True, metavar="IP:PORT", help="repeatable")
    parser.add_argument("--service-cidr", type=IPv4Network, default=IPv4Network("10.96.0.0/12"))
    parser.add_argument("--pod-cidr", type=IPv4Network, default=IPv4Network("10.244.0.0/16"))
    parser.add_argument("--without-controllers", action="store_true", help="serve only; nothing acts on objects")
    parser.add_argument(
        "--load-balancers",
        type=_range,
        metavar="FIRST-LAST",
        help="addresses for Services of type LoadBalancer (default: .200-.250 beside --bind)",
    )
    given = parser.parse_args(argv)
    binds = tuple(given.bind)
    balanced = given.load_balancers or _usual_range(binds)
    return Settings(given.home, binds, given.service_cidr, balanced), not given.without_controllers


def _now() -> datetime:
    return datetime.now(UTC)


async def _control(settings: Settings) -> None:
    """Run the controllers against the server next door, as any client."""
    host, port = settings.binds[0]
    access = Access(
        server=f"https://{host}:{port}",
        ca=settings.pki("ca.crt").read_text(),
        client_cert=settings.pki("apiserver-client.crt").read_text(),
        client_key=settings.pki("apiserver-client.key").read_text(),
    )
    volumes = settings.home.resolve() / "volumes"
    ca = authority.load(settings.pki("ca.crt").read_text(), settings.pki("ca.key").read_text())
    signing = controllers.Signing(ca, keys.new_serial, pem.load_key(settings.pki("sa.key").read_text()))
    async with Kube(access) as kube:
        await controllers.run(kube, clock=_now, volumes=volumes, signing=signing)


async def _run(settings: Settings, *, control: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with serve(settings, World(_now, random.SystemRandom())):
        limits.settled()
        _log.info("serving on %s", ", ".join(f"{host}:{port}" for host, port in settings.binds))
        waiting = asyncio.create_task(stop.wait())
        tidying = asyncio.create_task(limits.keep_small(), name="keep-small")
        working = asyncio.create_task(_control(settings)) if control else None
        await asyncio.wait([task for task in (waiting, working) if task], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        tidying.cancel()
        if working is None:
            return
        if working.done():
            working.result()  # controllers never end by themselves: this raises what ended them
        working.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await working


def main(argv: Sequence[str]) -> int:
    """Serve until SIGTERM. 0 after a clean end, 1 with one line on stderr where it cannot start."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr
    )
    settings, control = _settings(argv)
    limits.widen()
    limits.small_connections()
    try:
        asyncio.run(_run(settings, control=control))
    except StoreError as error:
        sys.stderr.write(f"weft apiserver: {error}\n")
        return 1
    except OSError as error:
        sys.stderr.write(
            f"weft apiserver: {error}. Is the address free, and did `weft up` make {settings.home}/pki?\n"
        )
        return 1
    return 0
