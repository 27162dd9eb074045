"""`tokenwalk lens`: each lens as one JSON object that agrees with `tokenwalk next`, and as text."""

import csv
import json
import math
import subprocess
import xml.etree.ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.lenses import NAMES, experiments
from tui.reports.cells import bar
from tui.reports.lenses import LINES

Here = Callable[..., subprocess.CompletedProcess[bytes]]
PROMPT = "oat milk"
SMALL = ("--tokenizer", "bytes", "--device", "cpu", "--embed-dim", "16")
LENSES = [name.replace("_", "-") for name in NAMES]
CORRUPT = dict.fromkeys(("circuit", "contrast", "paths"), ("--corrupt", "oat silk"))
"""Further options of the experiments that compare two prompts."""
EXPERIMENTS = [name.replace("_", "-") for name in experiments()]


@pytest.fixture(scope="module")
def lens_json(run_here: Here) -> Callable[..., dict[str, Any]]:
    """Run a command and parse the one JSON object it prints."""

    def run(*arguments: str) -> dict[str, Any]:
        done = run_here(*arguments, *SMALL, "--json")
        assert done.stderr == b""
        assert done.returncode == 0
        (line,) = done.stdout.splitlines()
        return json.loads(line, parse_constant=pytest.fail)

    return run


def test_every_lens_prints_lines_and_an_experiment_without_its_own_prints_its_table() -> None:
    assert {*LINES, *EXPERIMENTS} == set(LENSES)


@pytest.mark.parametrize("name", LENSES)
@pytest.mark.parametrize("model", ["model5", "model6"])
def test_every_lens_prints_one_json_object(name: str, model: str, lens_json: Callable[..., dict[str, Any]]) -> None:
    found = lens_json("lens", name, PROMPT, "--model", model, "--target", "y", *CORRUPT.get(name, ()))
    assert (found["lens"], found["model"]) == (name, model)
    assert found["prompt_ids"] == list(PROMPT.encode())


FIELDS = {
    "attribution": "against against_id difference inner level merged name parts path target target_id total value",
    "jacobian": (
        "affine against against_id bytes difference entropy_bits final first fit id jacobian kl_bits layers "
        "locks_in logit matrices name path positions probability sequences target target_id target_probability "
        "target_rank text top total"
    ),
    "circuit": (
        "against against_id bytes clean connected corrupt curve difference edges likely method nodes off parts "
        "probability receiver score sender share target target_id text total value"
    ),
    "gradients": (
        "against against_id baseline baseline_value bytes difference error error_share input_x_gradient integrated "
        "position steps target target_id text tokens total"
    ),
    "patchscope": (
        "against against_id bytes difference generated id into kl_bits name note position probability prompt rows "
        "target target_id target_probability target_rank text top total unpatched"
    ),
    "contrast": (
        "against against_id agreement attention clean corrupt corrupt_ids corrupt_pieces difference estimated first "
        "heads map mlp pearson pieces residual spearman target target_id"
    ),
    "paths": ("against against_id clean corrupt difference embedding heads label mlp receiver target target_id"),
    "flow": "axes code component equation labels level name norm sources stages stream text values where",
    "attention": (
        "before difference entropy_bits first head heads layer note own pattern peak peak_weight pieces row start"
    ),
    "logit": (
        "against block bytes difference entropy_bits id kl_bits layers locks_in logit map name names pieces "
        "probability rows sampled_probability start target target_came target_probability target_rank text top"
    ),
    "context": (
        "bytes came effective entropy_bits id logit mass90 note prefixes probability sampled_probability "
        "start text token top total"
    ),
    "heads": (
        "composition copying duplicate head independent induction kind layer measured_on note positions previous "
        "queries"
    ),
    "last-token": "by bytes changes how kl_bits note position text together_bits total why",
    "ladder": (
        "added adds after before bytes differences id kl_bits ln_v logit loss name notes parameters "
        "probability rungs sampled_probability seen target text title top trained"
    ),
    "weights": (
        "biases counts expected high histogram low mean name names part shape size_bytes std tied total weights"
    ),
    "lab": (
        "after averaging batch before bytes columns curves difference entropy_bits id input_pieces inputs "
        "kl_bits ln_v logit lookup lookup_rows lookup_seconds loss mean_after mean_before name norm note "
        "other own pieces probability product_rows product_seconds rows sampled_probability seen std_after "
        "std_before stride switch target_pieces targets text top values weights xs"
    ),
    "watermark": "bytes green id p_value ratio scored text tokens watermark z",
    "device": (
        "bandwidth compiled create_seconds device dtype first_token format forward_seconds implementation label name "
        "note parity peak problem problems prompt_rate prompt_tokens rate read size_bytes speed threads times tokens "
        "train_seconds weights"
    ),
}
"""Every field of the JSON of a lens, at any depth; they are a contract with other programs."""


