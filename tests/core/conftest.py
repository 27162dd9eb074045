"""Fixtures of the tests of `core`: small models, whole-window forwards to compare with, model folders, a recipe."""

import shutil
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import gguf
import pytest
import torch
from torch import Tensor

from core.engine.config import ModelConfig
from core.engine.model import Transformer, random_model
from core.loading import catalog, ladder, models
from core.loading.checkpoints.recipe import Recipe
from core.loading.choice import Hyperparameters, ModelChoice
from core.loading.model import Model
from core.training.dataset import REFERENCE

Oracle = Callable[[Transformer, Tensor], Tensor]


@pytest.fixture(scope="session")
def stirred() -> Callable[[ModelConfig], Transformer]:
    """A model in which every parameter counts: untrained ones have zero biases and norms that do nothing."""

    def make(config: ModelConfig, seed: int = 0) -> Transformer:
        model = random_model(config, seed)
        numbers = torch.Generator().manual_seed(seed + 1)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=numbers))
        return model

    return make


@pytest.fixture(scope="session")
def rung_config() -> Callable[..., ModelConfig]:
    """The config of a rung with some of its hyperparameters changed, over 97 ids."""

    def make(name: str, vocab_size: int = 97, **changes: int) -> ModelConfig:
        return ladder.rung(name, vocab_size, Hyperparameters(**changes)).config

    return make


@pytest.fixture(scope="session")
def small(stirred: Callable[[ModelConfig], Transformer]) -> Callable[..., Model]:
    """A rung over the bytes tokenizer, small enough for hundreds of whole-window forwards, with stirred weights."""
    loaded: dict[tuple[str, str], Model] = {}

    def make(name: str = "model5", dtype: str = "fp32") -> Model:
        if (name, dtype) not in loaded:
            sizes = {"embed_dim": 12, "context": 6}
            if name in ("model4", "model5", "model6"):
                sizes["blocks"] = 2
            if name in ("model5", "model6"):
                sizes["heads"] = {"model5": 3, "model6": 2}[name]
            choice = ModelChoice(
                name=name, tokenizer="bytes", changes=Hyperparameters(**sizes), device="cpu", dtype=dtype
            )
            model = models.load_model(choice)
            weights = stirred(model.transformer.config).state_dict()
            model.transformer.load_state_dict(weights)  # copies, so device and dtype stay
            loaded[name, dtype] = model
        return loaded[name, dtype]

    return make


@pytest.fixture(scope="session")
def oracle() -> Oracle:
    """Logits after every position as the article computes them: the last T tokens go through the whole model."""

    @torch.inference_mode()
    def logits(model: Transformer, ids: Tensor) -> Tensor:
        context = model.config.context
        each = [model(ids[:, max(0, end - context) : end])[:, -1] for end in range(1, ids.shape[1] + 1)]
        return torch.stack(each, dim=1)  # [B, T, V]

    return logits


@pytest.fixture(scope="session")
def after(oracle: Oracle) -> Callable[[Transformer, Sequence[int]], Tensor]:
    """Logits of the token after all of `ids`, [V], by the oracle."""

    @torch.inference_mode()
    def logits(model: Transformer, ids: Sequence[int]) -> Tensor:
        window = torch.tensor([list(ids)[-model.config.context :]], device=model.device)
        return model(window)[0, -1]

    return logits


@pytest.fixture(scope="session")
def llama_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder that no test changes."""
    from gguf_files import saved

    folder = tmp_path_factory.mktemp("llama")
    saved(folder)
    return folder


@pytest.fixture
def llama(llama_folder: Path, tmp_path: Path) -> Path:
    """A copy of a model folder that a test may damage."""
    return Path(shutil.copytree(llama_folder, tmp_path / "llama"))


@pytest.fixture(scope="session")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder that no test changes."""
    import transformers

    folder = tmp_path_factory.mktemp("gpt2")
    config = transformers.GPT2Config(vocab_size=61, n_embd=24, n_layer=2, n_head=3, n_positions=16)
    transformers.GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def family_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of the reference model of a case, wide enough to be packed, which no test changes."""
    from reference_models import reference, wide

    @cache
    def folder(case: str) -> Path:
        path = tmp_path_factory.mktemp(case)
        reference(case, **wide(case)).save_pretrained(path)
        return path

    return folder


@pytest.fixture(scope="session")
def smollm2_file() -> gguf.GGUFReader:
    """What the gguf package reads of the file of SmolLM2, in seconds."""
    location = catalog.find("smollm2")
    assert location
    return gguf.GGUFReader(location.path)


@pytest.fixture(scope="session")
def story(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text file to train on."""
    path = tmp_path_factory.mktemp("texts") / "story.txt"
    path.write_text(REFERENCE)
    return path


@pytest.fixture
def recipe(story: Path) -> Recipe:
    """A training of a fraction of a second: 12 steps over bytes, evaluated at 0, 5, 10 and 12."""
    changes = Hyperparameters(embed_dim=16, context=12, blocks=2)
    return Recipe(
        rung="model5", changes=changes, text=str(story), vocabulary="bytes", steps=12, batch=4, warmup=3, every=5
    )
