"""Tries regular expressions of tokenizers, which may come from anybody, in a process of its own.

An expression may need exponential time on some texts, and the library's engine ends with a panic where it gives up.
Expressions that are known not to (`split_patterns.KNOWN_PATTERNS`) are not tried.
"""

import json
import subprocess
import sys
from collections.abc import Iterable

from core.errors import UserError
from core.tokenizers.split_patterns import KNOWN_PATTERNS

TIME_LIMIT = 3.0
"""Seconds for all expressions of one tokenizer."""
_PROGRAM = """
import json, sys
from tokenizers import Regex
from tokenizers.pre_tokenizers import Split
for pattern in json.load(sys.stdin):
    split = Split(Regex(pattern), "isolated")
    for unit in ("a", "A", "0", " ", "\\n", ".", "'", "aA", "a0", "a ", "\\u00e9", "\\u4e00", "_", "a."):
        for end in ("", "!", "\\x00", "b"):
            split.pre_tokenize_str(unit * 200 + end)
"""


def check(patterns: Iterable[str], source: str) -> None:
    """Raise `UserError` for a regular expression that is invalid, or too slow on runs of one character."""
    unknown = [pattern for pattern in patterns if pattern not in KNOWN_PATTERNS]
    if not unknown:
        return
    advice = "choose another model"
    try:
        command = [sys.executable, "-I", "-c", _PROGRAM]
        subprocess.run(command, input=json.dumps(unknown).encode(), capture_output=True, timeout=TIME_LIMIT, check=True)
    except subprocess.TimeoutExpired:
        raise UserError(f"{source}: a pattern that splits text needs too much time; {advice}") from None
    except subprocess.CalledProcessError as error:
        lines = error.stderr.decode(errors="replace").strip().splitlines() or ["it ended its process"]
        raise UserError(f"{source}: a pattern that splits text fails ({lines[-1]}); {advice}") from None
