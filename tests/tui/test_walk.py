"""A person walks Model 1 by keys: steps, choices, undo, positions, runs, and the settings of the sampler."""

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from textual.widget import Widget

from core.generation.token import Token
from core.loading.choice import ModelChoice
from core.sampling.sampler import Sampler
from core.sampling.stages.top_k import TopK
from core.tokenizers.tokenizer import END_OF_TEXT
from tui.app import TokenwalkApp
from tui.drawing.text import label

Make = Callable[..., TokenwalkApp]
Go = Callable[..., Awaitable[None]]
Lines = Callable[[Widget], list[str]]

PROMPT = "oat milk"
SIZE = (120, 36)


def tokens(app: TokenwalkApp) -> Sequence[Token]:
    return app.frame.snapshot.tokens


def ids(app: TokenwalkApp) -> list[int]:
    return [token.id for token in tokens(app)]


def likeliest_ids(app: TokenwalkApp) -> list[int]:
    return [candidate.id for candidate in app.frame.snapshot.chart.candidates]


async def test_an_empty_prompt_starts_from_the_end_of_text(real: Make, settle: Go, panel_lines: Lines) -> None:
    async with real().run_test(size=SIZE) as pilot:
        await settle(pilot)
        assert [token.piece for token in tokens(pilot.app)] == [END_OF_TEXT.encode()]
        assert END_OF_TEXT in panel_lines(pilot.app.tokens)[0]
        assert "%" in panel_lines(pilot.app.candidates)[1]


async def test_space_samples_what_the_seed_says(real: Make, settle: Go, press: Go, walk: Any) -> None:
    async with real(PROMPT).run_test(size=SIZE) as pilot:
        await settle(pilot)
        await press(pilot, *["space"] * 5)
        session = walk()
        list(session.generate(5))
        assert ids(pilot.app) == [token.id for token in session.tokens]
        assert {token.origin for token in tokens(pilot.app)[len(PROMPT) :]} == {"sampled"}
        assert [token.u for token in tokens(pilot.app)] == [token.u for token in session.tokens]


async def test_another_seed_draws_other_tokens(real: Make, settle: Go, press: Go, walk: Any) -> None:
    async with real(PROMPT, sampler=Sampler(seed=7)).run_test(size=SIZE) as pilot:
        await settle(pilot)
        await press(pilot, *["space"] * 5)
        session, other = walk(sampler=Sampler(seed=7)), walk()
        list(session.generate(5)), list(other.generate(5))
        assert ids(pilot.app) == [token.id for token in session.tokens]
        assert ids(pilot.app) != [token.id for token in other.tokens]


async def test_the_default_vocabulary_is_that_of_gpt_4(real: Make, settle: Go, press: Go, panel_lines: Lines) -> None:
    async with real("I prefer oat milk in", ModelChoice(device="cpu")).run_test(size=SIZE) as pilot:
        await settle(pilot)
        assert ids(pilot.app) == [40, 10932, 72754, 14403, 304]
        assert "others 100,2" in "".join(panel_lines(pilot.app.candidates))
        await press(pilot, "space")
        assert ids(pilot.app)[5:] == [96078]
        assert "trenches" in "".join(panel_lines(pilot.app.generation))


@pytest.mark.parametrize(
    ("keys", "rank"), [(["enter"], 0), (["down", "j", "enter"], 2), (["down", "j", "k", "up", "enter"], 0)]
)
async def test_a_candidate_is_picked_with_arrows_or_letters_and_taken(
    real: Make, settle: Go, press: Go, keys: list[str], rank: int
) -> None:
    async with real(PROMPT).run_test(size=SIZE) as pilot:
        await settle(pilot)
        wanted = likeliest_ids(pilot.app)[rank]
        await press(pilot, *keys)
        assert ids(pilot.app) == [*PROMPT.encode(), wanted]
        assert tokens(pilot.app)[-1].origin == "chosen"
        assert "chosen" in str(pilot.app.tokens.border_subtitle)


