"""Folders of network configurations as people have them, before and after: `cni_folders/*.yaml`.

WEFT_REWRITE=1 writes what comes out into the cases.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from weft.install import cni_config, cni_networks
from weft.install.cni_config import Choice, How, Plan, Put, plan, removal
from weft.install.cni_networks import File

CASES = sorted((Path(__file__).parent / "cni_folders").glob("*.yaml"))
ENTRY = {
    "name": "istio-cni",
    "type": "istio-cni",
    "kubeconfig": "/etc/cni/net.d/ZZZ-istio-cni-kubeconfig",
    "exclude_namespaces": ["kube-system"],
}
Folder = dict[str, File]
BUSY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""For a busy machine."""


def done(folder: Mapping[str, File], planned: Plan) -> Folder:
    """The folder after a plan, each step of which finds what it expects."""
    after = dict(folder)
    for change in planned.changes:
        assert after.get(change.name) == change.over
        if isinstance(change, Put):
            after[change.name] = change.file
        else:
            del after[change.name]
    return after


def entries(folder: Mapping[str, File]) -> int:
    """How often our plugin is in files that runtimes read."""
    found = [one for _, one in cni_networks.networks(folder) if not isinstance(one, ValueError)]
    return sum(each["type"] == "istio-cni" for one in found for each in one["plugins"])


def seen(folder: Mapping[str, File]) -> dict[str, Any]:
    """What is in the files; an original's text, as JSON or not, tells whether it was put back."""
    return {name: (one.content, one.mode, one.link) for name, one in folder.items()}


def written(value: Any) -> File:
    more = value if isinstance(value, dict) else {"text": value}
    return File(
        more["text"].encode(), int(more.get("mode", "644"), 8), more.get("link", ""), more.get("trouble", "")
    )


def shown(file: File) -> Any:
    text = file.content.decode()
    more = {"mode": f"{file.mode:o}"} if file.mode != 0o644 else {}
    links = {"link": file.link} if file.link else {}
    trouble = {"trouble": file.trouble} if file.trouble else {}
    return {"text": text, **more, **links, **trouble} if more or links or trouble else text


def differences(before: Folder, after: Folder) -> dict[str, Any]:
    """What is other than before, by name; null is gone."""
    names = [name for name in sorted({*before, *after}) if before.get(name) != after.get(name)]
    return {name: shown(after[name]) if name in after else None for name in names}


class _Dumper(yaml.SafeDumper):
    pass


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else ""),
)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_a_folder_as_people_have_it(path: Path) -> None:
    case = yaml.safe_load(path.read_text())
    given_choice = case.get("choice", {})
    choice = Choice(ENTRY, How[given_choice.pop("how", "CHAINED")], **given_choice)
    before = {name: written(value) for name, value in case["before"].items()}
    planned = plan(before, choice)
    after = done(before, planned)
    told = {
        "joined": planned.joined,
        "waiting": planned.waiting,
        "notes": list(planned.notes),
        "changed": differences(before, after),
        "not_undone": differences(before, done(after, removal(after, choice))),
    }
    if os.environ.get("WEFT_REWRITE"):
        head = path.read_text().partition("joined:")[0]
        path.write_text(head + yaml.dump(told, Dumper=_Dumper, sort_keys=False, width=110))
    assert told == {key: case.get(key) for key in told}
    assert plan(after, choice).changes == ()
    assert entries(after) == bool(planned.joined)


LISTS = st.lists(st.sampled_from(["bridge", "calico", "portmap", "istio-cni"]), min_size=1, max_size=3)
VERSIONS = st.sampled_from([{}, {"cniVersion": "0.2.0"}, {"cniVersion": "0.3.1"}, {"cniVersion": "1.0.0"}])
BROKEN = st.sampled_from([b"", b" \n", b'{"name": "x", "plugi', b"[]", b'{"plugins": []}', b"\xff{}", b"null"])
NAMES = st.sampled_from(
    [
        "00-multus.conf",
        "10-a.conf",
        "10-a.conflist",
        "10-a.json",
        "20-b.conf",
        "02-istio-cni.conflist",
        "99-lo.conf",
    ]
)


