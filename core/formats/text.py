"""Strings from files: halves of surrogate pairs, as JSON and terminals can bring them, and names in error texts."""

import re
import reprlib


def well_formed(text: str) -> str:
    """`text` with U+FFFD for each half of a surrogate pair that stands alone, so that it can be encoded as UTF-8."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def shown(name: str) -> str:
    """A name from a file, for a line of text: as it is where it is a plain word, else quoted, escaped and shortened."""
    return name if re.fullmatch(r"[\w.:/-]{1,100}", name, re.ASCII) else reprlib.repr(name)
