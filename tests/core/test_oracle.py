"""The article's generation loop: its shape, its multinomial draw, its window, and that a walk has the same tokens."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from core.engine.config import ModelConfig
from core.engine.model import Scale, Transformer, generate, random_model
from core.loading.model import Model
from core.sampling.sampler import Sampler
from core.walk.session import Session

NAMES = ["model1", "model2", "model3", "model4", "model5", "model6"]


@pytest.mark.parametrize("name", NAMES)
def test_generate_appends_to_every_row(name: str, rung_config: Callable[..., ModelConfig]) -> None:
    """[B, T] becomes [B, T + 30] with the prompt in front, past the end of the context."""
    model = random_model(rung_config(name), seed=0)
    ids = torch.randint(0, 97, (5, 3), generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    out = generate(model, ids, 30)
    assert out.shape == (5, 33)
    assert torch.equal(out[:, :3], ids)
    assert out.min() >= 0
    assert out.max() < 97


def test_generate_samples_by_probability(
    stirred: Callable[[ModelConfig], Transformer], rung_config: Callable[..., ModelConfig]
) -> None:
    """Next tokens of 20,000 equal rows are distributed as softmax says: not uniformly, not always the argmax."""
    model = stirred(rung_config("model5", vocab_size=11, embed_dim=8, blocks=1, heads=2))
    prompt = torch.tensor([[3, 1, 4, 1, 5]])
    expected = 20_000 * torch.softmax(model(prompt)[0, -1].double(), dim=0)
    torch.manual_seed(0)
    drawn = generate(model, prompt.repeat(20_000, 1), 1)[:, -1]
    counts = torch.bincount(drawn, minlength=11)
    assert expected.min() > 5
    statistic = ((counts - expected) ** 2 / expected).sum()
    assert (
        torch.special.gammaincc(torch.tensor(5.0, dtype=torch.float64), statistic / 2) > 1e-3
    )  # 10 degrees of freedom


@pytest.mark.parametrize("name", NAMES)
def test_a_walk_draws_the_tokens_of_the_oracle(name: str, small: Callable[..., Model]) -> None:
    """With logits so far apart that each draw is certain, both draw the same 25 tokens, past the end of the window."""
    model = small(name)
    sharp = Transformer(model.transformer.config).requires_grad_(False)
    sharp.load_state_dict(model.transformer.state_dict())
    sharp.scale = Scale(-1e5)  # negative, since with tied weights the likeliest token would be the last one again
    prompt = list(b"walk")
    want = generate(sharp, torch.tensor([prompt]), 25)[0].tolist()
    assert len(set(want[4:])) > 1
    for sampler in (Sampler(), Sampler.of(temperature=0.0)):
        session = Session(replace(model, transformer=sharp), sampler)
        for _ in session.prefill(prompt):
            pass
        for _ in session.generate(25):
            assert session.chart().candidates[0].probability > 1 - 1e-6
        assert [token.id for token in session.tokens] == want


def test_the_oracle_reads_only_the_last_window(rung_config: Callable[..., ModelConfig]) -> None:
    """Tokens before the window are not read: the model gets `tokens[:, -T:]`."""
    model = random_model(rung_config("model5", embed_dim=8, blocks=1, heads=2, context=4), seed=0)
    seen: list[Tensor] = []
    model.register_forward_pre_hook(lambda _, args: seen.append(args[0].clone()))
    ids = torch.arange(10)[None]
    torch.manual_seed(0)
    out = generate(model, ids, 2)
    assert [window.tolist() for window in seen] == [out[:, 6:10].tolist(), out[:, 7:11].tolist()]
