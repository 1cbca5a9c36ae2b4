"""How an API server is reached, held against a real one."""

import ssl
from pathlib import Path
from typing import Any

import pytest
from tests.processes.cni.api import serving

from weft.adapters.kube import access
from weft.adapters.kube.access import Access
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


@pytest.mark.parametrize(
    ("host", "server"), [("10.96.0.1", "https://10.96.0.1:443"), ("fd00::1", "https://[fd00::1]:443")]
)
def test_from_inside_a_pod_the_server_is_where_the_variables_say(
    host: str, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ca.crt", "namespace"):
        (tmp_path / name).write_text(name)
    monkeypatch.setattr(access, "_SERVICE_ACCOUNT", tmp_path)
    assert Access.in_cluster(host, "443").server == server
