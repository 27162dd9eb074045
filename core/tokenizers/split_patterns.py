"""Regular expressions that split a text into the parts that merges stay within, and the names GGUF has for them."""

from dataclasses import dataclass

GPT2 = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
DIGITS_THEN_GPT2 = r"'(?:[sdmt]|ll|ve|re)|\p{N}| ?\p{L}+| ?[^\s\p{L}\p{N}]+|\s+(?![^\s\p{N}])|\s+"
"""Each digit is a part; GPT-2's pattern splits what is between digits, so a run of spaces ends before a digit."""
_CL100K = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = _CL100K % r"\p{N}{1,3}"
QWEN2 = _CL100K % r"\p{N}"


@dataclass(frozen=True, slots=True)
class PreTokenizer:
    """What a value of `tokenizer.ggml.pre` in a GGUF file means."""

    pattern: str
    nfc: bool = False
    ignore_merges: bool = False
    add_bos: bool = False
    """Whether a text begins with BOS where the file does not say."""


PRE_TOKENIZERS = {
    "gpt-2": PreTokenizer(GPT2),
    "smollm": PreTokenizer(DIGITS_THEN_GPT2),
    "llama-bpe": PreTokenizer(LLAMA3, ignore_merges=True, add_bos=True),
    "qwen2": PreTokenizer(QWEN2, nfc=True),
}
