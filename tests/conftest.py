"""What holds for every test."""

from collections.abc import Iterator

import grpc
import pytest


@pytest.fixture(scope="session", autouse=True)
def _grpc_stays_at_home() -> Iterator[None]:
    """Keep gRPC's threads in the namespace the tests began in.

    They begin with a process's first channel and end with its last, and every channel dials from where they are.
    Had a test begun them in a namespace of its own, no later test of this process would reach its own loopback.
    """
    with grpc.insecure_channel("127.0.0.1:1"):
        yield
