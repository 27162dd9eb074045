"""The green list of a watermark (Kirchenbauer et al. 2023), with the hashes of transformers (5.24, `watermarking.py`).

The ids before a position choose a share of the vocabulary, the green list. A watermarked text draws from it more often
than chance, which a z-test on the ids alone finds.
"""

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import torch

Scheme = Literal["lefthash", "selfhash"]
TABLE = 1_000_003
KEPT = 256
"""Green lists that are kept, V bytes each at most 32 MB for V = 128,000."""


@dataclass(frozen=True, slots=True)
class WatermarkScore:
    """How many tokens of a text are in the green lists of those before them."""

    green: tuple[bool | None, ...]
    """Of each token; None for the first ones, which are not scored."""
    scored: int
    hits: int
    """Green tokens among the scored ones."""
    ratio: float
    """γ, the share of the vocabulary in each list."""

    @property
    def z(self) -> float:
        """(hits - γ n) / √(n γ (1 - γ)) (eq. 3); 0 for a text of which nothing is scored."""
        n = self.scored
        return (self.hits - self.ratio * n) / math.sqrt(n * self.ratio * (1 - self.ratio)) if n else 0.0

    @property
    def p_value(self) -> float:
        """The probability of at least this z by chance."""
        return 0.5 * math.erfc(self.z / math.sqrt(2))


class Greenlists:
    """The green lists of one key. `width` ids before a position choose its list, with `selfhash` the token too."""

    def __init__(self, vocab_size: int, ratio: float, scheme: Scheme, width: int, key: int) -> None:
        self.ratio = ratio
        self.needed = width + 1 - (scheme == "selfhash")
        """Ids in a row that are needed to score the last of them."""
        self._vocab_size = vocab_size
        self._selfhash = scheme == "selfhash"
        self._width = width
        self._key = key
        self._lists: OrderedDict[int, Any] = OrderedDict()

    def green(self, ids: Sequence[int]) -> Any:
        """The list that `ids` choose, [V] bool; read only. With selfhash the last of them is the token itself."""
        seed = self._seed(ids[-self._width :])
        if seed not in self._lists:
            generator = torch.Generator().manual_seed(seed)
            chosen = torch.randperm(self._vocab_size, generator=generator)[: int(self._vocab_size * self.ratio)]
            mask = np.zeros(self._vocab_size, dtype=bool)
            mask[chosen.numpy()] = True
            mask.flags.writeable = False
            self._lists[seed] = mask
            if len(self._lists) > KEPT:
                self._lists.popitem(last=False)
        return self._lists[seed]

    def _seed(self, ids: Sequence[int]) -> int:
        if not self._selfhash:
            return self._key * ids[-1] % (2**64 - 1)
        table = _table(self._key)
        a = torch.tensor([int(table[id % TABLE]) + 1 for id in ids])
        product = self._key * a * (int(table[ids[-1] % TABLE]) + 1)  # wraps at 64 bits, as in transformers
        return int(product.min().item()) % (2**64 - 1)

    def score(self, ids: Sequence[int]) -> WatermarkScore:
        """Which of `ids` are green, each occurrence counted, as `WatermarkDetector` does."""
        marks = list[bool | None]([None] * min(self.needed - 1, len(ids)))
        for at in range(self.needed - 1, len(ids)):
            before = ids[at + 1 - self.needed : at + 1] if self._selfhash else ids[at + 1 - self.needed : at]
            marks.append(bool(self.green(before)[ids[at]]))
        scored = [mark for mark in marks if mark is not None]
        return WatermarkScore(tuple(marks), len(scored), sum(scored), self.ratio)


@lru_cache(maxsize=2)
def _table(key: int) -> Any:
    """A fixed permutation of `TABLE` numbers."""
    return torch.randperm(TABLE, generator=torch.Generator().manual_seed(key)).numpy()


@lru_cache(maxsize=4)
def greenlists(vocab_size: int, ratio: float, scheme: Scheme, width: int, key: int) -> Greenlists:
    """The green lists of these settings, which are kept."""
    return Greenlists(vocab_size, ratio, scheme, width, key)
