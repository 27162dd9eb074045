"""Tokens of GGUF files that end a text, known by their text where the metadata does not name their ids.

Source: the list of llama.cpp (src/llama-vocab.cpp, `special_eog_ids`).
"""

from collections.abc import Iterable, Mapping

ENDS = frozenset(
    {
        "<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<|flush|>", "<|calls|>", "<end_of_turn>",
        "<|endoftext|>", "</s>", "<|eom_id|>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]", "<|end_of_text|>",
        "<end_of_utterance>", "<eos>", "<turn|>", "<|tool_response>", "<｜end▁of▁sentence｜>", "[e~[",
    }
)  # fmt: skip
FILL_IN_ENDS = frozenset(
    {
        "<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]", "<|fim_repo|>", "<|repo_name|>", "<fim-repo>",
        "<REPO>", "<reponame>", "<|file_sep|>",
    }
)  # fmt: skip
"""Padding, repository and file marks of models that fill in code: after them nothing of the text follows."""


def stop_ids(texts: Mapping[str, int], named: Iterable[int]) -> frozenset[int]:
    """The ids that end a text: those that metadata names, and tokens whose text says so.

    `texts` are the ids of all tokens that may be such, by their text.
    """
    found = {text: id for text, id in texts.items() if text in ENDS | FILL_IN_ENDS}
    if {"<|return|>", "<|call|>"} <= found.keys() or {"<|calls|>", "<|flush|>"} <= found.keys():
        found.pop("<|end|>", None)  # ends a message there, not the turn
    if "<|tool_response>" in found or "<|plamo:eos|>" in texts:
        found.pop("</s>", None)  # an ordinary token of these vocabularies
    return frozenset(found.values()) | frozenset(named)
