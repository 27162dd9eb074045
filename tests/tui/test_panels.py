"""What each panel shows of a fixed walk."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from textual.selection import Selection
from textual.widget import Widget

from core.progress import Progress
from core.sampling.sampler import Sampler
from tui.app import TokenwalkApp
from tui.panels.status import progress_bar
from tui.panels.tokens import BARS, level
from tui.runner import Frame

Make = Callable[..., TokenwalkApp]
Lines = Callable[[Widget], list[str]]
Marked = Callable[[Widget, str], str]

WIDE = (140, 40)


def title(panel: Widget) -> str:
    return str(panel.border_title)


def subtitle(panel: Widget) -> str:
    return str(panel.border_subtitle)


async def test_each_token_is_drawn_over_its_id(scripted: Make, scenes: Any, panel_lines: Lines) -> None:
    frame = scenes.frame(scenes.tokens(["I", " prefer", "\n"]), None)
    async with scripted(frame, text="a").run_test(size=WIDE) as pilot:
        await pilot.pause()
        pieces, ids, *_ = panel_lines(pilot.app.tokens)
        assert pieces.split() == ["I", "·prefer", "↵"]
        assert [word for word in ids.split() if word.isdigit()] == ["100", "137", "174"]
        assert pieces.index("·prefer") == ids.index("137")
        assert title(pilot.app.tokens).endswith("3")


async def test_surprisal_is_shown_by_a_bar_and_a_tint(scripted: Make, scenes: Any, panel_lines: Lines) -> None:
    tokens = tuple(scenes.token("x", bits=bits) for bits in (0.0, 6.0, 16.6, 40.0))
    async with scripted(scenes.frame(tokens, None), text="a").run_test(size=WIDE) as pilot:
        await pilot.pause()
        bars = [c for c in panel_lines(pilot.app.tokens)[1] if c in BARS]
        assert bars == [BARS[level(0.0)], BARS[level(6.0)], BARS[level(16.6)], BARS[7]]
        assert bars == sorted(bars)
        assert len(set(bars)) >= 3


async def test_the_bytes_and_score_of_the_token_at_the_cursor_are_shown(
    scripted: Make, scenes: Any, marked: Marked
) -> None:
    drawn = scenes.token(" é", 77, bits=3.5, origin="sampled", u=0.125)
    tokens = (*scenes.tokens(["I", " prefer"]), drawn)
    async with scripted(scenes.frame(tokens, None, prompt_length=2), text="a").run_test(size=WIDE) as pilot:
        await pilot.pause()
        assert subtitle(pilot.app.tokens) == "rank 12 · 3.50 bits · u 0.1250 · 20 c3 a9"
        assert marked(pilot.app.tokens, "tokens--cursor").strip() == "·é"
        pilot.app.runner.show(scenes.frame(tokens, None, prompt_length=2, cursor=1))
        await pilot.pause()
        assert subtitle(pilot.app.tokens) == "49"
        assert title(pilot.app.tokens) == "token ids · 1/3"
        assert marked(pilot.app.tokens, "tokens--cursor").strip() == "I"


async def test_rank_surprisal_and_u_are_whole_at_80_columns(scripted: Make, scenes: Any) -> None:
    drawn = scenes.token(" é", 77, bits=15.0, origin="sampled", u=0.125)
    frame = scenes.frame((*scenes.tokens(["I"]), drawn), None)
    async with scripted(frame, text="a").run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        panel = pilot.app.tokens
        assert subtitle(panel) == "#32,769 · 15.0 bits · u 0.125"


async def test_tokens_outside_the_context_are_dimmed(scripted: Make, scenes: Any, marked: Marked) -> None:
    pieces = [f" w{n}" for n in range(12)]
    frame = scenes.frame(scenes.tokens(pieces), None, context=8)
    async with scripted(frame, text="a").run_test(size=WIDE) as pilot:
        await pilot.pause()
        labels = marked(pilot.app.tokens, "tokens--gone").split()
        assert [word for word in labels if word.startswith("·")] == ["·w0", "·w1", "·w2", "·w3"]
        assert marked(pilot.app.generation, "generation--gone") == " w0 w1 w2 w3"
        pilot.app.runner.show(scenes.frame(scenes.tokens(pieces), None, context=8, cursor=9))
        await pilot.pause()
        assert marked(pilot.app.generation, "generation--gone") == " w0"


async def test_the_generated_text_follows_the_prompt_and_the_current_token_is_marked(
    scripted: Make, scenes: Any, panel_lines: Lines, marked: Marked
) -> None:
    tokens = scenes.tokens(["I", " prefer", " oat", " milk"])
    async with scripted(scenes.frame(tokens, None, prompt_length=2), text="a").run_test(size=WIDE) as pilot:
        panel = pilot.app.generation
        await pilot.pause()
        assert panel_lines(panel)[0].rstrip() == "I prefer oat milk"
        assert marked(panel, "generation--prompt") == "I prefer"
        assert marked(panel, "generation--cursor") == " milk"
        assert subtitle(panel) == "2 generated"


async def test_a_line_feed_at_the_cursor_is_visible(scripted: Make, scenes: Any, marked: Marked) -> None:
    frame = scenes.frame(scenes.tokens(["I", "\n", "am"]), None, cursor=2)
    async with scripted(frame, text="a").run_test(size=WIDE) as pilot:
        await pilot.pause()
        assert marked(pilot.app.generation, "generation--cursor") == "↵"


async def test_a_character_split_over_tokens_appears_when_it_is_complete(
    scripted: Make, scenes: Any, panel_lines: Lines
) -> None:
    pieces = ["so", b" \xf0\x9f", b"\xab\xa0", "!", b"\xe2\x80", "?"]
    async with scripted(text="a").run_test(size=WIDE) as pilot:
        seen = []
        for count in range(1, len(pieces) + 1):
            pilot.app.runner.show(scenes.frame(scenes.tokens(pieces[:count]), None, prompt_length=1))
            await pilot.pause()
            seen.append(panel_lines(pilot.app.generation)[0].rstrip())
        assert seen[0] == "so"
        assert seen[2:4] == ["so 🫠", "so 🫠!"]
        assert seen[5] == "so 🫠!\\xe2\\x80?"
        assert "\ufffd" not in "".join(seen)


async def test_selected_text_keeps_its_line_feeds(scripted: Make, scenes: Any) -> None:
    text = "one two three four five six seven eight nine ten eleven twelve thirteen"
    frame = scenes.frame(scenes.tokens([text, "\n\n", "second"]), None)
    async with scripted(frame, text="a").run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        pilot.app.generation.text_select_all()
        assert pilot.app.screen.get_selected_text() == f"{text}\n\nsecond"


async def test_a_selection_with_wide_characters_is_complete(scripted: Make, scenes: Any) -> None:
    frame = scenes.frame(scenes.tokens(["a字b", "cd"]), None)
    async with scripted(frame, text="a").run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        panel = pilot.app.generation
        everything = panel.get_selection(Selection(None, None))
        assert everything is not None
        assert everything[0] == "a字bcd"


async def test_the_status_line_shows_model_device_context_speed_and_sampler(scripted: Make, scenes: Any) -> None:
    sampler = Sampler.of(temperature=0.7, top_k=40, top_p=0.9, seed=11)
    async with scripted(scenes.oat_milk(), text="a", sampler=sampler).run_test(size=(200, 40)) as pilot:
        await pilot.pause()
        line = pilot.app.status.render().plain
        for text in ("WALK", "model1", "cpu fp32", "ctx 8/8", "12.9 M", "seed 0", "412 tok/s", "seed 11"):
            assert text in line
        assert "T 0.70 k 40 p 0.90" in line


async def test_a_narrow_status_line_keeps_model_and_sampler(scripted: Make, scenes: Any) -> None:
    async with scripted(scenes.oat_milk(), text="a").run_test(size=(60, 18)) as pilot:
        await pilot.pause()
        line = pilot.app.status.render()
        assert line.cell_len <= 60
        assert "model1" in line.plain
        assert "T 1.00" in line.plain


@pytest.mark.parametrize(
    ("frame", "text"),
    [
        (Frame("loading"), "loading"),
        (Frame("reading", activity_progress=Progress(2_500, 10_000)), "2,500/10,000"),
        (Frame("generating", generated=1_234, rate=77.4), "1,234 · 77 tok/s"),
    ],
    ids=["loading", "reading", "generating"],
)
async def test_the_status_line_shows_the_activity(scripted: Make, frame: Frame, text: str) -> None:
    async with scripted(frame, text="a").run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        assert text in pilot.app.status.render().plain


def test_the_progress_bar_fills_evenly() -> None:
    bars = [progress_bar(Progress(done, 1_000)) for done in range(0, 1_001, 100)]
    assert [bar.count("━") for bar in bars] == list(range(11))
    assert len({len(bar.split(" ")[0]) for bar in bars}) == 1


async def test_empty_panels_say_which_key_fills_them(scripted: Make, panel_lines: Lines) -> None:
    async with scripted(Frame("idle")).run_test(size=WIDE) as pilot:
        await pilot.pause()
        assert "no tokens yet" in panel_lines(pilot.app.tokens)[0]
        assert "m chooses a model" in panel_lines(pilot.app.candidates)[0]
        assert pilot.app.prompt.placeholder


async def test_a_hint_names_the_keys_until_something_was_generated(
    scripted: Make, scenes: Any, panel_lines: Lines
) -> None:
    tokens = scenes.tokens(["I", " am"])
    async with scripted(scenes.frame(tokens, None), text="a").run_test(size=WIDE) as pilot:
        await pilot.pause()
        assert "space" in "".join(panel_lines(pilot.app.generation))
        pilot.app.runner.show(scenes.frame(tokens, None, prompt_length=1))
        await pilot.pause()
        assert "space" not in "".join(panel_lines(pilot.app.generation))


async def test_a_problem_is_one_line_of_plain_text(scripted: Make) -> None:
    async with scripted(text="a", problems=["config.toml: [b]fps[/b]\nmust be a number"]).run_test(size=WIDE) as pilot:
        await pilot.pause()
        (note,) = pilot.app._notifications
        assert note.message == "config.toml: [b]fps[/b] must be a number"
        assert not note.markup


@pytest.mark.parametrize("size", [(80, 24), (120, 36)])
async def test_no_text_is_hidden_behind_the_scroll_bar(
    scripted: Make, scenes: Any, until: Any, panel_lines: Lines, size: tuple[int, int]
) -> None:
    pieces = [f"{n:04}" for n in range(600)]
    frame = scenes.frame(scenes.tokens(pieces), None, prompt_length=1)
    async with scripted(frame, text="a").run_test(size=size) as pilot:
        await until(lambda: pilot.app.generation.scroll_offset.y > 0)
        await pilot.pause()
        shown = "".join(line.rstrip() for line in panel_lines(pilot.app.generation))
        assert len(shown) > 100
        assert "".join(pieces).endswith(shown)


async def test_an_appended_token_renders_only_new_lines(scripted: Make, scenes: Any) -> None:
    """A frame with one more token wraps one more token, not the whole text again."""
    pieces = [f" w{n}" for n in range(400)]
    tokens = scenes.tokens(pieces)
    async with scripted(scenes.frame(tokens[:299], None, prompt_length=1), text="a").run_test(size=WIDE) as pilot:
        await pilot.pause()
        pilot.app.runner.show(scenes.frame(tokens[:300], None, prompt_length=1))
        await pilot.pause()
        wraps = []
        panel = pilot.app.generation
        rewrap = panel._rewrap
        panel._rewrap = lambda: (wraps.append(1), rewrap())
        for count in range(301, 306):
            pilot.app.runner.show(scenes.frame(tokens[:count], None, prompt_length=1))
            await pilot.pause()
        assert wraps == []
        assert marked_end(panel).endswith("w304")


def marked_end(panel: Widget) -> str:
    lines = [panel.render_line(y).text.rstrip() for y in range(panel.scrollable_content_region.height)]
    return next(line for line in reversed(lines) if line)


@pytest.mark.parametrize("width", [*range(72, 82), 100, 110])
async def test_rank_surprisal_and_u_are_never_cut(scripted: Make, scenes: Any, screen_lines: Any, width: int) -> None:
    """Also in the narrowest panel, and for the last of 262,144 tokens."""
    async with scripted(text="a").run_test(size=(width, 24)) as pilot:
        for bits in (0.004, 16.6137, 17.25):
            token = replace(scenes.token(" kettle", 100, bits=bits), origin="sampled", u=0.98765)
            tokens = (scenes.token("a", bits=None), token)
            pilot.app.runner.show(scenes.frame(tokens, scenes.chart(["a", "b"]), prompt_length=1))
            await pilot.pause()
            said = str(pilot.app.tokens.border_subtitle)
            rank, shown, u = said.split(" · ")[:3]
            assert rank.removeprefix("rank ").removeprefix("#") == f"{int(2**bits) + 1:,}"
            assert float(shown.split()[0]) == pytest.approx(bits, abs=0.051)
            assert float(u.removeprefix("u ")) == pytest.approx(0.98765, abs=0.005)
            assert any(f" {said} " in line for line in screen_lines(pilot.app)), "the border has room for it"


async def test_the_ids_of_a_row_never_stand_without_their_pieces(scripted: Make, scenes: Any, panel_lines: Any) -> None:
    frame = scenes.frame(scenes.tokens([f" word{n}" for n in range(300)]), scenes.chart(["a", "b"]), cursor=150)
    async with scripted(frame, text="a").run_test(size=(80, 24)) as pilot:
        for height in (24, 25, 26, 27, 36):
            for cursor in (150, 300, 30):
                await pilot.resize_terminal(80, height)
                pilot.app.runner.show(replace(frame, snapshot=replace(frame.snapshot, cursor=cursor)))
                await pilot.pause()
                assert "word" in panel_lines(pilot.app.tokens)[0]
