"""The lines of Python of an experiment compute what its lens shows; its table is safe CSV."""

import csv
import io
from collections.abc import Callable
from contextlib import redirect_stdout

import pytest
from steps import last

from core.activations.apply import patched
from core.activations.patch import Patch
from core.activations.trace import step_at
from core.causal.notebook import code, notebook
from core.causal.question import CausalQuestion
from core.causal.table import Table
from core.lenses import experiments, lens, table
from core.loading.choice import Hyperparameters, ModelChoice
from core.loading.model import Model
from core.loading.models import load_model

CHOICE = ModelChoice(name="model5-trained", device="cpu")
PROMPT, CORRUPT = "I prefer oat milk in", "I prefer soy milk in"


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model(CHOICE)


def rows_of(text: str) -> list[list[object]]:
    """The cells of a table in CSV, numbers as such."""

    def value(cell: str) -> object:
        try:
            return pytest.approx(float(cell), abs=1e-4)
        except ValueError:
            return cell

    return [[value(cell) for cell in row] for row in csv.reader(io.StringIO(text))]


def printed(lines: str) -> list[list[str]]:
    """The cells that lines of Python print."""
    out = io.StringIO()
    with redirect_stdout(out):
        exec(compile(lines, "notebook", "exec"), {})
    return [
        [float(cell) if _is_number(cell) else cell for cell in row] for row in csv.reader(io.StringIO(out.getvalue()))
    ]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("name", experiments())
def test_the_lines_of_an_experiment_print_its_table(name: str, model: Model) -> None:
    ids = model.tokenizer.encode(PROMPT)
    question = CausalQuestion(target=ids[1], corrupt=tuple(model.tokenizer.encode(CORRUPT)))
    answer = last(lens(name)(step_at(model, ids, model.sequences()), question))
    lines = notebook(CHOICE, model.tokenizer, ids, question, name, {})
    assert printed(lines) == rows_of(str(table(name)(answer)))
    assert "core.activations.apply" not in lines


@pytest.mark.parametrize(
    "options", [{"only": "attention"}, {"only": "composition", "kind": "q", "layer": 2, "head": 1}]
)
def test_the_lines_of_a_lens_without_a_question_print_its_table(options: dict[str, object], model: Model) -> None:
    ids = model.tokenizer.encode(PROMPT)
    answer = last(lens("heads")(step_at(model, ids, model.sequences()), **options))
    lines = notebook(CHOICE, model.tokenizer, ids, None, "heads", options)
    assert printed(lines) == rows_of(str(table("heads")(answer)))
    assert "question" not in lines


def test_options_patches_and_ids_without_a_text_are_in_the_lines(model: Model) -> None:
    ids, patches = [5, 3, 8, 1], (Patch(part="head", layer=0, index=1),)
    options = {"part": "0.attention", "count": 4}
    with patched(model, patches):
        answer = last(lens("attribution")(step_at(model, ids, model.sequences()), CausalQuestion(), **options))
    lines = notebook(CHOICE, model.tokenizer, ids, CausalQuestion(), "attribution", options, patches)
    assert printed(lines) == rows_of(str(table("attribution")(answer)))


def test_values_are_written_as_python() -> None:
    choice = ModelChoice(name="a 'b'\n", changes=Hyperparameters(heads=2))
    assert code(choice) == "ModelChoice(name=\"a 'b'\\n\", changes=Hyperparameters(heads=2))"
    assert eval(code((1, "x", [None, 2.5], choice))) == (1, "x", [None, 2.5], choice)
    assert code(CausalQuestion()) == "CausalQuestion()"


def test_no_text_of_a_table_is_a_formula_or_a_command() -> None:
    text = str(Table(("token", "value"), (("=1+1", -2.0), ("\x1b[2J", None))))
    assert text == "token,value\n'=1+1,-2.0\n\\x1b[2J,"


def test_a_prompt_of_any_form_is_written(small: Callable[..., Model]) -> None:
    lines = notebook(CHOICE, small("model5").tokenizer, list(b'say "hi" \\'), CausalQuestion(), "attribution", {})
    assert "ids = model.tokenizer.encode('say \"hi\" \\\\')\n" in lines
