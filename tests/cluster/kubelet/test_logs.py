import asyncio
import io
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from weft.cluster.kubelet import logs

STAMP = b"2026-01-03T14:59:56.123456789Z"
LINES = st.lists(st.tuples(st.booleans(), st.text("ab \t", max_size=5)), max_size=30)


def written(lines: list[tuple[bool, str]]) -> bytes:
    return b"".join(
        STAMP + b" stdout " + (b"F " if full else b"P ") + text.encode() + b"\n" for full, text in lines
    )


def shown(data: bytes) -> bytes:
    parsed = [line for each in data.split(b"\n") if (line := logs.parse(each)) is not None]
    return b"".join(logs.render(line, timestamps=False, begins=True) for line in parsed)


@given(LINES, st.integers(0, 12), st.integers(1, 40))
def test_a_tail_is_the_end_of_what_all_of_it_shows(lines: list[tuple[bool, str]], count: int, block: int) -> None:
    data = written([*lines, (True, "end")] if lines else [])
    everything = shown(data).splitlines(keepends=True)
    before, logs._BLOCK = logs._BLOCK, block
    try:
        offset = logs.tail_offset(io.BytesIO(data), count)
    finally:
        logs._BLOCK = before
    assert shown(data[offset:]).splitlines(keepends=True) == everything[max(0, len(everything) - count) :]


def test_a_time_is_read_to_the_nanosecond_as_far_as_floats_go() -> None:
    assert abs(logs.moment(STAMP) - 1767452396.1234567) < 1e-5
    assert logs.moment(b"nonsense") == 0.0


def test_parts_of_a_long_line_are_joined() -> None:
    data = written([(False, "aa"), (True, "bb")])
    assert shown(data) == b"aabb\n"


async def test_a_log_is_followed_across_a_turn_over(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    path.write_bytes(written([(True, "one")]))
    over = False
    got: list[bytes] = []

    async def follow() -> None:
        async for piece in logs.read(path, logs.Options(follow=True), lambda: over):
            got.append(piece)  # noqa: PERF401, watched while it grows

    task = asyncio.create_task(follow())
    await asyncio.sleep(0.05)
    assert logs.turn_over(path, 0.0, largest=1)
    assert not logs.turn_over(path, 0.0, largest=1)
    path.write_bytes(written([(True, "two")]))
    await asyncio.sleep(0.25)
    over = True
    async with asyncio.timeout(2):
        await task
    assert b"".join(got) == b"one\ntwo\n"