def fields_of(value: Any) -> set[str]:
    """The names of all fields in a JSON value, at any depth."""
    if isinstance(value, dict):
        return set(value).union(*map(fields_of, value.values()))
    return set().union(*map(fields_of, value)) if isinstance(value, list) else set()


@pytest.mark.parametrize("name", LENSES)
def test_the_fields_of_a_lens_keep_their_names(name: str, lens_json: Callable[..., dict[str, Any]]) -> None:
    found = fields_of(lens_json("lens", name, PROMPT, "--model", "model5", "--target", "y", *CORRUPT.get(name, ())))
    assert " ".join(sorted(found - {"lens", "model", "prompt_ids"})) == FIELDS[name]


@pytest.mark.parametrize("name", [name for name in LENSES if name not in ("attention", "heads")])
@pytest.mark.parametrize("model", ["model1", "model2", "model3"])
def test_rungs_without_blocks_have_every_lens_but_attention(name: str, model: str, run_here: Here) -> None:
    """They print lines without trailing spaces, and nothing on stderr. An experiment may say why it has no answer."""
    done = run_here("lens", name, PROMPT, "--model", model, *SMALL)
    if name in EXPERIMENTS and done.returncode:
        assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, b"", 1)
        return
    assert (done.returncode, done.stderr) == (0, b"")
    lines = done.stdout.decode().splitlines()
    assert lines
    assert all(line == line.rstrip() for line in lines)


def test_the_last_layer_of_the_logit_lens_equals_the_next_command(lens_json: Callable[..., dict[str, Any]]) -> None:
    found = lens_json("lens", "logit", PROMPT, "--model", "model4", "-k", "7")
    after = lens_json("next", PROMPT, "--model", "model4", "-k", "7")
    names = [layer["name"] for layer in found["layers"]]
    assert names[0] == "embedding"
    assert names[1:3] == ["block 0 attention", "block 0 mlp"]
    assert names[-1] == "output"
    assert len(names) == 10
    for each, want in zip(found["layers"][-1]["top"], after["top"], strict=True):
        assert (each["id"], each["text"], each["bytes"]) == (want["id"], want["text"], want["bytes"])
        assert each["probability"] == pytest.approx(want["probability"], rel=1e-5)
    assert found["layers"][-1]["entropy_bits"] == pytest.approx(after["entropy_bits"], abs=1e-5)


def test_context_has_a_prefix_for_each_token(lens_json: Callable[..., dict[str, Any]]) -> None:
    prefixes = lens_json("lens", "context", PROMPT, "--model", "model4")["prefixes"]
    assert [each["text"] for each in prefixes] == [PROMPT[:end] for end in range(1, 9)]
    assert [each["token"] for each in prefixes] == list(PROMPT)
    for each in prefixes:
        after = lens_json("next", each["text"], "--model", "model4", "-k", "5")
        assert each["entropy_bits"] == pytest.approx(after["entropy_bits"], abs=1e-5)
        assert each["effective"] == pytest.approx(2 ** each["entropy_bits"])
        assert each["mass90"] == after["mass90"]
        assert [top["id"] for top in each["top"]] == [top["id"] for top in after["top"]]
    assert [each["came"]["text"] for each in prefixes[:-1]] == list(PROMPT[1:])
    assert prefixes[-1]["came"] is None


