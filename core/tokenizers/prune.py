"""Vocabularies cut down to what a corpus uses. The corpus keeps its tokens, and any other text can be encoded."""

from collections.abc import Iterable, Iterator, Mapping

import tiktoken

from core.once import thread_safe_cache
from core.tokenizers.tiktoken_internals import merge_ranks, split_pattern
from core.tokenizers.tokenizer import END_OF_TEXT, Tokenizer


def prune(whole: Tokenizer, used: Iterable[int], name: str) -> Tokenizer:
    """`whole` with only the 256 bytes, the tokens `used` and the tokens they are merged from, under compact ids.

    The order of merges stays. On text of `used` tokens, every merge that `whole` performs gives a token of this
    vocabulary and is still the first one possible, so it is performed here too.
    """
    ranks = merge_ranks(whole.encoding)
    pieces = {bytes([value]) for value in range(256)}
    for id in set(used) - {whole.end_of_text}:
        pieces.update(_merge_steps(whole.piece(id), ranks))
    return from_ids(whole, tuple(sorted(ranks[piece] for piece in pieces)), name)


@thread_safe_cache
def from_ids(whole: Tokenizer, originals: tuple[int, ...], name: str) -> Tokenizer:
    """A vocabulary of these ids of `whole`, in their order, and `<|endoftext|>`; the same object for the same ids."""
    encoding = tiktoken.Encoding(
        name,
        pat_str=split_pattern(whole.encoding),
        mergeable_ranks={whole.piece(original): id for id, original in enumerate(originals)},
        special_tokens={END_OF_TEXT: len(originals)},
    )
    tokenizer = Tokenizer(name, encoding)
    tokenizer.originals = (*originals, whole.end_of_text)
    return tokenizer


def _merge_steps(piece: bytes, ranks: Mapping[bytes, int]) -> Iterator[bytes]:
    """A token and the tokens that byte-pair encoding merges to form it (Sennrich et al. 2016, §3.2)."""
    yield piece
    parts = [piece[at : at + 1] for at in range(len(piece))]
    while len(parts) > 1:
        pairs = {at: ranks[pair] for at in range(len(parts) - 1) if (pair := parts[at] + parts[at + 1]) in ranks}
        if not pairs:
            return
        at = min(pairs, key=pairs.__getitem__)
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
        yield parts[at]
