"""A gRPC server whose health is asked as a probe asks, in a process of its own.

gRPC's threads stay in the network namespace in which they began, which in the tests' process is any node's.
"""

import asyncio

import grpc
import grpc.aio

from weft.cluster.kubelet import grpc_probe


async def _answer(request: bytes, _context: object) -> bytes:
    # field 1 of the request is the service: the server as a whole serves, any one service does not
    return b"\x08\x02" if request else b"\x08\x01"


async def _main() -> None:
    server = grpc.aio.server()
    methods = {"Check": grpc.unary_unary_rpc_method_handler(_answer)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("grpc.health.v1.Health", methods),))
    other = grpc.aio.server()
    port, silent = server.add_insecure_port("127.0.0.1:0"), other.add_insecure_port("127.0.0.1:0")
    await server.start()
    await other.start()
    print("whole:", await grpc_probe.ask("127.0.0.1", port, "", 2))
    print("named:", await grpc_probe.ask("127.0.0.1", port, "n" * 300, 2))
    print("without:", await grpc_probe.ask("127.0.0.1", silent, "", 2))
    await server.stop(None)
    await other.stop(None)
    print("gone:", (await grpc_probe.ask("127.0.0.1", port, "", 2)).replace(str(port), "PORT"))


if __name__ == "__main__":
    asyncio.run(_main())