def test_values_of_the_other_lenses(lens_json: Callable[..., dict[str, Any]]) -> None:
    attention = lens_json(
        "lens", "attention", PROMPT, "--model", "model5", "--layer", "3", "--head", "2", "--shown", "3"
    )
    assert (attention["layer"], attention["head"], attention["start"]) == (3, 2, 5)
    assert math.fsum(attention["row"]) == pytest.approx(1, abs=1e-5)
    assert [len(row) for row in attention["pattern"]] == [1, 2, 3]
    last = lens_json("lens", "last-token", PROMPT, "--model", "model1", "--how", "mask")
    assert [change["kl_bits"] for change in last["changes"]] == [0.0] * 7
    assert [change["text"] for change in last["changes"]] == list(PROMPT[:-1])
    assert "no attention" in last["why"]
    weights = lens_json("lens", "weights", "--model", "model1", "--weight", "unembed.bias")
    assert weights["total"] == weights["expected"] == 257 * 16 * 2 + 257
    assert weights["histogram"]["shape"] == [257]
    ladder = lens_json("lens", "ladder", PROMPT, "--target", "y")
    names = [name for n in range(1, 7) for name in (f"model{n}", f"model{n}-trained")]
    assert [rung["name"] for rung in ladder["rungs"]] == names
    assert {rung["target"]["text"] for rung in ladder["rungs"]} == {"y"}
    lab = lens_json("lens", "lab", PROMPT, "--switch", "silu")
    assert lab["switch"]["other"] == "silu"
    flow = lens_json("lens", "flow", PROMPT)
    assert flow["stages"][0]["text"] == PROMPT
    assert "def forward" in flow["sources"][1]["code"]


def test_an_experiment_answers_a_question_of_texts(lens_json: Callable[..., dict[str, Any]], run_here: Here) -> None:
    asking = ("lens", "attribution", PROMPT, "--model", "model5", "--target", "y", "--against", "z")
    found = lens_json(*asking)
    assert (found["target"], found["target_id"], found["against"], found["against_id"]) == ("y", 121, "z", 122)
    values = [part["value"] for part in found["parts"]]
    assert math.fsum(values) == pytest.approx(found["difference"], abs=1e-4)
    assert lens_json(*asking[:-2], "--measure", "logprob")["logprob"] < 0
    lines = run_here(*asking, *SMALL).stdout.decode().splitlines()
    assert lines[0] == f"why y, not z: logit difference {found['difference']:+.2f}"
    assert lines[2].split() == ["model", "token", "embedding", f"{values[0]:+.4f}"]


