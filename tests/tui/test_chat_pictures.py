"""Pictures of a conversation, with a LoRA adapter on."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from core.loading.choice import ModelChoice
from core.tokenizers.chat import Span
from core.walk.values import PromptForm
from tui.app import TokenwalkApp

Make = Callable[..., TokenwalkApp]
SAID = (
    *(("template", piece) for piece in ("<|im_start|>", "user", "\n")),
    *(("user", piece) for piece in ("Oat", " milk", " in", " my", "?")),
    *(("template", piece) for piece in ("<|im_end|>", "\n", "<|im_start|>", "ass", "istant", "\n")),
    *(("thinking", piece) for piece in ("<think>", "a", " drink", "</think>")),
    *(("assistant", piece) for piece in ("In", " coffee", ",", " I", " think", ".")),
    ("template", "<|im_end|>"),
)


def spans() -> tuple[Span, ...]:
    found: list[Span] = []
    for place, (kind, _) in enumerate(SAID):
        thinks = kind == "thinking"
        role = "assistant" if thinks else kind
        if found and (found[-1].role, found[-1].thinking) == (role, thinks):
            found[-1] = replace(found[-1], end=place + 1)
        else:
            found.append(Span(place, place + 1, role, thinks))
    return tuple(found)


@pytest.mark.parametrize("size", [(80, 24), (120, 36), (200, 60)], ids=str)
def test_a_conversation(snap_compare: Callable[..., bool], scripted: Make, scenes: Any, size: tuple[int, int]) -> None:
    frame = scenes.oat_milk()
    tokens = scenes.tokens([piece for _, piece in SAID])
    snapshot = replace(
        frame.snapshot, tokens=tokens, prompt_length=14, cursor=19, spans=spans(), turn=19, prompt="Oat milk in my?"
    )
    choice = ModelChoice(name="smollm2", lora="/home/oat", lora_scale=0.5)
    frame = replace(frame, snapshot=snapshot, choice=choice, model=replace(frame.model, name="smollm2", choice=choice))
    assert snap_compare(scripted(frame, "Oat milk in my?", form=PromptForm(chat=True)), terminal_size=size)