async def test_digits_take_the_first_to_ninth_candidate(real: Make, settle: Go, press: Go) -> None:
    async with real(PROMPT).run_test(size=SIZE) as pilot:
        await settle(pilot)
        for digit in range(1, 10):
            wanted = likeliest_ids(pilot.app)[digit - 1]
            await press(pilot, str(digit))
            assert ids(pilot.app)[-1] == wanted
        assert len(tokens(pilot.app)) == len(PROMPT) + 9


async def test_steps_are_undone_and_redone(real: Make, settle: Go, press: Go) -> None:
    async with real(PROMPT).run_test(size=SIZE) as pilot:
        await settle(pilot)
        await press(pilot, "space", "3", "space")
        after = ids(pilot.app)
        await press(pilot, "u")
        assert ids(pilot.app) == after[:-1]
        await press(pilot, "u", "u")
        assert ids(pilot.app) == list(PROMPT.encode())
        await press(pilot, "ctrl+r", "ctrl+r", "ctrl+r")
        assert ids(pilot.app) == after
        assert not pilot.app._notifications


async def test_a_key_that_cannot_act_says_why_in_one_line(real: Make, settle: Go, press: Go) -> None:
    async with real(PROMPT).run_test(size=SIZE) as pilot:
        await settle(pilot)
        for key, message in (("u", "there is nothing to undo"), ("ctrl+r", "nothing to redo"), ("r", "space")):
            pilot.app.clear_notifications()
            await press(pilot, key)
            (note,) = pilot.app._notifications
            assert message in note.message
            assert ids(pilot.app) == list(PROMPT.encode())
        await press(pilot, "space")
        assert len(tokens(pilot.app)) == len(PROMPT) + 1


async def test_a_token_is_drawn_again_from_the_same_distribution(real: Make, settle: Go, press: Go) -> None:
    async with real(PROMPT).run_test(size=SIZE) as pilot:
        await settle(pilot)
        await press(pilot, "space")
        first = tokens(pilot.app)[-1]
        await press(pilot, "r")
        again = tokens(pilot.app)[-1]
        assert len(tokens(pilot.app)) == len(PROMPT) + 1
        assert again.u != first.u
        assert again.score.entropy_bits == first.score.entropy_bits
        await press(pilot, "u")
        assert tokens(pilot.app)[-1].id == first.id


async def test_every_panel_shows_the_position_that_is_looked_at(
    real: Make, settle: Go, press: Go, panel_lines: Lines, marked: Any, walk: Any
) -> None:
    session = walk()
    list(session.generate(2))
    async with real(PROMPT, count=2).run_test(size=SIZE) as pilot:
        app = pilot.app
        await settle(pilot)
        await press(pilot, "g")
        before = ids(app)
        assert len(before) == 10
        for key, position in (("left", 9), ("h", 8), ("home", 1), ("right", 2), ("l", 3), ("end", 10)):
            await press(pilot, key)
            assert ids(app) == before
            assert str(app.tokens.border_title).endswith(f"· {position}/10" if position < 10 else "· 10")
            assert marked(app.tokens, "tokens--cursor").strip() == label(tokens(app)[position - 1].piece)
            assert len(marked(app.generation, "generation--cursor")) >= 1
            session.travel(position)
            assert app.frame.snapshot.chart == session.chart()
            came = [row for row in panel_lines(app.candidates) if "▸" in row]
            assert len(came) == (1 if position < 10 else 0)
            assert all(label(tokens(app)[position].piece) in row for row in came)
            assert f"ctx {min(position, 8)}/8" in app.status.render().plain


async def test_the_arrows_stop_at_the_first_and_last_token(real: Make, settle: Go, press: Go) -> None:
    async with real("abc").run_test(size=SIZE) as pilot:
        await settle(pilot)
        await press(pilot, *["right"] * 3)
        assert pilot.app.frame.snapshot.cursor == 3
        await press(pilot, *["left"] * 5)
        assert pilot.app.frame.snapshot.cursor == 1


