"""The tiny world: its tokens; its probabilities and floors compared with long samples; the truth beside a chart."""

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
from core.world.automaton import Automaton, Edge

OAT_MILK = "I prefer oat milk in my coffee.\n"
LONG = 300_000
"""Tokens of a long sample."""


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return tokenizers.load_tokenizer(tiny.NAME)


@pytest.fixture(scope="module")
def automaton() -> Automaton:
    return tiny.automaton()


@pytest.fixture(scope="module")
def run(automaton: Automaton) -> list[tuple[int, Edge]]:
    """A long sample: the state before each token, and the edge of the token."""
    pairs: list[tuple[int, Edge]] = []
    state = 0
    for edge in islice(automaton.sample(11), LONG):
        pairs.append((state, edge))
        state = edge.next_state
    return pairs


# Texts ---------------------------------------------------------------------------------------------------------------


def test_sampled_tokens_are_those_of_the_tokenizer(tokenizer: Tokenizer) -> None:
    """Encoding 1,000 texts in a row gives the sampled ids, and the same tokens with cl100k."""
    texts = list(islice(tiny.texts(5), 1000))
    whole = "".join(map(tokenizer.text, texts))
    ids = [id for text in texts for id in text]
    assert tokenizer.encode(whole) == ids
    assert tokenizers.load_tokenizer("cl100k").encode(whole) == [tokenizer.originals[id] for id in ids]
    assert len({*whole.splitlines()}) > 800


def test_each_text_is_one_line(tokenizer: Tokenizer) -> None:
    """So its tokens do not depend on the texts before it."""
    for ids in islice(tiny.texts(6), 300):
        text = tokenizer.text(ids)
        assert text.count("\n") == 1
        assert text.endswith("\n")
        assert tokenizer.encode(text) == ids


def test_every_word_has_the_tokens_of_cl100k(tokenizer: Tokenizer) -> None:
    """With the space before it; the tokenizer has fewer than 900 ids."""
    whole = tokenizers.load_tokenizer("cl100k")
    for word in grammar.terminals(tiny.rules(), tiny.START):
        assert [tokenizer.originals[id] for id in tokenizer.encode(word)] == whole.encode(word)
    assert tokenizer.vocab_size == len(tokenizer.originals) < 900
    assert tokenizer is tokenizers.load_tokenizer("world") is tiny.vocabulary()


def test_the_articles_sentence_is_one_of_the_texts(tokenizer: Tokenizer) -> None:
    """Its probability is the product of its alternatives': taste, I, prefer, white, oat milk, coffee."""
    ids, truth, probability = tokenizer.encode(OAT_MILK), tiny.TrueDistribution(), 1.0
    for at, id in enumerate(ids):
        true = truth.after(ids[:at])
        assert true
        probability *= true[id]
    total = 5 + 3 + 4 + 3 + 4 + 2 + 3 + 3 + 3 + 2 + 2 + 2 + 1
    exact = 5 / total * 5 / 13 * 5 / 11 * 3 / 6 * 4 / 9 * 6 / 10
    assert probability == pytest.approx(exact, rel=1e-12)


def test_no_text_is_longer_than_max_length(automaton: Automaton) -> None:
    """The longest path from state 0 back to it. The automaton has no other cycles, so repeated relaxation finds it."""
    longest = [0] * len(automaton.edges)
    order = [0]
    seen = {0}
    for state in order:  # breadth first, over all reachable states
        for edge in automaton.edges[state]:
            if edge.next_state and edge.next_state not in seen:
                seen.add(edge.next_state)
                order.append(edge.next_state)
    assert len(order) == len(automaton.edges)
    for _ in range(tiny.MAX_LENGTH + 1):
        longest = [
            1 + max(longest[edge.next_state] if edge.next_state else 0 for edge in edges) for edges in automaton.edges
        ]
    assert longest[0] == max(longest) <= tiny.MAX_LENGTH
    assert max(map(len, islice(tiny.texts(7), 3000))) <= longest[0]


# Truth ---------------------------------------------------------------------------------------------------------------


def test_the_probabilities_of_every_state_sum_to_1(automaton: Automaton) -> None:
    """Each is above 0, and no token has two edges."""
    for edges in automaton.edges:
        assert math.fsum(edge.probability for edge in edges) == pytest.approx(1, abs=1e-12)
        assert min(edge.probability for edge in edges) > 0
        assert len({edge.token for edge in edges}) == len(edges)


