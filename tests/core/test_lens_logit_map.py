"""The map of the logit lens: every layer at every position equals a model that is cut off there."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from steps import last, some_ids, step_on, wrapped

from core.causal.question import CausalQuestion
from core.engine.model import Transformer
from core.lenses.logit import LogitLens, LogitMap, logit
from core.loading.model import Model
from core.progress import Progress

Small = Callable[..., Model]


def mapped(
    model: Model, ids: list[int], last_ones: int = 99, asked: CausalQuestion = CausalQuestion(), **step: int
) -> LogitMap:
    answer: LogitLens = last(logit(step_on(model, ids, **step), count=3, last=last_ones, asked=asked))
    assert answer.map
    return answer.map


def cut(transformer: Transformer, blocks: int) -> Transformer:
    """The same model with its first blocks only."""
    shorter = Transformer(replace(transformer.config, blocks=blocks)).eval()
    shorter.load_state_dict({k: v for k, v in transformer.state_dict().items() if k in shorter.state_dict()})
    return shorter


@pytest.mark.parametrize("layout", ["sequential", "parallel", "post_norm"])
@torch.inference_mode()
def test_each_cell_equals_a_model_cut_off_there(layout: str, small: Small, stirred: Callable[..., Transformer]) -> None:
    config = replace(small("model5").transformer.config, layout=layout, blocks=3)
    model, ids = wrapped(stirred(config)), some_ids(6)
    drawn = mapped(model, ids, asked=CausalQuestion(target=7, against=9))
    assert drawn.names == ("embedding", "block 0", "block 1", "block 2")
    whole = model.transformer(torch.tensor([ids]))[0].double().log_softmax(-1)
    for blocks, row in enumerate(drawn.rows):
        logits = cut(model.transformer, blocks)(torch.tensor([ids]))[0].double()
        for position, cell in enumerate(row):
            p = logits[position].softmax(-1)
            assert [each.id for each in cell.top] == p.topk(5).indices.tolist()
            assert [each.probability for each in cell.top] == pytest.approx(p.topk(5).values.tolist(), abs=1e-6)
            assert cell.target_probability == pytest.approx(p[7].item(), abs=1e-6)
            assert cell.target_rank == int((p > p[7]).sum())
            assert cell.difference == pytest.approx((logits[position, 7] - logits[position, 9]).item(), abs=1e-4)
            assert cell.entropy_bits == pytest.approx(-(p * p.log2()).sum().item(), abs=1e-5)
            kl = torch.nn.functional.kl_div(p.log(), whole[position], reduction="sum", log_target=True)
            assert cell.kl_bits == pytest.approx(kl.item() / torch.tensor(2.0).log().item(), abs=1e-5)


def test_the_last_layer_is_the_models_own_output(small: Small) -> None:
    model, ids = small("model6"), some_ids(6)
    drawn = mapped(model, ids)
    logits = model.transformer(torch.tensor([ids]))[0]
    assert [cell.top[0].id for cell in drawn.rows[-1]] == logits.argmax(-1).tolist()
    assert all(cell.kl_bits < 1e-6 for cell in drawn.rows[-1])
    assert drawn.target.id == logits[-1].argmax()
    assert drawn.against.id == logits[-1].topk(2).indices[1]
    assert mapped(model, ids, target=5).against.id == drawn.target.id
    asked = CausalQuestion(against=drawn.target.id)
    assert mapped(model, ids, asked=asked).target.id == drawn.against.id
    assert mapped(model, ids, asked=CausalQuestion(7, measure="logprob")).target.id == 7


def test_a_long_text_has_its_last_positions(small: Small) -> None:
    """They are read in one pass with the positions before them, whatever is in the cache."""
    config = replace(small("model5").transformer.config, context=80)
    model, ids = wrapped(Transformer(config).eval()), some_ids(70)
    whole = mapped(model, ids)
    for known in (True, False):
        step = step_on(model, ids, known=known)
        drawn = last(logit(step, last=40)).map
        assert (drawn.start, len(drawn.pieces)) == (30, 40)
        assert drawn.pieces == whole.pieces[30:]
        for row, expected in zip(drawn.rows, whole.rows, strict=True):
            assert [cell.difference for cell in row] == pytest.approx([c.difference for c in expected[30:]], abs=1e-4)
        assert step.cache is None or step.cache.length == 69


def test_rows_come_from_the_output_down(small: Small) -> None:
    answers = list(logit(step_on(small("model5"), some_ids(4)), last=4))
    filled = [[bool(row) for row in each.map.rows] for each in answers if not isinstance(each, Progress) and each.map]
    assert filled == [[False, False, True], [False, True, True], [True, True, True]]
