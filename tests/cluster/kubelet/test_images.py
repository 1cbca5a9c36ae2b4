"""Which image a name runs: the user's alias, what was brought here, weft's alias."""

from pathlib import Path

from tests.cluster.kubelet.support import Containerd, Json, Node, pod

from weft.adapters.cri.ctr import import_file
from weft.cluster.kubelet import oci
from weft.cluster.kubelet.images import architecture

BUSYBOX = Path("/usr/bin/busybox").read_bytes()


def image(name: str, who: bytes = b"imported\n") -> bytes:
    files: dict[str, oci.Entry] = {
        "bin/busybox": oci.File(BUSYBOX, 0o755),
        "bin/sh": oci.Link("busybox"),
        "bin/cat": oci.Link("busybox"),
        "who": oci.File(who),
    }
    config = oci.Config(entrypoint=("/bin/busybox", "sleep", "1000"), env=("PATH=/bin",))
    return oci.image(name, files, config, architecture())


def main(name: str) -> Json:
    return {"name": "main", "image": name, "imagePullPolicy": "Always"}


async def test_an_image_that_was_brought_here_wins_over_wefts_alias_and_the_users_alias_over_both(
    node: Node, containerd: Containerd, tmp_path: Path
) -> None:
    archive = tmp_path / "nginx.tar"
    archive.write_bytes(image("docker.io/library/nginx:9"))
    assert oci.names(archive) == ("nginx:9",)
    await import_file(containerd.paths.socket, archive)
    try:
        node.pods.apply(pod("brought", main("nginx:9")))
        await node.ready("brought")
        assert await node.run("brought", "main", "cat", "/who") == "imported\n"
        told = node.memory.told("brought")
        assert 'Pulled: Container image "nginx:9" already present on machine' in told
        file = containerd.paths.home / "images.yaml"
        file.write_text("aliases: [{name: mine, like: shell, match: ['nginx:9'], command: [sleep, '77']}]")
        node.pods.apply(pod("own", main("nginx:9")))
        await node.ready("own")
        assert await node.run("own", "main", "cat", "/proc/1/cmdline") == "sleep\x0077\x00"
    finally:
        await node.station.runtime.remove_image("docker.io/library/nginx:9")


async def test_images_that_nobody_uses_go_when_room_is_wanted(
    node: Node, containerd: Containerd, tmp_path: Path
) -> None:
    archive = tmp_path / "two.tar"
    runtime = node.station.runtime
    for name in ("demo.local/used:1", "demo.local/idle:1"):
        archive.write_bytes(image(name, name.encode()))
        await import_file(containerd.paths.socket, archive)
    node.pods.apply(pod("user", main("demo.local/used:1") | {"imagePullPolicy": "Never"}))
    await node.ready("user")
    await node.station.images.prepare(["busybox"])
    await node.station.images.collect({"demo.local/used:1"})
    kept = {tag for found in await runtime.images() for tag in found.tags}
    assert "demo.local/used:1" in kept
    assert any("busybox" in tag for tag in kept)
    assert "demo.local/idle:1" not in kept
    await runtime.remove_image("demo.local/used:1")


async def test_an_image_that_must_not_be_pulled_is_missed_by_its_own_reason(node: Node) -> None:
    node.pods.apply(pod("never", main("demo.local/nowhere:1") | {"imagePullPolicy": "Never"}))
    await node.until("never", lambda status: "ErrImageNeverPull" in str(status))
    message = 'Container image "demo.local/nowhere:1" is not present with pull policy of Never'
    assert f"ErrImageNeverPull: {message}" in node.memory.told("never")
    assert "Failed: Error: ErrImageNeverPull" in node.memory.told("never")
