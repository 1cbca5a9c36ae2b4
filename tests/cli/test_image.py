"""`weft image` without a cluster: what names stand for, and names of one's own."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from weft.cli.main import app
from weft.cluster.kubelet import aliases, oci
from weft.cluster.kubelet.images import architecture, builtin


def weft(home: Path, *words: str) -> Result:
    return CliRunner().invoke(app(), ["image", *words, "--home", str(home)], env={"COLUMNS": "200"})


def test_an_alias_is_written_and_listed_and_runs_what_its_model_does(tmp_path: Path) -> None:
    done = weft(tmp_path, "alias", "nginx", "registry.example/web:*", "docker.io/library/httpd")
    assert done.exit_code == 0, done.output
    assert done.output.splitlines() == [
        "registry.example/web:* runs the machine's nginx",
        "httpd:latest runs the machine's nginx",
    ]
    (own,) = aliases.parse((tmp_path / "images.yaml").read_text(), "images.yaml", builtin())
    model = next(each for each in builtin() if each.name == "nginx")
    assert own.match == ("registry.example/web:*", "httpd:latest")
    assert (own.entrypoint, own.binds, own.files) == (model.entrypoint, model.binds, model.files)
    listed = weft(tmp_path, "list").output.splitlines()
    assert listed[0].split() == ["ALIAS", "IMAGES", "RUN", "FROM", "LACKING"]
    assert listed[1].split() == ["nginx", "registry.example/web:*", "the", "machine's", "nginx", "images.yaml"]
    assert listed[2].split() == ["httpd:latest"]
    assert "No cluster runs, so no node has images. Start one: weft up" in listed


@pytest.mark.parametrize(
    ("before", "kept"),
    [
        ("# mine\naliases:\n  # the first\n  - {name: a, match: [x]}\n", True),
        ("# mine\n", True),
        ("aliases: []\n", False),
        ("aliases: [{name: a, match: [x]}]", False),
        ("aliases:\n- name: a\n  match: [x]", False),
    ],
)
def test_what_is_in_the_file_stays_with_its_comments_where_it_can(
    tmp_path: Path,
    before: str,
    kept: bool,  # noqa: FBT001, a case
) -> None:
    file = tmp_path / "images.yaml"
    file.write_text(before)
    assert weft(tmp_path, "alias", "shell", "mine:*").exit_code == 0
    assert file.read_text().startswith(before) is kept
    found = aliases.parse(file.read_text(), "f", builtin())
    assert [each.name for each in found] == [*["a"] * ("name: a" in before), "shell"]


def test_what_cannot_be_an_alias_is_refused_with_a_way_out(tmp_path: Path) -> None:
    unknown = weft(tmp_path, "alias", "ngins", "x:*")
    assert unknown.exit_code == 1
    assert 'no alias of weft\'s is called "ngins". There are nginx, curl,' in unknown.output
    assert '"a b" is not an image name' in weft(tmp_path, "alias", "shell", "a b").output
    (tmp_path / "images.yaml").write_text("aliases: [{name: a, like: nobody}]")
    broken = weft(tmp_path, "alias", "shell", "x:*")
    assert broken.exit_code == 1
    assert "images.yaml: like: no alias of weft's is called nobody." in broken.output
    assert (tmp_path / "images.yaml").read_text() == "aliases: [{name: a, like: nobody}]"


def test_a_file_that_is_no_archive_is_refused_with_a_way_out(tmp_path: Path) -> None:
    assert "nothing.tar: no such file" in weft(tmp_path, "import", str(tmp_path / "nothing.tar")).output
    file = tmp_path / "f.tar"
    file.write_text("text")
    refused = weft(tmp_path, "import", str(file))
    assert refused.exit_code == 1
    assert "not an image archive" in refused.output
    assert "docker save -o FILE NAME:TAG" in refused.output
    file.write_bytes(oci.image("app:1", {}, oci.Config(), architecture()))
    assert oci.names(file) == ("app:1",)
    assert "no cluster runs. Start one: weft up" in weft(tmp_path, "import", str(file)).output
