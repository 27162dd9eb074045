"""`tokenwalk tokens` with the tokenizer of a model: its ids, roles of a conversation, warnings, errors."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest

from tui.reports.json_values import json_line

Here = Callable[..., subprocess.CompletedProcess[bytes]]
LETTERS = [*"abcdefghijklmnopqrstuvwxyz", "Ġ", "Ċ", "<|im_end|>", "th"]
CHAT = "{% for m in messages %}{{ m.role }}\n{{ m.content }}<|im_end|>{% endfor %}"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A .gguf file with a tokenizer of letters, which does not say how it cuts a text."""
    writer = gguf.GGUFWriter(tmp_path / "letters.gguf", "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_token_merges(["t h"])
    writer.add_token_list(LETTERS)
    writer.add_token_types([1] * len(LETTERS))
    writer.add_chat_template(CHAT)
    writer.add_tensor("token_embd.weight", np.zeros((len(LETTERS), 4), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tmp_path / "letters.gguf"


def test_the_ids_of_a_model_and_the_roles_of_a_conversation(run_here: Here, model: Path) -> None:
    """Special tokens, known by their text, are tokens in the template only."""
    found = json.loads(run_here("tokens", "the<|im_end|>", "--model", str(model), "--json").stdout)
    assert [LETTERS[id] for id in found["ids"]] == ["th", *"eimend"]  # < and | have no token
    done = run_here("tokens", "the", "--model", str(model), "--chat", "--json")
    found = json.loads(done.stdout)
    assert [piece["text"] for piece in found["pieces"]] == [*"user\n", "th", "e", "<|im_end|>"]
    assert [(span["role"], span["start"], span["end"]) for span in found["spans"]] == [
        ("template", 0, 5),
        ("user", 5, 7),
        ("template", 7, 8),
    ]
    lines = run_here("tokens", "the", "--model", str(model), "--chat").stdout.decode().splitlines()
    assert [line.split()[2] for line in lines[5:7]] == ["user", "user"]


def test_a_file_that_does_not_say_its_cut_is_a_warning(run_here: Here, model: Path) -> None:
    """On standard error, beside the ids."""
    done = run_here("tokens", "the", "--model", str(model))
    assert done.returncode == 0
    assert done.stderr.decode().count("\n") == 1
    assert "tokenizer.ggml.pre is missing" in done.stderr.decode()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--model", "smollm2", "--tokenizer", "bytes"), "--tokenizer and --model exclude each other"),
        (("--chat",), "cl100k has no chat template"),
        (("--model", "./nowhere"), "there is no file or folder ./nowhere"),
    ],
)
def test_mistakes_are_one_line(run_here: Here, arguments: tuple[str, ...], problem: str) -> None:
    done = run_here("tokens", "hi", *arguments)
    assert (done.returncode, done.stdout) == (2, b"")
    assert problem in done.stderr.decode()
    assert done.stderr.decode().count("\n") == 1


def test_json_escapes_what_a_terminal_executes_or_hides() -> None:
    text = "a\x7f\x9d\u202e\u2028\U000e0001é字"
    line = json_line({"text": text})
    assert json.loads(line) == {"text": text}
    assert line.isprintable()
