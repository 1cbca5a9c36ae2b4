import json
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from weft.cluster.kubelet import aliases, oci
from weft.cluster.kubelet.aliases import Alias, AliasError, Installation

BUILTIN = aliases.parse(
    (Path(aliases.__file__).parent / "images.yaml").read_text(encoding="utf-8"), "weft's images.yaml"
)


def named(image: str) -> str:
    found = aliases.find(image, BUILTIN)
    return found.name if found is not None else ""


def test_an_image_is_known_by_each_of_its_names() -> None:
    for image in ("nginx", "nginx:1.25.3", "docker.io/library/nginx:latest", "nginx@sha256:abcd"):
        assert named(image) == "nginx"
    assert named("centos:7.9.2009") == "shell"
    assert named("curlimages/curl") == "curl"
    assert named("weft.local/proxyv2:0.1.0") == "weft-proxy"
    assert named("ghcr.io/someone/nginx:1") == ""
    assert named("localhost:5000/thing") == ""


def test_the_page_of_nginx_has_the_length_that_guides_show() -> None:
    nginx = next(each for each in BUILTIN if each.name == "nginx")
    assert len(nginx.files["/usr/share/nginx/html/index.html"].encode()) == 615


def test_a_bad_file_is_one_error_that_names_the_field() -> None:
    with pytest.raises(AliasError, match=r"HOME/images.yaml: Object contains unknown field `bind`.*aliases\[0\]"):
        aliases.parse("aliases: [{name: x, match: [x], bind: [/usr]}]", "HOME/images.yaml")
    with pytest.raises(AliasError, match="not valid YAML"):
        aliases.parse("aliases: [", "HOME/images.yaml")


def test_wefts_own_image_binds_the_installation() -> None:
    proxy = next(each for each in BUILTIN if each.name == "weft-proxy")
    own = aliases.resolved(proxy, Installation(("/opt/weft", "/src"), "/opt/weft/bin/python"))
    assert own.binds == ("/usr", "/opt/weft", "/src")
    assert own.entrypoint == ("/opt/weft/bin/python", "-m", "weft", "agent")


def test_a_bind_is_split_where_something_must_be_writable_or_mounted_inside() -> None:
    tree = {"/usr": ["bin", "share"], "/usr/share": ["doc", "web"], "/usr/share/web": ["html", "old"]}
    there = {*tree, "/usr/bin", "/usr/share/doc", "/usr/share/web/html", "/usr/share/web/old"}
    alias = Alias(name="x", match=(), files={"/usr/share/web/html/index.html": "hi"})

    def binds(*points: str) -> tuple[str, ...]:
        return aliases.binds(alias, points, there.__contains__, lambda path: tree.get(path, []))

    assert binds() == ("/usr/bin", "/usr/share/doc", "/usr/share/web/old")
    assert binds("/usr/bin") == ("/usr/share/doc", "/usr/share/web/old")
    assert binds("/usr/bin/new/file") == ("/usr/share/doc", "/usr/share/web/old")
    plain = Alias(name="x", match=())
    assert aliases.binds(plain, ("/var/x", "/usr/share/doc"), there.__contains__, lambda _: []) == ("/usr",)


def test_what_the_machine_lacks_is_named_with_its_package() -> None:
    nginx = next(each for each in BUILTIN if each.name == "nginx")
    assert nginx.lacks(lambda _: False) == {"/usr/sbin/nginx": "nginx-light"}
    assert nginx.lacks(lambda _: True) == {}


def test_an_image_is_the_same_whenever_it_is_made_and_its_digests_are_true() -> None:
    config = oci.Config(command=("sh",), user="7")
    entries: dict[str, oci.Entry] = {"a/b/c": oci.File(b"x"), "l": oci.Link("a"), "tmp": oci.Directory(0o1777)}
    made = oci.image("weft.local/x:1", entries, config, "amd64")
    assert made == oci.image("weft.local/x:1", dict(reversed(entries.items())), config, "amd64")
    import hashlib

    with tarfile.open(fileobj=BytesIO(made)) as tar:
        files = {each.name: tar.extractfile(each).read() for each in tar if each.isfile()}  # type: ignore[union-attr]  # files have content
    blobs = {name: data for name, data in files.items() if name.startswith("blobs/")}
    assert all(name.endswith(hashlib.sha256(data).hexdigest()) for name, data in blobs.items())
    manifest = json.loads(files["index.json"])["manifests"][0]
    assert manifest["annotations"]["io.containerd.image.name"] == "weft.local/x:1"
