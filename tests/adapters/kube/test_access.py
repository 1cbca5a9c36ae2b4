"""How an API server is reached, held against a real one."""

import ssl
from pathlib import Path
from typing import Any

import pytest
from tests.processes.cni.api import serving

from weft.adapters.kube.client import Kube
from weft.adapters.kube.kinds import NAMESPACES


async def test_an_authority_that_writes_no_key_identifier_is_good_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = ssl.create_default_context

    def strict(**given: Any) -> ssl.SSLContext:
        """As Python 3.13 makes it."""
        made = usual(**given)
        made.verify_flags |= ssl.VERIFY_X509_STRICT
        return made

    async with serving(tmp_path) as kube:
        monkeypatch.setattr(ssl, "create_default_context", strict)
        async with Kube(kube.access) as another:
            assert (await another.get(NAMESPACES, "shop"))["metadata"]["name"] == "shop"