def test_sampled_tokens_fit_their_probabilities(automaton: Automaton, run: list[tuple[int, Edge]]) -> None:
    """Pearson's χ² over the most frequent states is within six standard deviations of its mean."""
    visits, tokens = Counter(state for state, _ in run), Counter((state, edge.token) for state, edge in run)
    total, freedom = 0.0, 0
    for state, times in visits.most_common(60):
        edges = [edge for edge in automaton.edges[state] if times * edge.probability >= 5]
        freedom += len(edges) - 1 if len(edges) == len(automaton.edges[state]) else len(edges)
        total += sum(
            (tokens[state, edge.token] - times * edge.probability) ** 2 / (times * edge.probability) for edge in edges
        )
    assert freedom > 200
    assert abs(total - freedom) < 6 * math.sqrt(2 * freedom)


def test_states_are_visited_as_often_as_expected(automaton: Automaton, run: list[tuple[int, Edge]]) -> None:
    """Expected visits per text, times the number of texts; within five standard errors for frequent states."""
    texts = sum(not edge.next_state for _, edge in run)
    assert LONG / texts == pytest.approx(automaton.mean_length, rel=0.01)
    for state, times in Counter(state for state, _ in run).most_common(40):
        expected = texts * automaton.visits[state]
        assert abs(times - expected) < 5 * math.sqrt(expected)


def test_samples_depend_on_the_seed() -> None:
    assert [*islice(tiny.texts(1), 20)] == [*islice(tiny.texts(1), 20)] != [*islice(tiny.texts(2), 20)]


@pytest.fixture(scope="module")
def counted(automaton: Automaton) -> tuple[Counter[int], Counter[tuple[int, int]]]:
    """Counts of tokens and of pairs of neighbors in another, longer sample."""
    other = [edge.token for edge in islice(automaton.sample(12), 4 * LONG)]
    return Counter(other), Counter(pairwise(other))


def mean(values: list[float]) -> tuple[float, float]:
    """A mean and its standard error."""
    middle = math.fsum(values) / len(values)
    return middle, math.sqrt(math.fsum((value - middle) ** 2 for value in values)) / len(values)


@pytest.mark.parametrize("label", [None, "agreement", "close", "copy", "pronoun"])
def test_floors_equal_the_mean_losses_of_a_long_sample(
    automaton: Automaton,
    run: list[tuple[int, Edge]],
    counted: tuple[Counter[int], Counter[tuple[int, int]]],
    label: str | None,
) -> None:
    """Mean -ln p, where p is from counts of tokens and of pairs in another sample, or the true one.

    The tolerance is five standard errors, plus 0.002 nats for the counts, which are estimates too.
    """
    floors, (single, pairs) = automaton.floors(label), counted
    losses = defaultdict[str, list[float]](list)
    for (_, before), (_, edge) in pairwise(run):
        if label is None or edge.label == label:
            losses["unigram"].append(-math.log(single[edge.token] / single.total()))
            losses["last_token"].append(-math.log((pairs[before.token, edge.token] or 0.5) / single[before.token]))
            losses["context"].append(-math.log(edge.probability))
    assert len(losses["context"]) > 1000
    for name, values in losses.items():
        middle, error = mean(values)
        assert abs(middle - getattr(floors, name)) < 5 * error + 2e-3, name


def test_floors_fall_with_more_context(automaton: Automaton) -> None:
    """All of the text gives a lower floor than the last token, which gives a lower one than none; so for each label."""
    floors = automaton.floors()
    assert 0.7 < floors.context < floors.last_token - 1 < floors.unigram - 3
    assert automaton.labels() == ("agreement", "close", "copy", "pronoun")
    for label in automaton.labels():
        own = automaton.floors(label)
        assert own.context < 0.3
        assert own.last_token > 2.4 > own.context
        assert own.unigram > own.last_token


def test_labeled_tokens_are_decided_by_the_text_before(automaton: Automaton) -> None:
    """Copies, pronouns and closing marks have probability 1; where a verb can come, it has one number only."""
    for edges in automaton.edges:
        for edge in edges:
            if edge.label in ("copy", "pronoun", "close"):
                assert edge.probability == 1
            if edge.label == "agreement":
                verbs = {each.token for each in edges if each.label == "agreement"}
                assert verbs == {edge.token}


# The truth after ids that change -------------------------------------------------------------------------------------


def beginnings(tokenizer: Tokenizer) -> Iterator[list[int]]:
    """Ids as in a walk: growing, shrinking, changed in the middle, or impossible in the grammar."""
    generator = random.Random(1)
    text = [id for ids in islice(tiny.texts(3), 4) for id in ids]
    for end in range(len(text) + 1):
        yield text[:end]
    for _ in range(60):
        end = generator.randrange(len(text))
        yield text[:end]
        yield [*text[:end], generator.randrange(tokenizer.vocab_size)]
        yield [*text[:end], tokenizer.end_of_text]
        yield [tokenizer.end_of_text, *text[:end]]
        yield text[generator.randrange(12) : end]
    yield [*text, *text[:3]]
    yield []


