"""`tokenwalk models URL`, and the options and keys of engines."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from engine_faults import FAULTS, answers
from engine_servers import replay, serving

from core.remote.address import ENGINES as NAMES
from core.remote.engines import ENGINES
from tui import config_file

Here = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(config_file, "path", lambda: tmp_path / "config.toml")
    monkeypatch.delenv("TOKENWALK_API_KEY", raising=False)
    return tmp_path / "config.toml"


def test_the_json_has_the_documented_names(run_here: Here) -> None:
    with serving(replay("vllm_top20")) as server:
        done = run_here("models", server.url, "--json")
    assert (done.returncode, done.stderr) == (0, b"")
    found = json.loads(done.stdout)
    names = "engine version model vocab_size context top_k full raw ids bytes prompt_scores"
    assert list(found) == names.split()
    assert (found["engine"], found["top_k"], found["full"], found["raw"]) == ("vllm", 20, False, False)


def test_the_text_says_what_follows(run_here: Here) -> None:
    with serving(replay("llama")) as server:
        done = run_here("models", server.url)
    text = done.stdout.decode()
    assert done.returncode == 0
    assert all(word in text for word in ("llama b0-unknown", "49,152 tokens", "of all tokens", "one request for each"))


def test_an_engine_of_text_says_what_is_missing(run_here: Here) -> None:
    with serving(replay("llama")) as server:
        done = run_here("models", server.url, "--engine", "openai")
    assert done.returncode == 0 and "no walk" in done.stdout.decode()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("models", "localhost:8123"), "http://host:port"),
        (
            ("models", "http://localhost:1", "--engine", "ollama"),
            "must be auto, vllm, llama, sglang or openai",
        ),
        (("models", "--engine", "vllm"), "needs the address of an engine"),
        (("next", "a", "--served-model", "x"), "--served-model needs the address"),
        (("models", "http://127.0.0.1:1"), "cannot be reached (connection refused)"),
    ],
)
def test_a_mistake_is_one_line(run_here: Here, file: Path, arguments: tuple[str, ...], says: str) -> None:
    done = run_here(*arguments)
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (2, b"", 1)
    assert says in done.stderr.decode()


@pytest.mark.parametrize(
    "name", ["401 of llama-server", "404 of a proxy", "a page of HTML", "400 with control characters"]
)
def test_a_fault_of_the_server_is_one_line(run_here: Here, name: str) -> None:
    with serving(answers(FAULTS[name][0])) as server:
        done = run_here("models", server.url)
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (2, b"", 1)
    assert done.stderr.decode().strip().isprintable()


def test_tokens_are_those_of_the_engine(run_here: Here) -> None:
    with serving(replay("llama")) as server:
        done = run_here("tokens", "I prefer oat milk in", "--model", server.url, "--json")
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout)["ids"] == [57, 4640, 28973, 4788, 281]


def test_several_models_are_listed_and_one_is_chosen(run_here: Here) -> None:
    models = json.dumps({"data": [{"id": "a"}, {"id": "b\x1b[2J"}]}).encode()
    with serving(lambda path, body, handler: handler.send(200, models)) as server:
        done = run_here("models", server.url)
        assert done.returncode == 2 and done.stderr.count(b"\n") == 1
        assert r"serves 2 models; choose one with --served-model: a, 'b\x1b[2J'" in done.stderr.decode()
        assert "does not serve c" in run_here("models", server.url, "--served-model", "c").stderr.decode()
        assert b'"model": "a"' in run_here("models", server.url, "--served-model", "a", "--json").stdout


def test_the_key_of_the_settings_is_sent_to_its_host_alone(
    run_here: Here, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKENWALK_API_KEY", "of-all")
    with serving(replay("llama")) as server, serving(replay("llama")) as other:
        file.write_text(f'[remote."127.0.0.1:{server.server_port}"]\nkey = "of-one"\n')
        for each, key in ((server, "of-one"), (other, "of-all")):
            assert run_here("models", each.url).returncode == 0
            assert {headers["Authorization"] for _, _, headers in each.seen} == {f"Bearer {key}"}


@pytest.mark.parametrize(
    "text", ["remote = 3", '[remote."host"]\nkey = "secret"', '[remote."host:1"]\nkey = 3\nx = "secret"']
)
def test_a_wrong_entry_of_keys_is_one_line_without_the_key(run_here: Here, file: Path, text: str) -> None:
    file.write_text(text)
    done = run_here("models", "http://127.0.0.1:1")
    assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)
    assert str(file) in done.stderr.decode() and "secret" not in done.stderr.decode()


def test_the_names_of_engines_are_those_that_exist() -> None:
    assert set(NAMES) == {"auto", *ENGINES}