@st.composite
def files(draw: st.DrawFn, name: str, *, strangers: bool = False) -> File:
    """A file of this name; of `strangers`: nothing of ours is in it."""
    if draw(st.integers(0, 4)) == 0:
        return File(draw(BROKEN))
    plugins = [{"type": one, "more": {"a": [1, 2.5, None]}} for one in draw(LISTS)]
    if strangers:
        plugins = [one for one in plugins if one["type"] != "istio-cni"] or [{"type": "bridge"}]
    body = {**plugins[0], "name": "n"} if not name.endswith(".conflist") else {"name": "n", "plugins": plugins}
    text = json.dumps({**draw(VERSIONS), **body}, indent=draw(st.sampled_from([None, 1, 4])))
    return File(text.encode(), draw(st.sampled_from([0o600, 0o644])), draw(st.sampled_from(["", "/else/where"])))


@st.composite
def folders(draw: st.DrawFn, *, strangers: bool = False) -> Folder:
    return {name: draw(files(name, strangers=strangers)) for name in draw(st.sets(NAMES, max_size=4))}


CHOICES = st.one_of(
    st.builds(
        Choice,
        st.just(ENTRY),
        st.sampled_from([How.CHAINED, How.OWN]),
        st.sampled_from(["", "10-a.conf", "20-b.conf"]),
    ),
    st.builds(
        Choice, st.just(ENTRY), st.just(How.STANDALONE), st.sampled_from(["", "50-mesh.conf", "50-m.conflist"])
    ),
)


@BUSY
@given(folders(), CHOICES)
def test_a_plan_after_a_plan_is_empty_and_we_are_in_once(folder: Folder, choice: Choice) -> None:
    planned = plan(folder, choice)
    after = done(folder, planned)
    again = plan(after, choice)
    assert again.changes == ()
    assert (again.joined, again.waiting) == (planned.joined, planned.waiting)
    if planned.joined:
        joined = cni_networks.read(planned.joined, after[planned.joined])
        (ours,) = (each for each in joined["plugins"] if each["type"] == "istio-cni")
        assert {**ours, "name": "istio-cni"} == ENTRY


@BUSY
@given(folders(strangers=True), st.lists(CHOICES, min_size=1, max_size=3))
def test_removal_gives_back_what_was_there_whatever_was_chosen_on_the_way(
    folder: Folder, choices: list[Choice]
) -> None:
    folder.pop("02-istio-cni.conflist", None)  # a name of ours
    after = folder
    for choice in choices:
        after = done(after, plan(after, choice))
    assert seen(done(after, removal(after, choices[-1]))) == seen(folder)


@BUSY
@given(folders(strangers=True), CHOICES, st.data())
def test_what_others_write_meanwhile_stays(folder: Folder, choice: Choice, data: st.DataObject) -> None:
    folder.pop("02-istio-cni.conflist", None)
    after = done(folder, plan(folder, choice))
    changed = data.draw(st.sets(st.sampled_from(sorted(after) or ["10-a.conflist"])))
    theirs = {
        name: data.draw(files(name, strangers=True))
        for name in changed
        if cni_config.is_ours_to_list(name) and cni_networks.is_network(name) and "istio-cni" not in name
    }
    later = {**after, **theirs}
    left = done(later, removal(later, choice))
    assert {name: seen(left)[name] for name in theirs} == seen(theirs)
    assert entries(left) == 0


TEXTS = st.text('ab"\\\n\u00e9', max_size=4)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=6,
)
KEYS = st.sampled_from(["cniVersion", "name", "type", "plugins", "other"])
ODD = st.one_of(
    st.binary(max_size=20),
    st.dictionaries(KEYS, st.one_of(VALUES, st.just([{"type": "bridge"}]), st.just("0.4.0"))).map(
        lambda value: json.dumps(value).encode()
    ),
)


@BUSY
@given(st.dictionaries(NAMES, ODD, max_size=3), CHOICES)
def test_no_file_is_so_odd_that_a_plan_fails(contents: dict[str, bytes], choice: Choice) -> None:
    folder = {name: File(content) for name, content in contents.items()}
    planned = plan(folder, choice)
    after = done(folder, planned)
    assert plan(after, choice).changes == ()
    assert entries(done(after, removal(after, choice))) == 0 or entries(folder)
    assert bool(planned.joined) == bool(entries(after))


def test_a_file_nested_too_deeply_is_passed_over() -> None:
    deep = b'{"name": "n", "type": "x", "a": ' + b"[" * 900 + b"]" * 900 + b"}"
    for content in (deep, deep.replace(b"[" * 900, b"[" * 100_000)):
        planned = plan({"10-deep.conf": File(content)}, Choice(ENTRY))
        assert planned.joined in {"", "10-deep.conflist"}
