"""`--chat` and `--system` on the command line: the ids of the template, and a saved conversation that replays."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import forked_python

Run = Callable[..., subprocess.CompletedProcess[bytes]]


def test_a_system_message_stands_before_the_prompt(run_here: Run, chat_model: Path) -> None:
    """In the program itself; ids of the whole conversation."""
    command = ("next", "hi", "-m", str(chat_model), "--chat", "--json")
    program = (sys.executable, "-m", "tui", *command, "--system", "be brief")
    done = forked_python.run(program)
    ids = json.loads(done.stdout)["prompt_ids"]
    plain = json.loads(run_here(*command).stdout)["prompt_ids"]
    assert len(ids) > len(plain)
    assert ids[-len(plain) :] == plain
    assert ids[0] == plain[0] == 257


def test_a_system_message_needs_the_template(run_here: Run, chat_model: Path) -> None:
    done = run_here("next", "hi", "-m", str(chat_model), "--system", "be brief")
    assert done.returncode == 2
    assert b"--system is a message of a chat template; give --chat too" in done.stderr


def test_a_saved_conversation_has_roles_and_replays(run_here: Run, chat_model: Path, tmp_path: Path) -> None:
    file = tmp_path / "walk.json"
    command = ("generate", "hi", "-m", str(chat_model), "--chat", "--system", "be brief", "-n", "4")
    assert run_here(*command, "--save", str(file)).returncode == 0
    saved = json.loads(file.read_text())
    assert saved["prompt"] == "hi"
    roles = [node.get("role") for node in saved["nodes"]]
    assert {"template", "system", "user"} <= set(roles[:-1])
    assert roles[-1] is None  # generated
    assert run_here("replay", str(file)).returncode == 0


def test_a_model_without_a_template_is_refused(run_here: Run) -> None:
    done = run_here("next", "hi", "-m", "model5-trained", "--chat")
    assert done.returncode == 2
    assert b"no chat template" in done.stderr