async def test_a_token_chosen_in_the_middle_begins_a_branch_that_can_be_undone(
    real: Make, settle: Go, press: Go
) -> None:
    async with real(PROMPT).run_test(size=SIZE) as pilot:
        await settle(pilot)
        await press(pilot, "space", "space", "space")
        before = ids(pilot.app)
        await press(pilot, "left", "left", "5")
        assert ids(pilot.app)[:-1] == before[: len(PROMPT) + 1]
        await press(pilot, "u")
        assert ids(pilot.app) == before


async def test_what_the_walk_leaves_is_said_once(real: Make, settle: Go, press: Go) -> None:
    """Where a step, a choice or a draw goes on from the middle, the later tokens stay as a branch."""
    async with real(PROMPT).run_test(size=SIZE) as pilot:
        await settle(pilot)
        await press(pilot, "space", "space", "space", "u", "space", "left", "left", "right", "right")
        assert not pilot.app._notifications
        await press(pilot, "left", "left", "5")
        said = [note.message for note in pilot.app._notifications]
        assert said == ["the tokens that stood there stay as a branch: b shows the branches"]
        await press(pilot, "u", "left", "6")
        assert len(pilot.app._notifications) == 1


async def test_a_run_generates_the_given_number_of_tokens(real: Make, settle: Go, press: Go, walk: Any) -> None:
    async with real(PROMPT, count=23).run_test(size=SIZE) as pilot:
        await settle(pilot)
        await press(pilot, "g")
        session = walk()
        list(session.generate(23))
        assert ids(pilot.app) == [token.id for token in session.tokens]
        assert pilot.app.frame.activity == "idle"
        assert "tok/s" in pilot.app.status.render().plain
        assert str(pilot.app.generation.border_subtitle) == "23 generated"


@pytest.mark.parametrize("key", ["g", "space"])
async def test_a_run_is_paused_by_key_and_its_tokens_stay(
    real: Make, settle: Go, press: Go, until: Go, key: str
) -> None:
    async with real(PROMPT, count=10**6).run_test(size=SIZE) as pilot:
        app = pilot.app
        await settle(pilot)
        pilot.app.simulate_key("g")
        await until(lambda: app.frame.activity == "generating" and app.frame.generated > 10)
        await press(pilot, key)
        assert app.frame.activity == "idle"
        count = len(tokens(app))
        assert len(PROMPT) + 10 < count < 10**6
        await press(pilot, "left")
        assert len(tokens(app)) == count
        await press(pilot, "right", "space")
        assert len(tokens(app)) == count + 1


async def test_a_paused_run_has_the_first_tokens_of_the_whole_run(
    real: Make, settle: Go, press: Go, until: Go, walk: Any
) -> None:
    async with real(PROMPT, count=10**6).run_test(size=SIZE) as pilot:
        await settle(pilot)
        pilot.app.simulate_key("g")
        await until(lambda: pilot.app.frame.generated > 5)
        await press(pilot, "g")
        session = walk()
        list(session.generate(len(tokens(pilot.app)) - len(PROMPT)))
        assert ids(pilot.app) == [token.id for token in session.tokens]


@pytest.mark.parametrize(
    ("key", "changed"),
    [
        ("left_square_bracket", Sampler.of(temperature=0.9)),
        ("right_square_bracket", Sampler.of(temperature=1.1)),
        ("less_than_sign", Sampler.of(top_k=200)),  # V = 256
        ("left_curly_bracket", Sampler.of(top_p=0.95)),
    ],
)
async def test_a_sampler_setting_changes_the_chart_and_not_the_tokens(
    real: Make, settle: Go, press: Go, key: str, changed: Sampler
) -> None:
    async with real(PROMPT, count=3).run_test(size=SIZE) as pilot:
        app = pilot.app
        await settle(pilot)
        await press(pilot, "g")
        before, chart = ids(app), app.frame.snapshot.chart
        await press(pilot, key)
        assert ids(app) == before
        assert app.frame.snapshot.sampler == changed
        assert [c.probability for c in app.frame.snapshot.chart.candidates] == [c.probability for c in chart.candidates]
        if not changed.uses(TopK):
            assert (
                app.frame.snapshot.chart.stages != chart.stages
                or app.frame.snapshot.chart.candidates != chart.candidates
            )


