"""The tiny world: its texts in tokens, its truth against what is sampled, its floors against long sums."""

import math
import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import islice, pairwise

import pytest
import torch

from core.loading import tokenizers
from core.sampling.chart import chart as chart_of
from core.sampling.distribution import Distribution
from core.sampling.sampler import Sampler
from core.tokenizers.tokenizer import Tokenizer
from core.world import grammar, tiny, truth
from core.world.machine import Edge, Machine

OAT_MILK = "I prefer oat milk in my coffee.\n"
LONG = 300_000
"""Tokens of a long text."""


@pytest.fixture(scope="module")
def words() -> Tokenizer:
    return tokenizers.load_tokenizer(tiny.NAME)


@pytest.fixture(scope="module")
def machine() -> Machine:
    return tiny.machine()


@pytest.fixture(scope="module")
def run(machine: Machine) -> list[tuple[int, Edge]]:
    """A long text: of each token the state before it, and what it was."""
    said: list[tuple[int, Edge]] = []
    state = 0
    for edge in islice(machine.run(11), LONG):
        said.append((state, edge))
        state = edge.after
    return said


# Texts ---------------------------------------------------------------------------------------------------------------


def test_texts_are_the_tokens_that_the_tokenizers_make_of_them(words: Tokenizer) -> None:
    """Of many in a row, as the cut vocabulary reads them and as cl100k does."""
    texts = list(islice(tiny.texts(5), 1000))
    whole = "".join(map(words.text, texts))
    ids = [id for text in texts for id in text]
    assert words.encode(whole) == ids
    assert tokenizers.load_tokenizer("cl100k").encode(whole) == [words.originals[id] for id in ids]
    assert len({*whole.splitlines()}) > 800


def test_each_text_is_a_line_by_itself(words: Tokenizer) -> None:
    """So what was said before a text changes none of its tokens."""
    for ids in islice(tiny.texts(6), 300):
        text = words.text(ids)
        assert text.count("\n") == 1
        assert text.endswith("\n")
        assert words.encode(text) == ids


def test_every_word_is_in_the_vocabulary(words: Tokenizer) -> None:
    """With the space before it, in the tokens that cl100k has for it; nothing else is in it but bytes and merges."""
    whole = tokenizers.load_tokenizer("cl100k")
    for word in grammar.words(tiny.rules(), tiny.START):
        assert [words.originals[id] for id in words.encode(word)] == whole.encode(word)
    assert words.vocab_size == len(words.originals) < 900
    assert words is tokenizers.load_tokenizer("world") is tiny.vocabulary()


def test_the_articles_sentence_is_one_of_the_texts(words: Tokenizer) -> None:
    """With the probability that its weights give: a text of taste, I, prefer, white, oat milk, coffee."""
    ids, truth, share = words.encode(OAT_MILK), tiny.TrueDistribution(), 1.0
    for at, id in enumerate(ids):
        ahead = truth.after(ids[:at])
        assert ahead
        share *= ahead[id]
    total = 5 + 3 + 4 + 3 + 4 + 2 + 3 + 3 + 3 + 2 + 2 + 2 + 1
    exact = 5 / total * 5 / 13 * 5 / 11 * 3 / 6 * 4 / 9 * 6 / 10
    assert share == pytest.approx(exact, rel=1e-12)


def test_no_text_is_longer_than_it_says(machine: Machine) -> None:
    """The longest way from a beginning to an end; the machine has no way around, so it is found by counting back."""
    longest = [0] * len(machine.edges)
    order = [0]
    seen = {0}
    for state in order:  # breadth first; a state may be met again on a longer way
        for edge in machine.edges[state]:
            if edge.after and edge.after not in seen:
                seen.add(edge.after)
                order.append(edge.after)
    assert len(order) == len(machine.edges)
    for _ in range(tiny.LONGEST + 1):
        longest = [1 + max(longest[edge.after] if edge.after else 0 for edge in edges) for edges in machine.edges]
    assert longest[0] == max(longest) <= tiny.LONGEST
    assert max(map(len, islice(tiny.texts(7), 3000))) <= longest[0]


# Truth ---------------------------------------------------------------------------------------------------------------


def test_shares_are_whole_in_every_state(machine: Machine) -> None:
    """All that may come adds up to one, everywhere, and nothing comes that cannot."""
    for edges in machine.edges:
        assert math.fsum(edge.share for edge in edges) == pytest.approx(1, abs=1e-12)
        assert min(edge.share for edge in edges) > 0
        assert len({edge.token for edge in edges}) == len(edges)


