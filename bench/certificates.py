"""CreateCertificate alone, over gRPC and TLS: certificates a second, and what 10,000 of them leave behind.

Clients live in a process of their own and make their keys and requests beforehand. Whoever calls is believed:
reviews of tokens are the API server's work. `python -m bench.certificates` prints the table.
"""

import asyncio
import gc
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import grpc
from rich.console import Console
from rich.table import Table

from weft.adapters import clock, keys
from weft.adapters.grpc_server import KeyPair, Peer, Server
from weft.pki import authority, messages, pem, request
from weft.pki.authority import Lifetimes
from weft.pki.identity import SpiffeId
from weft.pki.messages import CertificateRequest
from weft.pki.succession import Trusted
from weft.processes.controlplane.bundles import Bundle
from weft.processes.controlplane.identities import Caller
from weft.processes.controlplane.impersonation import NodeProxies
from weft.processes.controlplane.issuing import CertificateService, OwnIssuer
from weft.processes.controlplane.metrics import Certificates
from weft.processes.controlplane.succession import Keeper, OwnAuthority

COUNT, REQUESTS, AT_ONCE = 10_000, 100, 64
HOST = "istiod.istio-system.svc"
KINDS = {"ECDSA P-256": 0, "RSA 2048": 2048}


@dataclass(frozen=True)
class Goals:
    """Certificates a second, and MiB that 10,000 of them may leave."""

    rate: float
    growth: float


GOALS = {"ECDSA P-256": Goals(rate=500, growth=5), "RSA 2048": Goals(rate=350, growth=5)}


def main(console: Console) -> None:
    """Measure both kinds of authority, each in a process of its own."""
    table = Table(title=f"the mesh's authority: {COUNT:,} certificates over gRPC and TLS", title_justify="left")
    for column in ("AUTHORITY", "FIGURE", "VALUE", "GOAL", "VALUE / GOAL"):
        table.add_column(column, justify="left" if column in {"AUTHORITY", "FIGURE"} else "right")
    for kind, goals in GOALS.items():
        console.print(f"issuing {COUNT:,} certificates by an authority of {kind}")
        done = subprocess.run(
            [sys.executable, "-m", "bench.certificates", "measure", kind],
            stdout=subprocess.PIPE,
            check=True,
            timeout=300,
            text=True,
        )
        found = json.loads(done.stdout)
        for what, value, goal, unit in (
            ("certificates a second", found["rate"], goals.rate, ""),
            ("processor time for one", found["cpu"] * 1000, 1000 / goals.rate, " ms"),
            ("signing alone, a second", found["signed"], 2 * goals.rate, ""),
            ("memory left by them", found["growth"], goals.growth, " MiB"),
        ):
            table.add_row(kind, what, f"{value:.4g}{unit}", f"{goal:.3g}{unit}", f"{value / goal:.2f}")
    console.print(table)


class Held:
    """What a keeper of the authority answers."""

    def __init__(self, kind: str) -> None:
        self.signer = OwnAuthority("cluster.local", rsa_bits=KINDS[kind]).make(clock.now())
        self.roots = pem.certificates(self.signer.roots)


async def measure(kind: str) -> dict[str, float]:
    """Serve until the clients have what they want."""
    held = Held(kind)
    caller = Caller(SpiffeId("cluster.local", "shop", "web"))

    async def identify(_: Peer) -> Caller:
        return caller

    bundle = Bundle(Trusted(held.roots), (caller.identity.trust_domain,))
    issuer = OwnIssuer(cast("Keeper", held), lambda: bundle)
    counted = Certificates()
    service = CertificateService(issuer, identify, cast("NodeProxies", None), Lifetimes(), counted)
    server = Server()
    service.serve(server)
    port = server.listen("127.0.0.1:0", _pair(held.signer))
    await server.start()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root.pem"
        root.write_text(held.roots)
        await _ask(f"127.0.0.1:{port}", root, REQUESTS)  # everything is loaded and warm
        before, cpu = _memory(), time.process_time()
        seconds = await _ask(f"127.0.0.1:{port}", root, COUNT)
        cpu = time.process_time() - cpu
    growth = max(0.0, _memory() - before)
    await server.stop()
    assert counted.issued == COUNT + REQUESTS
    return {"rate": COUNT / seconds, "cpu": cpu / COUNT, "signed": _signed(held.signer), "growth": growth}


def _pair(signer: authority.Authority) -> KeyPair:
    key = keys.new_key()
    own = authority.issue_server(
        signer,
        key.public_key(),
        names=[HOST],
        now=clock.now(),
        serial=keys.new_serial(),
        lifetime=authority.LIFETIMES.default,
    )
    return KeyPair(pem.key(key), pem.certificate(own), pem.certificates(signer.roots))


async def _ask(address: str, root: Path, count: int) -> float:
    """Have clients ask; the seconds that it took them from the first question to the last answer."""
    command = [sys.executable, "-m", "bench.certificates", "ask", address, str(root), str(count)]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    out, _ = await asyncio.wait_for(process.communicate(), 240)
    return float(out)


def _signed(signer: authority.Authority) -> float:
    """Certificates in a second of processor time, without anything around them."""
    csr, began, count = request.sign(keys.new_key()), time.process_time(), 1000
    for _ in range(count):
        authority.issue_workload(
            signer,
            csr,
            spiffe_id=SpiffeId("cluster.local", "shop", "web"),
            lifetime=authority.LIFETIMES.default,
            now=clock.now(),
            serial=keys.new_serial(),
        )
    return count / (time.process_time() - began)


def _memory() -> float:
    """What this process holds now, in MiB."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / (1 << 20)


async def ask(address: str, root: bytes, count: int) -> float:
    """Ask for so many certificates, several at once over a few connections."""
    wanted = [messages.encode_request(CertificateRequest(request.sign(keys.new_key()))) for _ in range(REQUESTS)]
    factories: Any = grpc  # grpcio's factories carry no types
    credentials = factories.ssl_channel_credentials(root_certificates=root)
    options = [("grpc.ssl_target_name_override", HOST), ("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.secure_channel(address, credentials, options=options) for _ in range(8)]
    numbers = iter(range(count))

    async def one(channel: Any) -> None:
        call = channel.unary_unary(f"/{messages.SERVICE}/{messages.METHOD}")
        for number in numbers:
            answer = messages.decode_response(await call(wanted[number % REQUESTS], timeout=60))
            assert answer.chain

    began = time.monotonic()
    await asyncio.gather(*(one(channels[number % len(channels)]) for number in range(AT_ONCE)))
    return time.monotonic() - began


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["measure", kind]:
            print(json.dumps(asyncio.run(measure(kind))))
        case ["ask", address, root, count]:
            print(asyncio.run(ask(address, Path(root).read_bytes(), int(count))))
        case _:
            main(Console())
