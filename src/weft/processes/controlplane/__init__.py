"""istiod: the control plane of the mesh. `main` is its entry point."""

from collections.abc import Sequence

_MONITORING_PORT = 15014


def main(argv: Sequence[str]) -> int:
    """Run what follows `weft controlplane`; the exit code. `request METHOD PATH` asks the istiod of this pod."""
    match argv:
        case ["request", method, path]:
            from weft.processes.agent import client

            return client.send(_MONITORING_PORT, method, path)
        case _:
            from weft.processes.controlplane import command

            return command.main(argv)
