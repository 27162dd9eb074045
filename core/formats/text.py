"""Strings that may hold half of a surrogate pair, as JSON and terminals can bring them."""


def well_formed(text: str) -> str:
    """`text` with U+FFFD for each half of a surrogate pair that stands alone, so that it can be encoded as UTF-8."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
