"""Slow versions of sampler stages in float64, written from their definitions with loops and full sorts.

Each takes a dict from the ids that are left to their scores, and returns such a dict. Scores of -inf stay.
"""

import math
from collections.abc import Callable, Sequence

Scores = dict[int, float]


def softmax(scores: Scores) -> Scores:
    highest = max(scores.values())
    powers = {id: math.exp(score - highest) for id, score in scores.items()}
    total = math.fsum(powers.values())
    return {id: power / total for id, power in powers.items()}


def in_order(scores: Scores) -> list[int]:
    """Highest first, equal ones by id."""
    return sorted(scores, key=lambda id: (-scores[id], id))


def entropy(shares: Scores) -> float:
    """In nats."""
    return -math.fsum(share * math.log(share) for share in shares.values() if share > 0)


def only(scores: Scores, ids: Sequence[int]) -> Scores:
    return {id: scores[id] for id in sorted(ids)}


def temp(scores: Scores, temperature: float) -> Scores:
    if temperature == 0:
        return only(scores, in_order(scores)[:1])
    return {id: score / temperature for id, score in scores.items()}


def top_k(scores: Scores, k: int) -> Scores:
    return only(scores, in_order(scores)[:k])


def top_p(scores: Scores, p: float) -> Scores:
    shares, kept, mass = softmax(scores), list[int](), 0.0
    for id in in_order(scores):
        kept.append(id)
        mass += shares[id]
        if mass >= p:
            break
    return only(scores, kept)


def min_p(scores: Scores, m: float) -> Scores:
    shares = softmax(scores)
    return only(scores, [id for id in scores if shares[id] >= m * max(shares.values())])


def typical(scores: Scores, p: float) -> Scores:
    """llama.cpp: nearest to the entropy first, until the mass exceeds p."""
    shares = softmax(scores)
    center = entropy(shares)
    distance = {id: abs(-math.log(share) - center) if share > 0 else math.inf for id, share in shares.items()}
    kept, mass = list[int](), 0.0
    for id in sorted(scores, key=lambda id: (distance[id], id)):
        kept.append(id)
        mass += shares[id]
        if mass > p:
            break
    return only(scores, kept)


def top_n_sigma(scores: Scores, n: float) -> Scores:
    finite = [score for score in scores.values() if score > -math.inf]
    mean = math.fsum(finite) / len(finite)
    sigma = math.sqrt(math.fsum((score - mean) ** 2 for score in finite) / len(finite))
    return only(scores, [id for id, score in scores.items() if score >= max(finite) - n * sigma])


def xtc(scores: Scores, chance: float, threshold: float, drawn: float) -> Scores:
    shares, order = softmax(scores), in_order(scores)
    likely = [id for id in order if shares[id] >= threshold]
    if drawn >= chance or threshold > 0.5 or len(likely) < 2:
        return scores
    return only(scores, [id for id in scores if id not in likely[:-1]])


def dynatemp(scores: Scores, reach: float, exponent: float, temperature: float) -> Scores:
    if len(scores) == 1:
        return scores
    share = entropy(softmax(scores)) / math.log(len(scores))
    low, high = max(0.0, temperature - reach), temperature + reach
    return temp(scores, low + (high - low) * share**exponent)


def mirostat(scores: Scores, tau: float, eta: float, surprisals: Sequence[float]) -> Scores:
    mu = 2 * tau
    for bits in surprisals:
        mu = mu - eta * (bits - tau)
    shares = softmax(scores)
    kept = [id for id in scores if shares[id] > 0 and -math.log2(shares[id]) <= mu]
    return only(scores, kept or in_order(scores)[:1])


def penalties(scores: Scores, ids: Sequence[int], repeat: float, frequency: float, presence: float) -> Scores:
    """llama.cpp: all three in one pass."""
    found = dict(scores)
    for id in scores:
        count = list(ids).count(id)
        if count:
            found[id] = found[id] * repeat if found[id] <= 0 else found[id] / repeat
            found[id] -= count * frequency + presence
    return found


def dry(
    scores: Scores, ids: Sequence[int], breaks: Callable[[int], bool], settings: tuple[float, float, int]
) -> Scores:
    """For each token the longest run before an earlier occurrence of it that also ends the text, without breakers."""
    multiplier, base, allowed = settings
    found = dict(scores)
    limit = next((n for n, id in enumerate(reversed(ids)) if breaks(id)), len(ids))
    for id in scores:
        longest = 0
        for at in range(1, len(ids)):
            if ids[at] == id:
                run = 0
                while run < min(at, limit) and ids[at - 1 - run] == ids[-1 - run]:
                    run += 1
                longest = max(longest, run)
        if longest >= allowed and not breaks(id):
            found[id] -= multiplier * base ** (longest - allowed)
    return found


def contrast(scores: Scores, other: Sequence[float], beta: float, alpha: float) -> Scores:
    shares = softmax(scores)
    plausible = [id for id in scores if shares[id] >= alpha * max(shares.values())]
    return {id: (1 + beta) * scores[id] - beta * other[id] for id in plausible}
