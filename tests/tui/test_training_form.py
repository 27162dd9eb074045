"""The form of a training: its fields, their problems, its default values and its picture."""

from dataclasses import replace
from pathlib import Path

import pytest
from textual.widgets import Input
from training_screens import SIZE, Compare, Go, Make, Screen, fill, form, opened, opened_with_keys

from core.loading import ladder, tokenizers
from core.loading.checkpoints.recipe import SIZES, Recipe
from tui.screens.recipe import RecipeScreen
from tui.screens.recipe_fields import FIELDS

pytestmark = pytest.mark.usefixtures("trainings_folder")


# The form -------------------------------------------------------------------------------------------------------------


async def test_without_a_training_the_form_opens_with_the_default_recipe(
    watching: Make, until: Go, screen_lines: Screen, trainings_folder: Path
) -> None:
    async with watching().run_test(size=(80, 24)) as pilot:
        await opened(pilot, until)
        assert form(pilot.app).chosen() == Recipe()
        whole = Recipe().config(tokenizers.load_tokenizer("world").vocab_size).parameter_count()
        assert whole == 256_960
        await until(lambda: "257 k parameters" in "\n".join(screen_lines(pilot.app)))
        assert "saved as model5-world" in "\n".join(screen_lines(pilot.app))
        await pilot.press("enter")
        assert pilot.app.runner.trainings == [(Recipe(), trainings_folder / "model5-world")]


INVALID = [
    ("steps", "0", "the number of steps must be at least 1"),
    ("batch", "0", "the batch must be at least 1"),
    ("heads", "5", "cannot be divided among 5 heads"),
    ("embed_dim", "0", "the embedding size must be at least 1"),
    ("context", "0", "the context must be at least 1"),
    ("lr", "0", "the learning rate must be above 0"),
    ("lr", "-.e", "the learning rate must be a number"),
    ("decay", "-1", "the weight decay must be 0 or more"),
    ("clip", "0", "the norm that gradients are clipped to must be above 0"),
    ("every", "0", "the number of steps between evaluations must be at least 1"),
    ("seed", "99999999999", "the seed must be between"),
    ("text", "/nowhere/[b]a", "there is no text file /nowhere/[b]a"),
    ("text", "~nobody-at-all/a", "there is no such user"),
]


def wrong(screen: RecipeScreen) -> list[str]:
    """The fields that are marked."""
    return [name for name, label in screen.names.items() if label.has_class("wrong")]


def words(lines: list[str]) -> str:
    """The words on the screen, those of a wrapped line included."""
    return " ".join(" ".join(lines).replace("│", " ").split())


async def test_an_invalid_value_is_marked_at_its_field_and_not_started(
    watching: Make, until: Go, screen_lines: Screen
) -> None:
    async with watching().run_test(size=SIZE) as pilot:
        await opened(pilot, until)
        screen = form(pilot.app)
        for field, value, problem in INVALID:
            valid = screen.fields[field].value
            fill(screen, **{field: value})
            await until(lambda problem=problem: problem in words(screen_lines(pilot.app)))
            assert wrong(screen) == [field]
            await pilot.press("enter")
            assert form(pilot.app) is screen
            assert not pilot.app.runner.trainings
            fill(screen, **{field: valid})
            await until(lambda: not wrong(screen))


async def test_sizes_follow_the_rung_and_fields_it_lacks_are_disabled(watching: Make, until: Go) -> None:
    async with watching().run_test(size=SIZE) as pilot:
        await opened(pilot, until)
        screen = form(pilot.app)
        await pilot.press("right", "right")  # model6, then model1
        assert screen.chosen() == Recipe(rung="model1")
        assert screen.fields["blocks"].disabled and screen.fields["heads"].disabled
        lr = screen.fields["lr"]
        assert isinstance(lr, Input) and lr.placeholder == "0.01"
        fill(screen, embed_dim="32")
        await pilot.press("left")
        await until(lambda: screen.fields["heads"].value == "4")
        assert screen.fields["activation"].value == "silu"
        assert screen.chosen() == Recipe(rung="model6", changes=replace(SIZES, embed_dim=32))


async def test_arrow_keys_go_along_the_fields_and_scroll(watching: Make, until: Go, tmp_path: Path) -> None:
    (tmp_path / "a text").write_text("oat milk " * 200)
    async with watching().run_test(size=(80, 24)) as pilot:
        await opened(pilot, until)
        screen = form(pilot.app)
        fill(screen, text=str(tmp_path / "a text"))
        await pilot.pause()
        seen = []
        for _ in FIELDS:
            seen.append(next(name for name, field in screen.fields.items() if field is pilot.app.focused))
            assert pilot.app.focused.region in screen.query_one("#fields").region
            await pilot.press("down")
            await pilot.pause()
        assert seen == list(FIELDS)
        await pilot.press("up", "up")
        assert pilot.app.focused is screen.fields["vocabulary"]


async def test_a_text_file_has_a_vocabulary_setting(
    watching: Make, until: Go, screen_lines: Screen, tmp_path: Path, trainings_folder: Path
) -> None:
    (tmp_path / "My Notes.txt").write_text("oat milk " * 200)
    async with watching().run_test(size=SIZE) as pilot:
        await opened(pilot, until)
        screen = form(pilot.app)
        fill(screen, text=str(tmp_path / "My Notes.txt"))
        await until(lambda: "+ 64 V parameters" in "\n".join(screen_lines(pilot.app)))
        fill(screen, vocabulary="bytes")
        count = ladder.rung("model5", 257, SIZES).config.parameter_count()
        await until(lambda: f"{count / 1000:.0f} k parameters" in "\n".join(screen_lines(pilot.app)))
        await pilot.press("enter")
        assert pilot.app.runner.trainings == [
            (Recipe(text=str(tmp_path / "My Notes.txt"), vocabulary="bytes"), trainings_folder / "model5-my-notes")
        ]


async def test_without_a_training_the_screen_names_the_keys_that_start_one(
    watching: Make, until: Go, screen_lines: Screen
) -> None:
    async with watching().run_test(size=(80, 24)) as pilot:
        await opened(pilot, until)
        await pilot.press("escape")
        lines = "\n".join(screen_lines(pilot.app))
        assert "no training yet" in lines
        assert "train a rung" in lines
        await pilot.press("space", "x", "left", "enter", "o")
        assert pilot.app.runner.training_requests == []
        await pilot.press("e")
        await until(lambda: pilot.app._notifications)
        assert "there is no training in" in next(iter(pilot.app._notifications)).message
        await pilot.press("n")
        form(pilot.app)


# Pictures -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(80, 24), (120, 36)], ids=lambda size: f"{size[0]}x{size[1]}")
def test_the_form(snap_compare: Compare, watching: Make, until: Go, size: tuple[int, int]) -> None:
    assert snap_compare(watching(), run_before=opened_with_keys(until), terminal_size=size)
