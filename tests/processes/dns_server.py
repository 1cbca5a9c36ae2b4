"""Runs a DNS server for a test: `pod PORT RESOLVER` is a pod's own, `resolver ADDRESS` the cluster's."""

import asyncio
import os
import sys

from weft.adapters.dns import messages, server
from weft.adapters.dns.answers import A, Found
from weft.adapters.dns.server import Transport
from weft.model.name_table import Named
from weft.processes.agent.dns import Dns


async def from_outside(data: bytes, _: Transport) -> bytes | None:
    query = messages.parse(data)
    assert isinstance(query, messages.Query)
    return messages.respond(query, Found((A(query.name, "192.0.2.1"),)))


async def main() -> None:
    match sys.argv[1:]:
        case ["pod", port, resolver]:
            dns = Dns("shop", "cluster.local", ("shop.svc.cluster.local",), [(resolver, 53)])
            dns.learn([Named("api.example.com", ("240.240.0.1",))])
            serving = asyncio.create_task(dns.serve(int(port)))
        case ["resolver", address]:
            serving = asyncio.create_task(server.serve(from_outside, address, 53))
    await asyncio.sleep(0.1)
    sys.stdout.write("serving\n")
    sys.stdout.flush()
    await serving


if __name__ == "__main__":
    if user := os.environ.get("RUN_AS"):
        # once all is imported: the folder that the tests run in may be root's alone
        os.setgid(int(user))
        os.setuid(int(user))
    asyncio.run(main())