def test_what_is_said_fits_its_probabilities(machine: Machine, run: list[tuple[int, Edge]]) -> None:
    """Pearson's χ² over the states that are met most, within six standard deviations of its mean."""
    met, said = Counter(state for state, _ in run), Counter((state, edge.token) for state, edge in run)
    total, freedom = 0.0, 0
    for state, times in met.most_common(60):
        edges = [edge for edge in machine.edges[state] if times * edge.share >= 5]
        freedom += len(edges) - 1 if len(edges) == len(machine.edges[state]) else len(edges)
        total += sum((said[state, edge.token] - times * edge.share) ** 2 / (times * edge.share) for edge in edges)
    assert freedom > 200
    assert abs(total - freedom) < 6 * math.sqrt(2 * freedom)


def test_states_are_met_as_often_as_is_said(machine: Machine, run: list[tuple[int, Edge]]) -> None:
    """The expected visits of a text, summed over all texts there were."""
    texts = sum(not edge.after for _, edge in run)
    assert LONG / texts == pytest.approx(machine.length, rel=0.01)
    for state, times in Counter(state for state, _ in run).most_common(40):
        wanted = texts * machine.visits[state]
        assert abs(times - wanted) < 5 * math.sqrt(wanted)


def test_the_machine_is_seeded() -> None:
    assert [*islice(tiny.texts(1), 20)] == [*islice(tiny.texts(1), 20)] != [*islice(tiny.texts(2), 20)]


@pytest.fixture(scope="module")
def counted(machine: Machine) -> tuple[Counter[int], Counter[tuple[int, int]]]:
    """How often tokens and pairs of them are said in another long text."""
    other = [edge.token for edge in islice(machine.run(12), 4 * LONG)]
    return Counter(other), Counter(pairwise(other))


def mean(values: list[float]) -> tuple[float, float]:
    """A mean and its standard error."""
    middle = math.fsum(values) / len(values)
    return middle, math.sqrt(math.fsum((value - middle) ** 2 for value in values)) / len(values)


@pytest.mark.parametrize("label", [None, "agreement", "close", "copy", "pronoun"])
def test_floors_are_the_means_of_a_long_text(
    machine: Machine,
    run: list[tuple[int, Edge]],
    counted: tuple[Counter[int], Counter[tuple[int, int]]],
    label: str | None,
) -> None:
    """-ln p of what was said, by counts of tokens and of pairs in another long text and by the true p, within errors.

    The counts are of texts that the machine did not sum over, so they know nothing of its way of summing.
    """
    floors, (single, pairs) = machine.floors(label), counted
    losses = defaultdict[str, list[float]](list)
    for (_, before), (_, edge) in pairwise(run):
        if label is None or edge.label == label:
            losses["unigram"].append(-math.log(single[edge.token] / single.total()))
            losses["last_token"].append(-math.log((pairs[before.token, edge.token] or 0.5) / single[before.token]))
            losses["context"].append(-math.log(edge.share))
    assert len(losses["context"]) > 1000
    for name, values in losses.items():
        middle, error = mean(values)
        assert abs(middle - getattr(floors, name)) < 5 * error + 2e-3, name


def test_who_knows_more_loses_less(machine: Machine) -> None:
    """All of the context beats the last token, which beats none; at labelled places by far."""
    floors = machine.floors()
    assert 0.7 < floors.context < floors.last_token - 1 < floors.unigram - 3
    assert machine.labels() == ("agreement", "close", "copy", "pronoun")
    for label in machine.labels():
        own = machine.floors(label)
        assert own.context < 0.3
        assert own.last_token > 2.4 > own.context
        assert own.unigram > own.last_token


def test_places_that_are_decided_by_the_text_so_far_are_certain(machine: Machine) -> None:
    """A name to be copied, a pronoun and a closing mark have probability one; a verb agrees or there is none."""
    for edges in machine.edges:
        for edge in edges:
            if edge.label in ("copy", "pronoun", "close"):
                assert edge.share == 1
            if edge.label == "agreement":
                said = {each.token for each in edges if each.label == "agreement"}
                assert said == {edge.token}


# The truth after ids that change -------------------------------------------------------------------------------------