async def test_sampler_settings_are_shown_at_once_and_can_be_set_back(real: Make, settle: Go, press: Go) -> None:
    async with real(PROMPT).run_test(size=SIZE) as pilot:
        app = pilot.app
        await settle(pilot)
        chart = app.frame.snapshot.chart
        await press(pilot, *["left_square_bracket"] * 3, *["less_than_sign"] * 6, "left_curly_bracket")
        assert "T 0.70 k 10 p 0.95" in app.status.render().plain
        assert app.frame.snapshot.chart.kept <= 10
        assert str(app.candidates.border_subtitle).startswith("T 0.7 → k 10")
        await press(pilot, *["right_square_bracket"] * 3, *["greater_than_sign"] * 6, "right_curly_bracket")
        assert app.frame.snapshot.chart == chart


async def test_temperature_zero_is_greedy(real: Make, settle: Go, press: Go, panel_lines: Lines) -> None:
    async with real(PROMPT, sampler=Sampler.of(temperature=0.1)).run_test(size=SIZE) as pilot:
        app = pilot.app
        await settle(pilot)
        await press(pilot, "left_square_bracket")
        assert "greedy" in app.status.render().plain
        assert re.search(r" \d\.\d\d% ✓", panel_lines(app.candidates)[1])
        assert "(0.89%)" in panel_lines(app.candidates)[2]
        wanted = likeliest_ids(app)[0]
        await press(pilot, "space")
        assert ids(app)[-1] == wanted


async def test_a_sampler_setting_changed_during_a_run_does_not_stop_it(
    real: Make, settle: Go, until: Go, press: Go
) -> None:
    async with real(PROMPT, count=10**6, sampler=Sampler.of(temperature=0.2)).run_test(size=SIZE) as pilot:
        app = pilot.app
        await settle(pilot)
        pilot.app.simulate_key("g")
        await until(lambda: app.frame.generated > 5)
        app.simulate_key("left_square_bracket")
        app.simulate_key("left_square_bracket")
        await until(lambda: app.frame.snapshot.sampler.greedy and tokens(app)[-1].u is None)
        assert app.frame.activity == "generating"
        await press(pilot, "g")
        assert tokens(app)[-1].u is None
        assert tokens(app)[-1].score.rank == 0


async def test_a_seed_is_typed_and_used(real: Make, settle: Go, press: Go, write: Go, walk: Any) -> None:
    async with real(PROMPT).run_test(size=SIZE) as pilot:
        app = pilot.app
        await settle(pilot)
        await press(pilot, "s")
        await write(pilot, "4x-2")
        await press(pilot, "enter")
        assert app.sampler.seed == 42
        assert "seed 42" in app.status.render().plain
        await press(pilot, "space", "space")
        session = walk(sampler=Sampler(seed=42))
        list(session.generate(2))
        assert ids(app) == [token.id for token in session.tokens]


@pytest.mark.parametrize("keys", [["escape"], ["end", "backspace", "enter"]], ids=["escape", "nothing"])
async def test_closing_the_seed_dialog_changes_nothing(real: Make, settle: Go, press: Go, keys: list[str]) -> None:
    async with real(PROMPT, sampler=Sampler(seed=5)).run_test(size=SIZE) as pilot:
        await settle(pilot)
        await press(pilot, "s")
        await press(pilot, *keys)
        assert len(pilot.app.screen_stack) == 1
        assert pilot.app.sampler.seed == 5


async def test_tokens_are_scored_in_the_idle_time(real: Make, settle: Go, walk: Any) -> None:
    async with real(PROMPT).run_test(size=SIZE) as pilot:
        await settle(pilot)
        session = walk()
        for _ in session.score():
            pass
        assert tokens(pilot.app)[0].score is None
        assert [t.score for t in tokens(pilot.app)] == [t.score for t in session.tokens]