def test_an_experiment_prints_csv_and_writes_a_picture(
    run_here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The picture has its colors, whatever the terminal has."""
    monkeypatch.setenv("NO_COLOR", "1")
    picture = tmp_path / "why.svg"
    asking = ("lens", "attribution", PROMPT, "--model", "model5", "--part", "0.attention", "--svg", str(picture))
    done = run_here(*asking, "--csv", *SMALL)
    assert (done.returncode, done.stderr.decode()) == (0, f"tokenwalk: written to {picture}\n")
    rows = list(csv.DictReader(done.stdout.decode().splitlines()))
    assert [row["part"] for row in rows] == ["head 0", "head 1", "head 2", "head 3"]
    text = picture.read_text(encoding="utf-8")
    assert xml.etree.ElementTree.fromstring(text).tag.endswith("svg")
    assert "head&#160;3" in text
    assert "#e8a15c" in text


def test_a_map_of_heads_is_written_as_a_picture(run_here: Here, tmp_path: Path) -> None:
    picture = tmp_path / "heads.svg"
    done = run_here("lens", "heads", PROMPT, "--model", "model5", "--svg", str(picture), *SMALL)
    assert done.returncode == 0
    text = picture.read_text(encoding="utf-8")
    assert xml.etree.ElementTree.fromstring(text).tag.endswith("svg")
    assert "layer&#160;0" in text


def test_without_a_prompt_the_example_of_the_article_is_used(lens_json: Callable[..., dict[str, Any]]) -> None:
    assert lens_json("lens", "context", "--context", "30")["prefixes"][-1]["text"] == "I prefer oat milk in"


@pytest.mark.parametrize("name", LENSES)
def test_control_codes_in_a_prompt_are_escaped(name: str, run_here: Here) -> None:
    """Escape sequences, a bidi override and markup are printed as text."""
    prompt = "[b]\x1b[2J\u202eoat\x07[/"
    corrupt = ("--corrupt", f"{prompt[:-1]}\x1b") if name in CORRUPT else ()
    done = run_here("lens", name, prompt, "--model", "model5", "--context", "40", "--target", "\x1b", *SMALL, *corrupt)
    assert done.returncode == 0
    out = done.stdout.decode()
    assert not any(bad in out for bad in ("\x1b", "\x07", "\u202e"))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("lens", "mirror", PROMPT), "no lens 'mirror'; choose one of attention, "),
        (("lens", "attention", PROMPT), "model1 has no attention; choose model3"),
        (("lens", "context", PROMPT, "--layer", "1"), "the lens context has no option --layer"),
        (("lens", "flow", PROMPT, "-k", "3"), "the lens flow has no option -k"),
        (("lens", "logit", PROMPT, "--corrupt", "Oat"), "the lens logit has no option --corrupt"),
        (("lens", "logit", PROMPT, "--target", ""), "--target is empty"),
        (("lens", "attribution", PROMPT, "--target", "ab"), "--target must be one token; 'ab' is 2: 'a' + 'b'"),
        (("lens", "attribution", PROMPT, "--target", "a", "--against", "a"), "must differ"),
        (("lens", "attribution", PROMPT, "--against", "a", "--measure", "logit"), "--against belongs to the measure"),
        (("lens", "attribution", PROMPT), "model1 applies an activation function after its blocks"),
        (("lens", "attribution", PROMPT, "--json", "--csv"), "--csv and --json cannot both be printed"),
        (("lens", "flow", PROMPT, "--csv"), "the lens flow is not a table"),
        (("lens", "flow", PROMPT, "--svg", "flow.svg"), "the lens flow has no picture"),
        (("lens", "attribution", PROMPT, "--svg", "."), "is a folder, not a file"),
        (
            ("lens", "attention", PROMPT, "--model", "model3", "--head", "4"),
            "there is no head 4; model3 has 1, numbered from 0 to 0",
        ),
        (("lens", "last-token", PROMPT, "--how", "forget"), "'forget' is not a way to change tokens"),
        (("lens", "lab", PROMPT, "--switch", "bend"), "'bend' is not an activation function"),
        (("lens", "lab", PROMPT, "--switch", "gelu"), "uses the activation function gelu already"),
        (("lens", "weights", "--weight", "wte"), "no weight 'wte'"),
    ],
)
def test_a_user_error_is_one_line(arguments: tuple[str, ...], says: str, run_here: Here) -> None:
    done = run_here(*arguments, *SMALL)
    assert (done.returncode, done.stdout) == (2, b"")
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("tokenwalk: ")
    assert says in line


@pytest.mark.parametrize(
    ("share", "drawn"), [(0.0, ""), (1.0, "████"), (0.5, "██"), (0.28125, "█▏"), (2.0, "████"), (-1.0, "")]
)
def test_bars_are_drawn_in_eighths_of_cells(share: float, drawn: str) -> None:
    assert bar(share, 4) == drawn


def test_heads_over_checkpoints(run_here: Here) -> None:
    """As lines, JSON and CSV; a model from elsewhere has no text of its training."""
    arguments = ("lens", "heads", "--checkpoints", "model5-trained", "--device", "cpu")
    lines = run_here(*arguments).stdout.decode().splitlines()
    assert lines[0] == "scores of heads of one checkpoint: step 3,000"
    (each,) = json.loads(run_here(*arguments, "--json").stdout)["checkpoints"]
    rows = list(csv.DictReader(run_here(*arguments, "--csv").stdout.decode().splitlines()))
    for kind in ("previous", "induction", "copied"):
        assert [float(row[kind]) for row in rows] == [value for row in each[kind] for value in row]
        (at,) = (n for n, line in enumerate(lines) if line.startswith(f"{kind}: "))
        assert [line.split()[-6] for line in lines[at + 2 : at + 18]] == [f"{float(row[kind]):.3f}" for row in rows]
    unknown = run_here("lens", "heads", "--checkpoints", "model3", *SMALL).stdout.decode()
    assert unknown.endswith("copied: known only for checkpoints of your own trainings\n")
    for more, says in ((("--layer", "1"), "--layer cannot"), (("-m", "model5"), "--model cannot")):
        done = run_here(*arguments, *more)
        assert (done.returncode, done.stdout) == (2, b"") and says in done.stderr.decode()