def beginnings(words: Tokenizer) -> Iterator[list[int]]:
    """Ids as a walk has them: growing, shrinking, changed in the middle, without sense."""
    numbers = random.Random(1)
    text = [id for ids in islice(tiny.texts(3), 4) for id in ids]
    for end in range(len(text) + 1):
        yield text[:end]
    for _ in range(60):
        end = numbers.randrange(len(text))
        yield text[:end]
        yield [*text[:end], numbers.randrange(words.vocab_size)]
        yield [*text[:end], words.end_of_text]
        yield [words.end_of_text, *text[:end]]
        yield text[numbers.randrange(12) : end]
    yield [*text, *text[:3]]
    yield []


def test_truth_follows_ids_however_they_change(words: Tokenizer) -> None:
    """What one that remembers says is what one says that begins anew."""
    followed = tiny.TrueDistribution()
    kinds = Counter[bool]()
    for ids in beginnings(words):
        fresh, found = tiny.TrueDistribution().after(ids), followed.after(ids)
        assert found == fresh
        assert fresh == followed.after(tuple(ids))
        kinds[fresh is None] += 1
        if fresh:
            assert math.fsum(fresh.values()) == pytest.approx(1, abs=1e-12)
    assert min(kinds.values()) > 30


def test_truth_is_the_machines(machine: Machine) -> None:
    """Through many texts, the shares of the state that they lead to."""
    followed, state, ids = tiny.TrueDistribution(), 0, list[int]()
    for edge in islice(machine.run(9), 400):
        assert followed.after(ids) == {each.token: each.share for each in machine.edges[state]}
        ids.append(edge.token)
        state = edge.after


def test_outside_the_world_nothing_is_true(words: Tokenizer) -> None:
    """What it never says has no truth after it, and neither has an end of text amid words."""
    known = tiny.TrueDistribution()
    for text in ("I prefer oat milk on", "Prefer", " I prefer", "I  prefer", "ich", "\n", "I prefer oat milk\n"):
        assert known.after(words.encode(text)) is None, text
        assert known.after(words.encode("I prefer"))
    end = words.end_of_text
    start = known.after([])
    assert start and start == known.after([end]) == known.after(words.encode(OAT_MILK))
    assert known.after([end, end]) is None
    assert known.after([*words.encode("I prefer"), end]) is None


# Beside a chart ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def distribution(words: Tokenizer) -> Distribution:
    return Distribution(torch.randn(words.vocab_size, generator=torch.Generator().manual_seed(0)) * 3)


def test_ticks_and_divergence_are_those_of_float64(words: Tokenizer, distribution: Distribution) -> None:
    """Each candidate has its true share; KL(true ‖ model) is the sum of p log2(p / q), written out."""
    ids = words.encode("I prefer oat milk in")
    exact = distribution.logits.double().log_softmax(0)
    shares = tiny.TrueDistribution().after(ids)
    known = truth.known(words)
    assert known and shares
    plain = chart_of(distribution, Sampler(), 40, words.piece, taken=words.encode(" my")[0])
    told = known.beside(plain, distribution, ids)
    assert [each.true for each in told.candidates] == [shares.get(each.id, 0.0) for each in plain.candidates]
    assert told.taken and told.taken.true == shares[words.encode(" my")[0]]
    bits = math.fsum(p * (math.log(p) - exact[id].item()) / math.log(2) for id, p in shares.items())
    assert told.divergence_bits == pytest.approx(bits, abs=1e-5)


def test_nothing_diverges_from_itself(words: Tokenizer) -> None:
    """A model that says the truth is 0 bits away from it, never less."""
    ids = words.encode("I")
    shares = tiny.TrueDistribution().after(ids)
    known = truth.known(words)
    assert known and shares
    logits = torch.full((words.vocab_size,), -60.0)
    for id, share in shares.items():
        logits[id] = math.log(share)
    exact = Distribution(logits)
    chart = known.beside(chart_of(exact, Sampler(), 5, words.piece), exact, ids)
    assert chart.divergence_bits == pytest.approx(0, abs=1e-5)
    assert chart.divergence_bits is not None and chart.divergence_bits >= 0
    for each in chart.candidates:
        assert each.true == pytest.approx(each.probability, abs=1e-6)


def test_where_nothing_is_known_a_chart_stays(words: Tokenizer, distribution: Distribution) -> None:
    """After what the world never says, and in any other vocabulary."""
    known = truth.known(words)
    plain = chart_of(distribution, Sampler(), 5, words.piece)
    assert known and known.beside(plain, distribution, words.encode("nonsense")) is plain
    assert truth.known(tokenizers.load_tokenizer("cl100k")) is truth.known(tokenizers.load_tokenizer("bytes")) is None
