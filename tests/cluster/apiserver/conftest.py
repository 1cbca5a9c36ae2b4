"""A real API server on a loopback port, with keys made for the test."""

import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.cluster.apiserver.servers import OLD, Home, Kubectl, make_home

from weft.adapters.kube.client import Kube
from weft.cluster.apiserver.rest.server import Server
from weft.cluster.apiserver.serving import serve
from weft.cluster.apiserver.world import World


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return make_home(tmp_path)


@pytest.fixture
async def server(home: Home) -> AsyncIterator[Server]:
    async with serve(home.settings, World(lambda: datetime.now(UTC), random.SystemRandom())) as running:
        yield running


@pytest.fixture
async def kube(home: Home, server: Server) -> AsyncIterator[Kube]:
    async with Kube(home.access) as client:
        yield client


@pytest.fixture
def kubectl(home: Home, server: Server) -> Kubectl:
    return Kubectl(home)


@pytest.fixture
def old_kubectl(home: Home, server: Server) -> Kubectl:
    return Kubectl(home, OLD)
