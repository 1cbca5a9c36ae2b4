"""The SPDY session: two of them talk, and bytes that are none are refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.cluster.apiserver import spdy
from weft.cluster.apiserver.spdy_dictionary import DICTIONARY
from weft.cluster.apiserver.streams_channels import Channels


def pair() -> tuple[spdy.Session, spdy.Session]:
    return spdy.Session(client=True), spdy.Session(client=False)


def carry(source: spdy.Session, target: spdy.Session, step: int = 0) -> list[spdy.Event]:
    """Bring what a session has to send to the other, in pieces of `step` bytes."""
    data, events = source.data_to_send(), list[spdy.Event]()
    for at in range(0, len(data), step or len(data) or 1):
        events += target.receive(data[at : at + (step or len(data))])
    return events


def test_the_dictionary_is_the_protocols() -> None:
    assert len(DICTIONARY) == 1423
    assert DICTIONARY.startswith(b"\0\0\0\x07options\0\0\0\x04head")
    assert DICTIONARY.endswith(b"utf-,*,enq=0.")


def test_headers_survive_their_compression_stream_after_stream() -> None:
    client, server = pair()
    wanted = [{"streamtype": name, "port": "80"} for name in ("error", "data", "error", "data")]
    numbers = [client.open(headers) for headers in wanted]
    assert carry(client, server) == [spdy.Opened(n, h) for n, h in zip(numbers, wanted, strict=True)]
    assert numbers == [1, 3, 5, 7]


@given(st.lists(st.binary(max_size=70_000), max_size=4), st.sampled_from([0, 1000, 4097]))
def test_bytes_arrive_in_order_however_they_are_cut(chunks: list[bytes], step: int) -> None:
    client, server = pair()
    stream = client.open({"streamtype": "data"})
    for chunk in chunks:
        client.send(stream, chunk)
    client.finish(stream)
    events = carry(client, server, step)
    assert b"".join(event.data for event in events if isinstance(event, spdy.Data)) == b"".join(chunks)
    assert events[-1] == spdy.Finished(stream)


def test_a_finished_direction_leaves_the_other_open() -> None:
    client, server = pair()
    stream = client.open({"streamtype": "data"})
    client.finish(stream)
    carry(client, server)
    server.reply(stream)
    server.send(stream, b"answer")
    server.finish(stream)
    assert carry(server, client) == [spdy.Accepted(stream), spdy.Data(stream, b"answer"), spdy.Finished(stream)]
    server.send(stream, b"late")
    client.send(stream, b"late")
    assert (server.data_to_send(), client.data_to_send()) == (b"", b"")


def test_a_reset_stream_is_over_for_both() -> None:
    client, server = pair()
    stream = client.open({"streamtype": "data"})
    carry(client, server)
    server.reset(stream, 5)
    assert carry(server, client) == [spdy.Reset(stream, 5)]
    client.send(stream, b"late")
    assert client.data_to_send() == b""


def test_a_ping_of_the_peer_is_answered_and_an_own_one_is_not() -> None:
    _, server = pair()
    ping = b"\x80\x03\x00\x06\x00\x00\x00\x04\x00\x00\x00"
    assert server.receive(ping + b"\x01") == []
    assert server.data_to_send() == ping + b"\x01"
    assert server.receive(ping + b"\x02") == []
    assert server.data_to_send() == b""


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x80\x02\x00\x01\x00\x00\x00\x00", "version 2"),
        (b"\x80\x03\x00\x01\x00\xff\xff\xff", "too long"),
        (b"\x00\x00\x00\x01\x00\xff\xff\xff", "too long"),
        (b"\x80\x03\x00\x03\x00\x00\x00\x00", "too short"),
        (b"\x80\x03\x00\x01\x00\x00\x00\x0e\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00nope", "decompress"),
    ],
)
def test_frames_that_are_none_are_refused_with_the_reason(data: bytes, words: str) -> None:
    with pytest.raises(spdy.SpdyError, match=words):
        spdy.Session(client=False).receive(data)


def test_headers_that_unpack_to_more_than_the_limit_are_refused() -> None:
    client, server = pair()
    client.open({"streamtype": "x" * (spdy.MAX_HEADERS + 1)})
    with pytest.raises(spdy.SpdyError, match="too long"):
        carry(client, server)


def test_the_peer_opens_only_numbers_of_its_own_and_not_too_many() -> None:
    client, other = pair()[0], pair()[0]
    client.open({})
    with pytest.raises(spdy.SpdyError, match="cannot be opened"):
        carry(client, other)
    client, server = pair()
    for _ in range(spdy.MAX_STREAMS + 1):
        client.open({})
    with pytest.raises(spdy.SpdyError, match="too many"):
        carry(client, server)


@given(st.lists(st.binary(max_size=200), max_size=5), st.booleans())
def test_random_bytes_are_events_or_one_error(chunks: list[bytes], client: bool) -> None:  # noqa: FBT001  # hypothesis
    session = spdy.Session(client=client)
    try:
        for chunk in chunks:
            session.receive(chunk)
            session.receive(b"\x80\x03\x00" + chunk)
    except spdy.SpdyError:
        session.data_to_send()


@given(st.lists(st.binary(max_size=60), max_size=6))
def test_random_messages_of_a_client_never_break_the_kubelets_session(messages: list[bytes]) -> None:
    channels, kubelet = Channels({"stdin": "true", "stdout": "true", "tty": "true"}), spdy.Session(client=False)
    for message in messages:
        channels.from_client(message)
    events = kubelet.receive(channels.to_kubelet())
    assert [event.headers["streamtype"] for event in events if isinstance(event, spdy.Opened)] == [
        "error",
        "stdin",
        "stdout",
        "resize",
    ]


def test_a_kubelet_that_breaks_off_is_a_failure_told_once() -> None:
    channels = Channels({"stdout": "true"})
    [message] = channels.lost()
    assert message[0] == 3
    assert b"connection to the kubelet was lost" in message
    assert channels.done
    assert channels.lost() == []


def test_a_kubelet_that_speaks_nonsense_is_a_failure() -> None:
    [message] = Channels({"stdout": "true"}).from_kubelet(b"HTTP/1.1 500 Internal Server Error")
    assert b"stream is broken" in message
