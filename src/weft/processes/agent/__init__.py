"""`weft agent`: what runs in a meshed pod besides the application, with the verbs of Istio's `pilot-agent`."""

import os
import sys
from collections.abc import Sequence

_USAGE = (
    "usage: weft agent proxy sidecar|router … | istio-iptables … | request METHOD PATH | wait [--timeoutSeconds N]"
)


def main(argv: Sequence[str]) -> int:
    """Run one verb and return its exit code. Each verb imports only what it needs."""
    match argv:
        case ["proxy", "sidecar" | "router" as role, *rest]:
            # gRPC's core tells of every lost connection; we tell it once, and what to do
            os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
            from weft.processes.agent import proxy

            return proxy.main(role, rest)
        case ["istio-iptables", *rest]:
            from weft.processes import istio_iptables

            return istio_iptables.main(rest)
        case ["request", method, path]:
            from weft.processes.agent import client

            return client.request(method, path)
        case ["wait", *rest]:
            from weft.processes.agent import client

            return client.wait(rest)
        case _:
            sys.stderr.write(f"{_USAGE}\n")
            return 2
