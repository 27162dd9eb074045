"""Owns the options that several commands share, said once; imports nothing heavy."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Annotated, Any, get_type_hints

import typer

from core.engine.activation import CHOICES_TEXT, choose
from core.errors import UserError
from core.loading.choice import Hyperparameters, ModelChoice
from core.sampling.sampler import ORDERS, Sampler


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """What decides which numbers a model computes."""

    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="A rung (model1 … model6), its trained twin (model1-trained …), one you trained, smollm2, gpt2, a "
            "folder, a .gguf file or a Hugging Face id. By itself model1; the app opens on model5-trained.",
        ),
    ] = None
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto"
    dtype: Annotated[
        str, typer.Option(help="auto, fp32, bf16 or fp16; int8 or int4 for the weights of a model from files.")
    ] = "auto"
    weights_seed: Annotated[int, typer.Option(help="Seed of the random weights.")] = 0
    embed_dim: Annotated[int | None, typer.Option(help="d, the width of the residual stream.")] = None
    context: Annotated[int | None, typer.Option(help="T, how many of the last tokens the model sees.")] = None
    blocks: Annotated[int | None, typer.Option(help="N, stacked blocks (model3 on).")] = None
    heads: Annotated[int | None, typer.Option(help="Attention heads in a block (model3 on).")] = None
    activation: Annotated[str | None, typer.Option(help=f"{CHOICES_TEXT}.")] = None
    tokenizer: Annotated[str, typer.Option(help="cl100k, bytes or world (of cl100k what the tiny world says).")] = (
        "cl100k"
    )
    special: Annotated[bool, typer.Option("--special", help="Read <|endoftext|> and the like as tokens.")] = False
    chat: Annotated[
        bool, typer.Option("--chat", help="Put the prompt as a message, by the chat template of the model's files.")
    ] = False

    def choice(self) -> ModelChoice:
        """The same as core says it. Raises `UserError` for an activation that does not exist."""
        changes = Hyperparameters(
            embed_dim=self.embed_dim,
            context=self.context,
            blocks=self.blocks,
            heads=self.heads,
            activation=choose(self.activation),
        )
        return ModelChoice(
            name=ModelChoice().name if self.model is None else self.model,
            tokenizer=self.tokenizer,
            weights_seed=self.weights_seed,
            changes=changes,
            device=self.device,
            dtype=self.dtype,
        )


@dataclass(frozen=True, slots=True)
class SamplerOptions:
    """How tokens are drawn."""

    temperature: Annotated[float, typer.Option("--temperature", "-t", help="0 is greedy.")] = 1.0
    top_k: Annotated[int, typer.Option(help="Keep the k likeliest tokens; 0 keeps all.")] = 0
    top_p: Annotated[float, typer.Option(help="Keep the likeliest tokens that hold this share; 1 keeps all.")] = 1.0
    min_p: Annotated[float, typer.Option(help="Keep tokens at least this share as likely as the first; 0 is off.")] = (
        0.0
    )
    order: Annotated[
        str, typer.Option(help="temperature-first (as transformers) or temperature-last (as llama.cpp).")
    ] = "temperature-first"
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0
    greedy: Annotated[bool, typer.Option("--greedy", help="Always the likeliest token, as --temperature 0.")] = False

    def sampler(self) -> Sampler:
        """The same as core says it. Raises `UserError` for a value out of its range."""
        names = {order.replace(" ", "-"): order for order in ORDERS}
        if self.order not in names:
            raise UserError(f"no order {self.order!r}; choose {' or '.join(names)}")
        return Sampler(
            temperature=0.0 if self.greedy else self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            min_p=self.min_p,
            order=names[self.order],
            seed=self.seed,
        )


def shared(command: Callable[..., None]) -> Callable[..., None]:
    """Let `command` take a dataclass of options as one argument, and typer see each of its fields."""
    hints = get_type_hints(command, include_extras=True)
    groups = {name: hint for name, hint in hints.items() if hint in (ModelOptions, SamplerOptions)}
    own = [p.replace(annotation=hints[name]) for name, p in _parameters(command).items() if name not in groups]
    options = {
        name: inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint)
        for group in groups.values()
        for name, hint, default in _options(group)
    }

    def run(**given: Any) -> None:
        filled = {
            key: group(**{name: given.pop(name) for name, _, _ in _options(group)}) for key, group in groups.items()
        }
        command(**given, **filled)

    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__signature__ = inspect.Signature([*own, *options.values()])  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in (*own, *options.values())}
    return run


def _parameters(command: Callable[..., None]) -> dict[str, inspect.Parameter]:
    return {
        name: parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in inspect.signature(command).parameters.items()
    }


def _options(group: type) -> list[tuple[str, Any, Any]]:
    hints = get_type_hints(group, include_extras=True)
    return [(field.name, hints[field.name], field.default) for field in fields(group)]
