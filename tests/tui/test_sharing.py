"""What is sent of a shared walk: the same frame arrives, nothing wrong is taken, and viewers disturb nobody."""

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.segment import Segment
from rich.style import Style
from scenes import Scenes
from textual.strip import Strip

from core.activations.patch import Patch
from core.activations.steering_vector import SteeringVector
from core.errors import UserError
from core.progress import Progress
from core.sampling.bounds import Bounds
from core.sampling.sampler import Sampler
from core.sampling.values import Score
from core.sessions import journal, record, writer
from core.tokenizers.chat import Span
from core.walk.tree import Tree
from tui.runner import Frame
from tui.sharing import address, feed, server
from tui.sharing.feed import Feed, FileFeed, SharedFeed
from tui.sharing.server import Server
from tui.sharing.view import View, lines_of, strips_of
from tui.sharing.wire import Reader, Received, Writer

SCENES = Scenes()
OAT = SCENES.oat_milk()


def seen(frame: Frame) -> tuple[Any, ...]:
    """What of a frame is shared."""
    shot = frame.snapshot
    assert shot is not None
    numbers = (shot.prompt, shot.prompt_length, shot.cursor, shot.window, shot.stopped)
    tokens = tuple(replace(token, sampler=None, model=None) for token in shot.tokens)
    parts = (shot.sampler, shot.chart, shot.patches, shot.spans)
    return tokens, numbers, parts, frame.activity, frame.generated, frame.rate, frame.activity_progress, frame.model


def changed(**changes: Any) -> Frame:
    assert OAT.snapshot is not None
    return replace(OAT, snapshot=replace(OAT.snapshot, **changes))


STEERED = Patch(kind="steer", part="stream", vector=SteeringVector("v", ((1, b"\0\0\x80?"),)))
BOUNDED = Score(-8.0, Bounds(-9.0, -8.0), Bounds(1.0, 2.0), Bounds(50, float("inf")), 50)
FRAMES = {
    "a walk": OAT,
    "patches": changed(patches=(Patch(part="mlp", layer=1), STEERED)),
    "a conversation": changed(spans=(Span(0, 3, "user"), Span(3, 12, "assistant", thinking=True))),
    "a sampler": changed(sampler=Sampler.of(top_k=3, seed=2**80)),
    "a tempered chart": changed(chart=replace(OAT.snapshot.chart, sampled_entropy_bits=Bounds(1.0, 2.0))),
    "no chart": changed(chart=None, cursor=3, window=0),
    "bounds": changed(tokens=(replace(OAT.snapshot.tokens[0], score=BOUNDED),), prompt_length=1, cursor=1, window=0),
    "a prompt that is read": replace(OAT, activity="reading", activity_progress=Progress(3, 9), rate=None),
    "text of any kind": changed(prompt="\x1b]0;x\x07\u202e字", stopped="stopped: '\n'"),
}


@pytest.mark.parametrize("name", FRAMES)
def test_a_frame_arrives_as_it_was_sent(name: str) -> None:
    frame = FRAMES[name]
    received = Reader().read(Writer().message(frame, View("chart", cursor=2), ()))
    assert seen(received.frame) == seen(frame)
    assert received.view == View("chart", cursor=2)


def test_only_tokens_that_differ_are_sent() -> None:
    writer, reader = Writer(), Reader()
    tokens = OAT.snapshot.tokens
    ways = [tokens[:6], tokens, tokens[:4], (*tokens[:2], replace(tokens[2], score=None), *tokens[3:])]
    before: tuple[Any, ...] = ()
    sizes = []
    for way in ways:
        frame = changed(tokens=way, prompt_length=2, cursor=2, window=0)
        message = writer.message(frame, None, before)
        received = reader.read(message)
        assert seen(received.frame)[0] == way
        sizes.append(len(msgspec.msgpack.decode(message)["tokens"]))
        before = way
    assert sizes == [6, 6, 0, 10]


def test_a_viewer_who_missed_states_gets_what_is_missing() -> None:
    writer, tokens = Writer(), OAT.snapshot.tokens
    frames = [changed(tokens=tokens[:n], prompt_length=2, cursor=2, window=0) for n in (3, 5, 8)]
    slow = Reader()
    slow.read(writer.message(frames[0], None, ()))
    writer.message(frames[1], None, tokens[:3])
    assert seen(slow.read(writer.message(frames[2], None, tokens[:3])).frame)[0] == tokens[:8]


