"""Certificates in files of the pod: served to Envoy by their paths, and anew when the files change."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.envoy import Identity
from tests.support.identities import Authority
from tests.support.proto import secret_pb2

from weft.adapters.sds_server import Secrets
from weft.processes.agent import file_secrets
from weft.processes.agent.file_secrets import FileSecrets

CA = Authority()
ONE, TWO = CA.serve("one.example"), CA.serve("one.example")


@pytest.fixture
async def secrets(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Secrets]:
    monkeypatch.setattr(file_secrets, "_LOOK_SECONDS", 0.02)
    made = Secrets()
    running = asyncio.create_task(FileSecrets(made).run())
    yield made
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def write(folder: Path, pair: Identity) -> str:
    """The files, put in place at once as Kubernetes does with a volume; and the name that they go by."""
    new = folder / f"data-{len(list(folder.iterdir()))}"
    new.mkdir()
    (new / "tls.crt").write_text(pair.chain)
    (new / "tls.key").write_text(pair.key)
    (new / "ca.crt").write_text(pair.roots)
    link = folder / "new"
    link.symlink_to(new)
    link.replace(folder / "data")
    return f"file-cert:{folder}/data/tls.crt~{folder}/data/tls.key"


async def served(secrets: Secrets, name: str) -> secret_pb2.Secret:
    secrets.ask([name])
    async with asyncio.timeout(5):
        while not (found := secrets.select([name])):
            await secrets.changed.wait()
    return secret_pb2.Secret.FromString(found[0].body)


async def chain(secrets: Secrets, name: str, wanted: Identity) -> None:
    async with asyncio.timeout(5):
        while (
            await served(secrets, name)
        ).tls_certificate.certificate_chain.inline_bytes.decode() != wanted.chain:
            await asyncio.sleep(0.01)


async def test_a_certificate_is_read_and_turned_over_with_its_files(secrets: Secrets, tmp_path: Path) -> None:
    name = write(tmp_path, ONE)
    await chain(secrets, name, ONE)
    write(tmp_path, TWO)
    await chain(secrets, name, TWO)


async def test_roots_are_read_by_a_name_of_their_own(secrets: Secrets, tmp_path: Path) -> None:
    write(tmp_path, ONE)
    found = await served(secrets, f"file-root:{tmp_path}/data/ca.crt")
    assert found.validation_context.trusted_ca.inline_bytes.decode() == CA.roots


async def test_a_file_that_comes_late_is_served_then_and_its_absence_told_once(
    secrets: Secrets, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    name = f"file-cert:{tmp_path}/data/tls.crt~{tmp_path}/data/tls.key"
    secrets.ask([name])
    await asyncio.sleep(0.2)
    assert secrets.select([name]) == []
    (said,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert "tls.crt: No such file" in said
    write(tmp_path, ONE)
    await chain(secrets, name, ONE)


async def test_files_that_do_not_fit_each_other_are_not_taken(
    secrets: Secrets, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    name = write(tmp_path, ONE)
    await chain(secrets, name, ONE)
    write(tmp_path, Identity(ONE.chain, TWO.key, ONE.roots))
    await asyncio.sleep(0.2)
    await chain(secrets, name, ONE)
    assert "the private key is not the certificate's" in caplog.text
    assert "BEGIN" not in caplog.text
