"""Whatever bytes come, a decoder gives a value or refuses them in its own words.

Hypothesis goes on from the kept inputs; `python -m tests.fuzz.guided` goes further, by coverage.
"""

import json
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fuzz.decoders import CASES, DECODERS, run

from weft.cluster.apiserver.spdy_dictionary import DICTIONARY


@pytest.mark.parametrize(("name", "file"), CASES, ids=lambda one: one.name if isinstance(one, Path) else one)
def test_what_went_wrong_once_is_answered_now(name: str, file: Path) -> None:
    run(name, file.read_bytes())


def test_every_decoder_has_a_corpus() -> None:
    assert {name for name, _ in CASES} == set(DECODERS)


def seeded(name: str) -> st.SearchStrategy[bytes]:
    """Bytes at random, and the corpus with a piece of it cut out, doubled or replaced."""
    seeds = [file.read_bytes() for folder, file in CASES if folder == name]

    def changed(seed: bytes, at: int, length: int, piece: bytes) -> bytes:
        at %= len(seed) + 1
        return seed[:at] + piece + seed[at + length :]

    mutated = st.builds(
        changed, st.sampled_from(seeds), st.integers(0, 4096), st.integers(0, 16), st.binary(max_size=16)
    )
    return st.binary(max_size=400) | mutated


@pytest.mark.parametrize("name", sorted(DECODERS))
@given(data=st.data())
@settings(max_examples=80, deadline=None)
def test_any_bytes_are_a_value_or_a_refusal(name: str, data: st.DataObject) -> None:
    run(name, data.draw(seeded(name)))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["metadata", "spec", "containers", "name", "env", "ports", "$patch", "op", "path", "value"]
            )
            | st.text(max_size=5),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)


@pytest.mark.parametrize("name", ["json", "typed", "json-patch", "strategic-merge-patch", "yaml"])
@given(
    value=json_values | st.lists(st.dictionaries(st.sampled_from(["op", "path", "from", "value"]), json_values))
)
@settings(max_examples=80, deadline=None)
def test_any_json_is_a_value_or_a_refusal(name: str, value: object) -> None:
    run(name, json.dumps(value).encode())


@given(st.lists(st.tuples(st.sampled_from([1, 2, 3, 6, 7, 8, 99]), st.integers(0, 9), st.binary(max_size=40))))
@settings(max_examples=100, deadline=None)
def test_any_frames_of_spdy_are_events_or_an_error(frames: list[tuple[int, int, bytes]]) -> None:
    """Well-formed outside: frames of the right version and length, headers that decompress."""
    deflate = zlib.compressobj(zdict=DICTIONARY)
    out = b""
    for kind, stream, payload in frames:
        block = deflate.compress(payload) + deflate.flush(zlib.Z_SYNC_FLUSH) if kind in {1, 2, 8} else payload
        inside = stream.to_bytes(4, "big") + (bytes(6) if kind == 1 else b"") + block
        out += (0x80030000 | kind).to_bytes(4, "big") + len(inside).to_bytes(4, "big") + inside
    run("spdy", out)
