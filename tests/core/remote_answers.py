"""Answers of real engines on SmolLM2-135M, as they were recorded, for tests that have no engine."""

from pathlib import Path

FOLDER = Path(__file__).parent / "remote_answers"
OAT_MILK = [57, 4640, 28973, 4788, 281]
"""`I prefer oat milk in`."""


def answer(name: str) -> bytes:
    """The body of a recorded answer."""
    return (FOLDER / name).read_bytes()
