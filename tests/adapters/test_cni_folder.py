"""A folder that others write to as well, changed for real."""

import os
from pathlib import Path

import pytest

from weft.adapters import cni_folder
from weft.adapters.cni_folder import ChangedError
from weft.install.cni_config import Put, Remove
from weft.install.cni_networks import File

NAME = "10-net.conflist"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_read_as_the_node_sees_it_and_only_what_runtimes_read(tmp_path: Path) -> None:
    folder, root = tmp_path / "net.d", tmp_path / "root"
    folder.mkdir()
    (root / "usr/share").mkdir(parents=True)
    (root / "usr/share/net.conflist").write_text("{}")
    (root / "usr/share/net.conflist").chmod(0o640)
    (folder / NAME).symlink_to("/usr/share/net.conflist")
    (folder / "20-relative.conf").symlink_to(NAME)
    (folder / "30-nowhere.conf").symlink_to("/nowhere")
    os.mkfifo(folder / "40-pipe.conf")
    (folder / "50-folder.conf").mkdir()
    (folder / "60-long.json").write_bytes(b" " * (1 << 21))
    (folder / "calico-kubeconfig").write_text("secret")
    found = cni_folder.listing(folder, root)
    assert found.pop(NAME) == File(b"{}", 0o640, "/usr/share/net.conflist")
    assert found.pop("20-relative.conf") == File(b"{}", 0o640, NAME)
    assert {name: file.trouble for name, file in found.items()} == {
        "30-nowhere.conf": "it cannot be read: No such file or directory",
        "40-pipe.conf": "it is no regular file",
        "60-long.json": "it is too long",
    }
    assert cni_folder.listing(tmp_path / "none", root) == {}


def test_what_is_put_has_its_mode_and_a_link_is_a_link(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        file = File(b"{}", 0o644)
        cni_folder.apply(tmp_path, Path("/"), [Put(NAME, file, None), Put("l.conf", File(b"{}", link=NAME), None)])
    finally:
        os.umask(before)
    assert cni_folder.listing(tmp_path, Path("/")) == {NAME: file, "l.conf": File(b"{}", 0o644, NAME)}
    assert names(tmp_path) == [NAME, "l.conf"]


@pytest.mark.parametrize("exchanges", [True, False])
def test_what_another_wrote_meanwhile_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, exchanges: bool
) -> None:
    if not exchanges:
        # a C library without the call
        monkeypatch.setattr(cni_folder, "_renamer", lambda: None)
    read, newer = File(b"old"), File(b"newer")
    cni_folder.apply(tmp_path, Path("/"), [Put(NAME, newer, None)])
    for change in (Put(NAME, File(b"ours"), read), Remove(NAME, read), Put(NAME, File(b"ours"), None)):
        with pytest.raises(ChangedError):
            cni_folder.apply(tmp_path, Path("/"), [change])
        assert cni_folder.listing(tmp_path, Path("/")) == {NAME: newer}
    with pytest.raises(ChangedError):
        cni_folder.apply(tmp_path, Path("/"), [Put("gone.conf", File(b"ours"), read)])
    cni_folder.apply(tmp_path, Path("/"), [Put(NAME, File(b"ours", 0o600), newer), Remove("gone.conf", read)])
    assert cni_folder.listing(tmp_path, Path("/")) == {NAME: File(b"ours", 0o600)}
    cni_folder.apply(tmp_path, Path("/"), [Remove(NAME, File(b"ours", 0o600))])
    assert names(tmp_path) == []