def test_the_true_distribution_follows_ids_that_change(tokenizer: Tokenizer) -> None:
    """An instance that keeps belief states between calls gives the same as a new one."""
    followed = tiny.TrueDistribution()
    kinds = Counter[bool]()
    for ids in beginnings(tokenizer):
        fresh, found = tiny.TrueDistribution().after(ids), followed.after(ids)
        assert found == fresh
        assert fresh == followed.after(tuple(ids))
        kinds[fresh is None] += 1
        if fresh:
            assert math.fsum(fresh.values()) == pytest.approx(1, abs=1e-12)
    assert min(kinds.values()) > 30


def test_the_true_distribution_equals_the_edges_of_the_automaton(automaton: Automaton) -> None:
    """After each token of several texts."""
    followed, state, ids = tiny.TrueDistribution(), 0, list[int]()
    for edge in islice(automaton.sample(9), 400):
        assert followed.after(ids) == {each.token: each.probability for each in automaton.edges[state]}
        ids.append(edge.token)
        state = edge.next_state


def test_ids_that_the_grammar_cannot_produce_have_no_true_distribution(tokenizer: Tokenizer) -> None:
    """Neither has <|endoftext|> at any position but the first."""
    known = tiny.TrueDistribution()
    for text in ("I prefer oat milk on", "Prefer", " I prefer", "I  prefer", "ich", "\n", "I prefer oat milk\n"):
        assert known.after(tokenizer.encode(text)) is None, text
        assert known.after(tokenizer.encode("I prefer"))
    end = tokenizer.end_of_text
    start = known.after([])
    assert start and start == known.after([end]) == known.after(tokenizer.encode(OAT_MILK))
    assert known.after([end, end]) is None
    assert known.after([*tokenizer.encode("I prefer"), end]) is None


# Beside a chart ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def distribution(tokenizer: Tokenizer) -> Distribution:
    return Distribution(torch.randn(tokenizer.vocab_size, generator=torch.Generator().manual_seed(0)) * 3)


def test_true_probabilities_and_kl_equal_those_in_float64(tokenizer: Tokenizer, distribution: Distribution) -> None:
    """KL(true ‖ model) in bits is written out as Σ p log2(p / q)."""
    ids = tokenizer.encode("I prefer oat milk in")
    exact = distribution.logits.double().log_softmax(0)
    true = tiny.TrueDistribution().after(ids)
    known = truth.known_truth(tokenizer)
    assert known and true
    plain = chart_of(distribution, Sampler(), 40, tokenizer.piece, taken=tokenizer.encode(" my")[0])
    annotated = known.annotate(plain, distribution, ids)
    assert [each.true for each in annotated.candidates] == [true.get(each.id, 0.0) for each in plain.candidates]
    assert annotated.taken and annotated.taken.true == true[tokenizer.encode(" my")[0]]
    bits = math.fsum(p * (math.log(p) - exact[id].item()) / math.log(2) for id, p in true.items())
    assert annotated.divergence_bits == pytest.approx(bits, abs=1e-5)


def test_the_true_distribution_has_a_kl_of_0_to_itself(tokenizer: Tokenizer) -> None:
    """Rounding never makes it negative."""
    ids = tokenizer.encode("I")
    true = tiny.TrueDistribution().after(ids)
    known = truth.known_truth(tokenizer)
    assert known and true
    logits = torch.full((tokenizer.vocab_size,), -60.0)
    for id, p in true.items():
        logits[id] = math.log(p)
    exact = Distribution(logits)
    chart = known.annotate(chart_of(exact, Sampler(), 5, tokenizer.piece), exact, ids)
    assert chart.divergence_bits == pytest.approx(0, abs=1e-5)
    assert chart.divergence_bits is not None and chart.divergence_bits >= 0
    for each in chart.candidates:
        assert each.true == pytest.approx(each.probability, abs=1e-6)


def test_a_chart_without_a_known_truth_is_not_changed(tokenizer: Tokenizer, distribution: Distribution) -> None:
    """After ids that the grammar cannot produce, and with any other tokenizer."""
    known = truth.known_truth(tokenizer)
    plain = chart_of(distribution, Sampler(), 5, tokenizer.piece)
    assert known and known.annotate(plain, distribution, tokenizer.encode("nonsense")) is plain
    assert (
        truth.known_truth(tokenizers.load_tokenizer("cl100k"))
        is truth.known_truth(tokenizers.load_tokenizer("bytes"))
        is None
    )