# What is refused ------------------------------------------------------------------------------------------------------

MESSAGE = Writer().message(OAT, View("logit", "logit lens", 1, 8, ((255, -1, 3),), ((("abc", 0),),)), ())


@settings(derandomize=True, database=None, deadline=None, max_examples=300)
@given(at=st.integers(0, len(MESSAGE)), cut=st.integers(0, 4), junk=st.binary(max_size=6))
def test_no_message_is_an_exception(at: int, cut: int, junk: bytes) -> None:
    """Every damaged message is refused in one line, or is a frame with numbers that can be drawn."""
    try:
        received = Reader().read(MESSAGE[:at] + junk + MESSAGE[at + cut :])
    except UserError as error:
        assert "\n" not in str(error)
    else:
        shot = received.frame.snapshot
        assert 0 < shot.cursor <= len(shot.tokens)


def broken(**changes: Any) -> bytes:
    return msgspec.msgpack.encode({**msgspec.msgpack.decode(MESSAGE), **changes})


CHART = msgspec.msgpack.decode(MESSAGE)["chart"]
WRONG = {
    "nothing": b"",
    "tokens that are missing": broken(kept=1),
    "a cursor beyond the end": broken(cursor=99),
    "a cursor before the start": broken(cursor=0),
    "a prompt beyond the end": broken(prompt_length=99),
    "a span beyond the end": broken(spans=[[0, 99, "user", False]]),
    "a span that is turned round": broken(spans=[[3, 1, "user", False]]),
    "a sampler that is none": broken(sampler="hot"),
    "a seed that is none": broken(seed="x"),
    "an activity that is none": broken(activity="dancing"),
    "a model that is none": broken(model=msgspec.msgpack.encode({"name": 3})),
    "a patch that is none": broken(patches=msgspec.msgpack.encode([{"kind": "zero"}])),
    "patches that are none": broken(patches=b"\xc1"),
    "a probability of NaN": broken(chart=[[[*CHART[0][0][:4], float("nan"), *CHART[0][0][5:]]], *CHART[1:]]),
    "a sampled probability of 7": broken(chart=[[[*CHART[0][0][:5], 7.0, *CHART[0][0][6:]]], *CHART[1:]]),
    "a logit of NaN": broken(chart=[[[*CHART[0][0][:3], float("nan"), *CHART[0][0][4:]]], *CHART[1:]]),
    "a chart without candidates": broken(chart=[[], *CHART[1:]]),
    "an entropy of NaN": broken(chart=[*CHART[:4], float("nan"), *CHART[5:]]),
    "a stage that is none": broken(chart=[*CHART[:5], [["warm=3", 1, 1, 0.0, 0.0]], *CHART[6:]]),
    "two stages in one": broken(chart=[*CHART[:5], [["temp=1,top_k=2", 1, 1, 0.0, 0.0]], *CHART[6:]]),
    "a negative id": broken(tokens=[[-1, b"a", "prompt", "", None, None, None, 0]]),
    "an unknown origin": broken(tokens=[[1, b"a", "guessed", "", None, None, None, 0]]),
    "too many lines": broken(view=["logit", "", 0, 0, [], [[["x", 0]]] * 201]),
    "a wide view": broken(view=["logit", "", 0, 10**6, [], []]),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_value_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(UserError, match="not a walk of this version") as caught:
        Reader().read(WRONG[name])
    assert "\n" not in str(caught.value)


def test_lines_arrive_with_their_colors_and_harmless() -> None:
    bold = Style(color="#ff8000", bgcolor="#102030", bold=True, reverse=True)
    styles, lines = lines_of([Strip([Segment("字 7 %", bold), Segment("rest", None)])])
    view = View("logit", width=10, styles=styles, lines=(*lines, (("\x1b]0;x\x07\nab", 99),)))
    first, second = strips_of(view, Style(color="#ffffff", bgcolor="#000000"))
    assert [segment.text for segment in first] == ["字 7 %", "rest"]
    assert next(iter(first)).style == Style(color="#ffffff", bgcolor="#000000") + bold
    assert "\x1b" not in second.text and "\x07" not in second.text and "\n" not in second.text


# The server -----------------------------------------------------------------------------------------------------------


def wait(holds: Callable[[], object]) -> Any:
    end = time.monotonic() + 20
    while not (found := holds()):
        assert time.monotonic() < end
        time.sleep(0.005)
    return found


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(address, "folder", lambda: tmp_path / "shared")
    monkeypatch.setattr(server, "LEAST_INTERVAL", 0.0)
    monkeypatch.setattr(server, "DRAWN", 0.0)
    monkeypatch.setattr(feed, "AGAIN", 0.02)
    made = Server()
    made.start()
    yield made
    made.close(5)
    assert not made._thread.is_alive()


class Followed:
    """What a feed brought."""

    def __init__(self, feed: Feed) -> None:
        self.feed, self.received, self.states = feed, list[Received](), list[str]()
        feed.start(self.received.append, lambda: self.states.append(feed.state))

    def has(self, frame: Frame) -> bool:
        return bool(self.received) and seen(self.received[-1].frame) == seen(frame)


def test_many_follow_and_see_each_state_until_the_end(shared: Server, tmp_path: Path) -> None:
    (path,) = (tmp_path / "shared").iterdir()
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    shared.offer(OAT, None)
    viewers = [Followed(SharedFeed(address)) for address in (shared.address, shared.address, None)]
    wait(lambda: shared.followers == 3)
    for frame in (OAT, *FRAMES.values()):
        shared.offer(frame, None)
        wait(lambda frame=frame: all(viewer.has(frame) for viewer in viewers))
    viewers[0].feed.close()
    shared.offer(OAT, None)
    wait(lambda: shared.followers == 2)
    shared.close(5)
    wait(lambda: viewers[1].states[-1] == viewers[2].states[-1] == "left")
    assert not path.exists()
    assert viewers[1].has(OAT)  # what was seen last stays
    for viewer in viewers:
        viewer.feed.close()


def test_a_viewer_finds_the_walk_that_is_shared_next(shared: Server) -> None:
    shared.offer(OAT, None)
    viewer = Followed(SharedFeed(None))
    wait(lambda: viewer.has(OAT))
    shared.close(5)
    wait(lambda: viewer.feed.state == "left")
    other = Server()
    other.start()
    other.offer(FRAMES["patches"], None)
    wait(lambda: viewer.has(FRAMES["patches"]))
    assert viewer.feed.state == "following"
    viewer.feed.close()
    other.close(5)


STREAM = replace(OAT, activity="generating")


def streamed(**fields: Any) -> Frame:
    """The stream after another token, with some fields of its snapshot changed."""
    assert STREAM.snapshot
    tokens = (*STREAM.snapshot.tokens, STREAM.snapshot.tokens[-1])
    return replace(STREAM, snapshot=replace(STREAM.snapshot, tokens=tokens, **fields))


def test_what_a_key_changes_does_not_wait_as_the_tokens_of_a_stream_do(
    shared: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "DRAWN", 1e6)
    shared.offer(STREAM, None)
    viewer = Followed(SharedFeed(shared.address))
    wait(lambda: viewer.has(STREAM))
    turned = streamed(sampler=Sampler.of(temperature=0.5))
    shared.offer(streamed(), None)
    shared.offer(turned, None)
    wait(lambda: viewer.has(turned))
    viewer.feed.close()


@pytest.mark.parametrize(
    ("state", "streams"),
    [
        ((streamed(), View("candidates")), True),
        ((streamed(), View("candidates", cursor=2)), False),
        ((streamed(), View("logit")), False),
        ((streamed(), None), False),
        ((streamed(sampler=Sampler.of(temperature=0.5)), View("candidates")), False),
        ((STREAM, View("candidates")), False),
        ((replace(streamed(), activity="idle"), View("candidates")), False),
    ],
)
def test_a_state_with_more_tokens_and_nothing_else_is_one_of_a_stream(
    state: tuple[Frame, View | None], streams: bool
) -> None:
    assert server._only_streams((STREAM, View("candidates")), state) is streams


def connect(shared: Server, greeting: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", shared.address.port), 5)
    connection.sendall(greeting)
    return connection


@pytest.mark.parametrize("greeting", [b"GET / HTTP/1.1\r\n\r\n", b"tokenwalk follow 1 x\n", b"\xff" * 10_000, b"\n"])
def test_without_the_token_nothing_is_sent(shared: Server, greeting: bytes) -> None:
    shared.offer(OAT, None)
    with connect(shared, greeting) as connection:
        with suppress(ConnectionResetError):
            assert connection.recv(1) == b""
    assert shared.followers == 0


def test_a_viewer_that_takes_nothing_delays_nobody(shared: Server) -> None:
    """Its connection stays full; the other one gets every last state, and the first goes on where it can."""
    huge = changed(prompt="x" * 3_000_000)
    shared.offer(huge, None)
    stuck = connect(shared, server.GREETING + shared.address.token.encode() + b"\n")
    viewer = Followed(SharedFeed(shared.address))
    wait(lambda: shared.followers == 2)
    for number in range(5):
        frame = changed(stopped=str(number), prompt="x" * 3_000_000)
        shared.offer(frame, None)
        wait(lambda frame=frame: viewer.has(frame))
    assert shared.followers == 2
    viewer.feed.close()
    stuck.close()


def test_a_viewer_that_says_more_is_let_go(shared: Server) -> None:
    shared.offer(OAT, None)
    with connect(shared, server.GREETING + shared.address.token.encode() + b"\n") as connection:
        wait(lambda: shared.followers == 1)
        connection.sendall(b" ")
        wait(lambda: shared.followers == 0)


def test_a_server_that_is_no_teacher_is_named(tmp_path: Path) -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    viewer = Followed(SharedFeed(address.Address(listening.getsockname()[1], "x")))
    connection, _ = listening.accept()
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    wait(lambda: viewer.feed.problem)
    assert "not a walk of this version" in str(viewer.feed.problem)
    viewer.feed.close()
    connection.close()
    listening.close()


# Addresses ------------------------------------------------------------------------------------------------------------


def test_an_address_is_read_as_it_is_written() -> None:
    made = address.Address(40123, address.new_token())
    assert address.parse(str(made)) == made


@pytest.mark.parametrize("text", ["walk.json", "127.0.0.1:70000/x", "127.0.0.1:x/y", "127.0.0.1:80", "", "::", "a:1/"])
def test_another_text_is_no_address(text: str) -> None:
    assert address.parse(text) is None


def test_another_machine_is_refused_with_a_way() -> None:
    with pytest.raises(UserError, match=r"ssh -L 80:127\.0\.0\.1:80"):
        address.parse("10.0.0.1:80/x")


def test_addresses_of_programs_that_ended_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address, "folder", lambda: tmp_path)
    ended, broken, here = (
        tmp_path / "4194305-1.json",
        tmp_path / f"{os.getpid()}-2.json",
        tmp_path / f"{os.getpid()}-3.json",
    )
    ended.write_text('"127.0.0.1:1/x"')
    broken.write_text("{")
    here.write_text(json.dumps("127.0.0.1:3/abc"))
    os.utime(here, (1, 1))
    assert address.newest() == address.Address(3, "abc")
    assert not ended.exists()


# A file ---------------------------------------------------------------------------------------------------------------


def test_a_session_file_is_followed_while_it_grows(tmp_path: Path) -> None:
    tree = Tree()
    info = replace(OAT.model, choice=None, vocab_size=100_277)
    tokens = [replace(token, score=None, u=None, sampled_probability=None) for token in OAT.snapshot.tokens]
    at = tree.root
    for token in tokens[:5]:
        at = tree.child(at, replace(token, origin="prompt"))
    path, numbers, digests = tmp_path / "walk.json", dict[Any, int](), list[str]()
    tree.take_changes()
    writer.write_record(path, record.copy_tree(info, Sampler(), tree, at, 5)(numbers), digests.append)
    viewer = Followed(FileFeed(path))
    wait(lambda: viewer.received)
    assert [token.id for token in viewer.received[-1].frame.snapshot.tokens] == [token.id for token in tokens[:5]]
    lines = journal.JournalLines(digests[0], numbers)
    at = tree.child(at, replace(tokens[5], origin="chosen"))
    question = record.copy_tree(info, Sampler(), tree, at, 6)().question
    entry = journal.Entry(tree.take_changes(), at, 6, info, Sampler(), (), question)
    journal.journal_path(path, digests[0]).write_bytes(lines.first() + lines.line(entry))
    wait(lambda: len(viewer.received[-1].frame.snapshot.tokens) == 6)
    assert (viewer.received[-1].kept, viewer.feed.state) == (5, "following")
    path.write_text("{")
    wait(lambda: viewer.feed.problem)
    assert viewer.feed.state == "left"
    viewer.feed.close()
