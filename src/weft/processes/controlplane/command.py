"""`weft controlplane discovery`: the arguments, the logs, the event loop."""

import asyncio
import logging
import os
import socket
import sys
from collections.abc import Sequence

from weft.adapters.kube.access import AccessError
from weft.pki.pem import PemError
from weft.processes import limits
from weft.processes.controlplane import settings
from weft.processes.controlplane.istiod import run


def main(argv: Sequence[str]) -> int:
    """Run istiod until it is told to stop; the exit code. `argv` is what follows `weft controlplane`."""
    limits.widen()
    limits.no_core_dumps()
    limits.small_connections()
    try:
        chosen = settings.parse(argv, os.environ, host=socket.gethostname())
        logging.basicConfig(
            level=logging.DEBUG if chosen.verbose else logging.INFO,
            format="%(asctime)s %(levelname)s %(name)s %(message)s",
            stream=sys.stderr,
        )
        asyncio.run(run(chosen))
    except (AccessError, PemError, settings.SettingsError, OSError) as error:
        sys.stderr.write(f"weft controlplane: {error}\n")
        return 1
    return 0
