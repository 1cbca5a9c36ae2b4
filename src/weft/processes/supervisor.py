"""`weft supervisor`: starts again what of the cluster has died."""

import argparse
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from weft.cluster.machine.keeping import Keeper

_SECONDS = 0.5  # between looks: a look costs a tenth of a millisecond or so a process
_log = logging.getLogger("weft.supervisor")


def main(argv: Sequence[str]) -> int:
    """Run until SIGTERM, or until the cluster's record names another supervisor or is gone."""
    parser = argparse.ArgumentParser(prog="weft supervisor", description=__doc__)
    parser.add_argument("--home", type=Path, required=True, help="the cluster's home folder")
    home = parser.parse_args(argv).home
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr
    )
    logging.Formatter.converter = time.gmtime
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    keeper = Keeper(home, time.monotonic)
    while True:
        time.sleep(_SECONDS)
        try:
            if not keeper.look():
                return 0
        except OSError as error:
            # a full disk, too many open files: it may pass
            _log.error("%s", error)
        _bury()


def _bury() -> None:
    """Let go of children that have ended, so that nothing of them stays in the process table."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
