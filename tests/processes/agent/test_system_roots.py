"""The roots of the system, which the agent serves where no others are named."""

import asyncio
from pathlib import Path

import pytest
from tests.support.identities import Authority
from tests.support.proto import secret_pb2

from weft.adapters.sds_server import Secrets
from weft.processes.agent import file_secrets
from weft.processes.agent.file_secrets import FileSecrets


async def test_the_roots_of_the_system_are_served_from_where_it_keeps_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.write_text(f"# roots\n{Authority().roots}\n{Authority().roots}")
    monkeypatch.setattr(file_secrets, "SYSTEM_ROOTS", (tmp_path / "elsewhere.pem", bundle))
    secrets = Secrets()
    running = asyncio.create_task(FileSecrets(secrets).run())
    try:
        secrets.ask(["file-root:system"])
        async with asyncio.timeout(5):
            while not (found := secrets.select(["file-root:system"])):
                await secrets.changed.wait()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    context = secret_pb2.Secret.FromString(found[0].body).validation_context
    assert context.trusted_ca.inline_bytes.count(b"BEGIN CERTIFICATE") == 2
