"""Tries the normalizer, pre-tokenizer and decoder of a tokenizer.json in a process of its own.

Anybody may have written them. A regular expression may need exponential time on some texts, and the library's engine
gives up with a panic; other steps end the whole process where their options are wrong. Steps that are known not to are
not tried, since that takes a tenth of a second.
"""

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from core.errors import UserError
from core.language import _
from core.tokenizers.split_patterns import KNOWN_PATTERNS

TIME_LIMIT = 3.0
"""Seconds for all steps of one tokenizer."""
_TRUSTED = frozenset(
    {
        "ByteFallback", "ByteLevel", "Digits", "Fuse", "Lowercase", "Metaspace", "NFC", "NFD", "NFKC", "NFKD",
        "Prepend", "Punctuation", "Replace", "Sequence", "Split", "Strip", "StripAccents",
    }
)  # fmt: skip
_PROGRAM = """
import json, sys
from tokenizers import Tokenizer
library = Tokenizer.from_str(sys.stdin.read())
units = ["a", "A", "0", " ", "\\n", ".", "'", "_", "aA", "a0", "a ", "a.", "\\u00e9", "e\\u0301", "\\u4e00", "\\ufb01"]
for unit in units:
    for end in ("", "!", "\\x00", "b"):
        text = unit * 200 + end
        if library.normalizer:
            text = library.normalizer.normalize_str(text)
        if library.pre_tokenizer:
            library.pre_tokenizer.pre_tokenize_str(text)
        if library.decoder:
            library.decoder.decode([text, "<0xE2>", "a"])
"""
_MODEL = {"type": "BPE", "vocab": {}, "merges": []}


def check(parts: Mapping[str, Any], source: str) -> None:
    """Raise `UserError` where a step of `parts`, as tokenizer.json has them, fails or needs too much time."""
    if all(_trusted(step) for step in parts.values()):
        return
    request = json.dumps({"version": "1.0", "added_tokens": [], "model": _MODEL, **parts})
    advice = _("choose another model")
    try:
        command = [sys.executable, "-I", "-c", _PROGRAM]
        subprocess.run(command, input=request.encode(), capture_output=True, timeout=TIME_LIMIT, check=True)
    except subprocess.TimeoutExpired:
        raise UserError(
            _("{source}: a step that splits or rewrites text takes too long; {advice}"),
            source=source,
            advice=advice,
        ) from None
    except subprocess.CalledProcessError as error:
        lines = error.stderr.decode(errors="replace").strip().splitlines() or [_("it ends its process")]
        raise UserError(
            _("{source}: a step that splits or rewrites text fails ({reason}); {advice}"),
            source=source,
            reason=lines[-1],
            advice=advice,
        ) from None


def _trusted(step: Any) -> bool:
    """Whether a step, and each step in it, is known to end on every text."""
    if not isinstance(step, dict):
        return step is None
    if step.get("type") not in _TRUSTED:
        return False
    pattern = step.get("pattern")
    if isinstance(pattern, dict) and pattern.get("Regex", " {2,}") not in KNOWN_PATTERNS:
        return False
    inner: Iterable[Any] = next((value for value in step.values() if isinstance(value, list)), ())
    return all(map(_trusted, inner))
