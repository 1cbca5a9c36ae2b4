"""Whatever clients send, the answer is a Status that blames the client, and the server goes on."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weft.adapters.kube.client import ApiError, Kube
from weft.adapters.kube.kinds import SERVICEACCOUNTS
from weft.cluster.apiserver import errors, paths
from weft.cluster.apiserver.deleting import Options
from weft.cluster.apiserver.patches import json as json_patch
from weft.cluster.apiserver.patches import merge
from weft.cluster.apiserver.rest import bodies
from weft.cluster.apiserver.selectors import parse_fields, parse_labels

FAST = settings(max_examples=150, deadline=None)
scalars = (
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False) | st.text(max_size=8)
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
)
MEDIA = (
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
    "application/merge-patch+json",
    "",
    "x",
)


def _refusal(act: Callable[[], object]) -> int:
    """The code with which something is refused; 0 where it is not."""
    try:
        act()
    except errors.StatusError as error:
        return error.code
    return 0


@FAST
@given(st.binary(max_size=200), st.sampled_from(MEDIA))
def test_any_bytes_are_a_value_or_a_refusal(body: bytes, media: str) -> None:
    assert _refusal(lambda: bodies.parse(body, media)) in {0, 400, 415}


@FAST
@given(st.text(alphabet="ab{}[]:-&*!|>'\"\n ,?#%@`1.", max_size=60))
def test_any_yaml_is_a_value_that_json_can_carry_or_a_refusal(text: str) -> None:
    assert _refusal(lambda: msgspec.json.encode(bodies.parse(text.encode(), "application/yaml"))) in {0, 400}


def test_a_small_document_that_means_a_huge_one_is_refused() -> None:
    levels = [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 10)]
    bomb = "\n".join(["l0: &l0 [x, x, x, x, x, x, x, x, x]", *levels])
    with pytest.raises(errors.StatusError, match="excessive aliasing"):
        bodies.parse(bomb.encode(), "application/yaml")


@pytest.mark.parametrize("text", ["!!timestamp", "!!bool x", "!!int", "!!float x"])
def test_a_tag_on_what_it_does_not_fit_is_refused(text: str) -> None:
    with pytest.raises(errors.StatusError, match="error converting YAML to JSON"):
        bodies.parse(text.encode(), "application/yaml")


def test_yamls_keys_become_strings_and_what_json_lacks_is_refused() -> None:
    assert bodies.parse(b"{2: a, true: b, 1.5: c}", "application/yaml") == {"2": "a", "true": "b", "1.5": "c"}
    for text in (b"? [a]\n: b", b"a: .nan", b"a: !!binary aGk=", b"a: !!set {b}", b"2001-01-01: a\n? \n: x"):
        assert _refusal(lambda text=text: bodies.parse(text, "application/yaml")) == 400  # type: ignore[misc]


@FAST
@given(st.text(alphabet="ab=!,() innotx.-/0", max_size=40))
def test_any_selector_is_read_or_refused(text: str) -> None:
    for read in (lambda: parse_labels(text), lambda: parse_fields(text, "pods")):
        assert _refusal(read) in {0, 400}


@FAST
@given(values, values)
def test_any_patch_and_options_are_taken_or_refused(target: Any, patch: Any) -> None:
    merge.merge(target, patch)
    for act in (lambda: json_patch.apply({"a": target}, patch), lambda: Options.read(patch)):
        assert _refusal(act) in {0, 400, 422}


@FAST
@given(st.text(max_size=40))
def test_any_path_is_read(text: str) -> None:
    paths.parse(text)
    paths.parse(f"/api/v1/{text}")


ODD: tuple[Any, ...] = (None, True, 3, 1.5, "s", [1], {"a": 1}, [{"a": []}], {"labels": 3}, {"managedFields": [1]})
EXISTING: dict[str, dict[str, Any]] = {
    "services": {"spec": {"ports": [{"port": 80}], "selector": {"a": "b"}}},
    "pods": {"spec": {"containers": [{"name": "c", "image": "i"}]}},
    "configmaps": {},
}
WAYS = (
    ("PUT", "", "json"),
    ("PUT", "/status", "json"),
    ("DELETE", "", "json"),
    ("POST", "/eviction", "json"),
    ("POST", "/binding", "json"),
    ("POST", "/token", "json"),
    ("PATCH", "", "merge-patch+json"),
    ("PATCH", "", "strategic-merge-patch+json"),
    ("PATCH", "", "apply-patch+yaml"),
    ("PATCH", "", "json-patch+json"),
)


@pytest.mark.parametrize("plural", list(EXISTING))
async def test_no_malformed_object_is_the_servers_fault(kube: Kube, plural: str) -> None:
    path = f"/api/v1/namespaces/default/{plural}"
    await kube.create(SERVICEACCOUNTS, {"metadata": {"name": "default", "namespace": "default"}})
    await kube.call("POST", path, body={"metadata": {"name": "x"}, **EXISTING[plural]})
    query = {"dryRun": "All", "fieldManager": "m"}
    for method, below, media in WAYS:
        for name in ("metadata", "spec", "status", "deleteOptions", "preconditions", "target"):
            for odd in ODD:
                try:
                    await kube.call(
                        method,
                        f"{path}/x{below}",
                        body={name: odd},
                        query=query,
                        content_type=f"application/{media}",
                    )
                except ApiError as error:
                    # the fault must be the client's, whatever it is
                    if error.code >= 500:
                        pytest.fail(f"{method} {plural}{below} of {media} with {name}: {odd}: {error}")
