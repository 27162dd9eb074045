"""What a mask costs beside a step, and what a draft model gains: `constraints.py [--rounds 3] [a] [b]`.

(a) a token of a GPT-2-sized vocabulary (V = 100,277) under a constraint against a free one, in turns.
(b) SmolLM2 in fp32 alone, against the same with SmolLM2 in its stored format as its draft, in turns.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial

from core.constraints.matcher import Matcher
from core.generation.speculative import Speculation
from core.generation.token import Token
from core.loading.choice import ModelChoice
from core.loading.draft import load_draft
from core.loading.models import load_model
from core.sampling.sampler import Sampler
from core.sampling.stages.json_schema import JsonSchema
from core.sampling.stages.regex import Regex
from core.walk.session import Session

PROMPT = "I prefer oat milk in"
SCHEMA = json.dumps({"type": "array", "items": {"type": "string"}})


def seconds(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def masks(rounds: int) -> None:
    model = load_model(ModelChoice(name="model1", device="cpu"))
    tokens = model.tokenizer
    ids = tokens.encode(PROMPT)
    print(f"first matcher of V = {tokens.vocab_size:,}: {seconds(lambda: Matcher('regex', 'a', tokens)):.2f} s")
    for name, stage in (("regex", Regex(text=r"([A-Z][a-z]+ ?)+\.")), ("JSON", JsonSchema(text=SCHEMA))):
        free, held = list[float](), list[float]()
        for seed in range(rounds):
            for sampler, times in ((Sampler(seed=seed), free), (Sampler(seed=seed).with_stage(stage), held)):
                walk = Session(model, sampler)
                list(walk.prefill(ids))
                walk.step()
                times += [seconds(walk.step) for _ in range(30)]
        matcher, drawn = Matcher(stage.KIND, stage.text, tokens), [token.id for token in walk.tokens[len(ids) :]]
        times = [seconds(partial(matcher.allowed, drawn[:length])) for length in range(len(drawn))]
        ratio = statistics.median(held) / statistics.median(free)
        print(f"(a) {name}: mask {1e3 * statistics.median(times):.2f} ms; a token held / free: {ratio:.2f}")


def drafts(rounds: int) -> None:
    target = load_model(ModelChoice(name="smollm2", device="cpu", dtype="fp32"))
    draft = load_draft(target, "smollm2")
    ids = target.tokenizer.encode(PROMPT)
    start = [Token(id, target.tokenizer.piece(id)) for id in ids]
    for count in (2, 4, 8):
        ratios, judged, accepted = list[float](), 0, 0
        for seed in range(rounds):
            walk = Session(target, Sampler(seed=seed))
            list(walk.prefill(ids))
            text = Speculation(target, draft, start, len(ids), Sampler(seed=seed), count)
            text.round(2)
            alone = statistics.mean(seconds(walk.step) for _ in range(24))
            began, before = time.perf_counter(), len(text.tokens)
            while len(text.tokens) < before + 24 and not text.ended:
                found = text.round(count + 1)
                judged, accepted = judged + found.judged, accepted + found.accepted
            ratios.append(alone * (len(text.tokens) - before) / (time.perf_counter() - began))
        gain, share = statistics.median(ratios), 100 * accepted / judged
        print(f"(b) {count} proposals: {share:.0f}% accepted, tokens a second with / without: {gain:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=["a", "b"])
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    for part, run in (("a", masks), ("b", drafts)):
        if part in given.parts:
            run(given.rounds)


if __name__ == "__main__":
    main()
