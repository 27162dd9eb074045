"""Owns vocabularies cut to what a corpus uses: the same pieces on that corpus, and any other text still encodes."""

from collections.abc import Iterable, Iterator, Mapping

import tiktoken

from core.once import thread_safe_cache
from core.tokenizers.tokenizer import END_OF_TEXT, Tokenizer


def prune(whole: Tokenizer, used: Iterable[int], name: str) -> Tokenizer:
    """`whole` with the 256 bytes, the tokens `used` and those they are merged from alone, under compact ids.

    The order of merges stays. Whatever merge `whole` makes on text of `used` tokens leads to a token that was kept, and
    is still the first possible one, so it is made here too.
    """
    ranks: Mapping[bytes, int] = whole.encoding._mergeable_ranks  # tiktoken's own way of extending an encoding
    pieces = {bytes([value]) for value in range(256)}
    for id in set(used) - {whole.end_of_text}:
        pieces.update(_merged(whole.piece(id), ranks))
    return from_ids(whole, tuple(sorted(ranks[piece] for piece in pieces)), name)


@thread_safe_cache
def from_ids(whole: Tokenizer, originals: tuple[int, ...], name: str) -> Tokenizer:
    """A vocabulary of these ids of `whole`, in their order, and `<|endoftext|>`: the same one for the same ids."""
    encoding = tiktoken.Encoding(
        name,
        pat_str=whole.encoding._pat_str,
        mergeable_ranks={whole.piece(original): id for id, original in enumerate(originals)},
        special_tokens={END_OF_TEXT: len(originals)},
    )
    tokenizer = Tokenizer(name, encoding)
    tokenizer.originals = (*originals, whole.end_of_text)
    return tokenizer


def _merged(piece: bytes, ranks: Mapping[bytes, int]) -> Iterator[bytes]:
    """A token and all that is made on the way to it (byte-pair encoding; Sennrich et al. 2016, §3.2)."""
    yield piece
    parts = [piece[at : at + 1] for at in range(len(piece))]
    while len(parts) > 1:
        pairs = {at: ranks[pair] for at in range(len(parts) - 1) if (pair := parts[at] + parts[at + 1]) in ranks}
        if not pairs:
            return
        at = min(pairs, key=pairs.__getitem__)
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
        yield parts[at]
