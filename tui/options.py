"""The options that several commands share, and how a command takes a group of them. Needs no torch."""

import inspect
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from core.bounded import exists, expanded
from core.engine.activation import CHOICES_TEXT, choose
from core.errors import Option, UserError
from core.language import _
from core.loading.adapters import files as adapters
from core.loading.choice import Hyperparameters, ModelChoice
from core.loading.revisions import with_revision
from core.remote.address import ENGINES, is_address
from core.sampling import constraint
from core.sampling.sampler import ORDERS, Sampler
from core.sampling.stages.constraint import Constraint

if TYPE_CHECKING:
    from core.activations.patch import Patch

TOKENIZER_HELP = (
    "cl100k (GPT-4's), bytes (one token per byte) or world (the tokens of cl100k that the tiny world uses)."
)
SPECIAL_HELP = "Read <|endoftext|> and other special tokens in the text as one token each."

Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
EmbedDim = Annotated[int | None, typer.Option(help="d, the width of the residual stream.")]
Context = Annotated[int | None, typer.Option(help="T, how many of the last tokens the model sees.")]
Blocks = Annotated[int | None, typer.Option(help="N, the number of stacked blocks (model3 to model6).")]
Heads = Annotated[int | None, typer.Option(help="Attention heads per block (model3 to model6).")]
ActivationName = Annotated[str | None, typer.Option(help=f"Activation function: {CHOICES_TEXT}.")]
Engine = Annotated[
    str, typer.Option(help="With the address of an engine: auto, vllm, llama (llama-server), sglang or openai.")
]
ServedModel = Annotated[
    str, typer.Option(help="With the address of an engine that serves several models: the name of one.")
]
Dtype = Annotated[
    str,
    typer.Option(help="Number format: auto, fp32, bf16 or fp16; of files also int8, int4; of GGUF files stored."),
]
Lora = Annotated[
    str | None,
    typer.Option(
        metavar="PATH[=SCALE]",
        help="A LoRA adapter for a model from files: a folder of peft, a .gguf adapter or a Hugging Face id "
        "(owner/name). SCALE is 1 if absent.",
    ),
]
Steer = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FILE[=STRENGTH]",
        help="A steering vector (.safetensors, or llama.cpp's .gguf) that is added to the residual stream, times "
        "STRENGTH, 1 if absent. May be given again.",
    ),
]


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """Which model runs, in which sizes, on which device and in which number format."""

    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="model1 … model6 (random weights), model1-trained … model6-trained, a name you gave to train --out, "
            "smollm2, gpt2, a folder, a .gguf file, a Hugging Face id (owner/name, owner/name@revision) or the address "
            "of an engine (http://host:port). "
            "Default: model1; in the app model5-trained.",
        ),
    ] = None
    revision: Annotated[
        str | None,
        typer.Option(help="Branch, tag or commit of a Hugging Face id, such as step1000 of EleutherAI/pythia-70m."),
    ] = None
    engine: Engine = "auto"
    served_model: ServedModel = ""
    lora: Lora = None
    steer: Steer = None
    device: Device = "auto"
    dtype: Dtype = "auto"
    weights_seed: Annotated[int, typer.Option(help="Seed of the random weights.")] = 0
    embed_dim: EmbedDim = None
    context: Context = None
    blocks: Blocks = None
    heads: Heads = None
    activation: ActivationName = None
    tokenizer: Annotated[str, typer.Option(help=f"Of a model with random weights: {TOKENIZER_HELP}")] = "cl100k"
    special: Annotated[bool, typer.Option("--special", help=SPECIAL_HELP)] = False
    chat: Annotated[
        bool, typer.Option("--chat", help="Wrap the prompt as a user's message by the model's chat template.")
    ] = False

    system: Annotated[
        str, typer.Option(help="With --chat: a system message before the prompt, in place of the template's own.")
    ] = ""

    def choice(self) -> ModelChoice:
        """The choice these options mean. Raises `UserError` for an unknown activation or an impossible revision."""
        changes = Hyperparameters(
            embed_dim=self.embed_dim,
            context=self.context,
            blocks=self.blocks,
            heads=self.heads,
            activation=choose(self.activation),
        )
        if self.system and not self.chat:
            raise UserError(
                _("{system} is a message of a chat template; give {chat} too, or leave it out"),
                system=Option("system"),
                chat=Option("chat"),
            )
        check_engine(self.model or "", self.engine, self.served_model)
        adapter, scale = lora_option(self.lora)
        return ModelChoice(
            lora=adapter,
            lora_scale=scale,
            name=with_revision(ModelChoice().name if self.model is None else self.model, self.revision),
            tokenizer=self.tokenizer,
            weights_seed=self.weights_seed,
            changes=changes,
            device=self.device,
            dtype=self.dtype,
            engine=self.engine,
            served_model=self.served_model,
        )

    def patches(self) -> "tuple[Patch, ...]":
        """The steering vectors as patches. Raises `UserError` for a file that holds none and an impossible strength."""
        if not self.steer:
            return ()
        from core.activations.patch import Patch  # noqa: PLC0415  # most commands steer nothing
        from core.causal.vector_files import read_vector  # noqa: PLC0415

        patches = []
        for text in self.steer:
            path, strength = _file_and_number(text, "steer", _("strength"), "FILE")
            if not path:
                raise UserError(_("{steer} names no file; write the path of a steering vector"), steer=Option("steer"))
            vector = read_vector(expanded(path))
            patches.append(Patch(kind="steer", part="stream", factor=strength, vector=vector))
        return tuple(patches)


def check_engine(model: str, engine: str, served_model: str) -> None:
    """Raises `UserError` for an unknown engine, and for options of an engine beside another model."""
    if engine not in ENGINES:
        raise UserError(
            _("{engine} must be {engines} or {last}, not {value!r}"),
            engine=Option("engine"),
            engines=", ".join(ENGINES[:-1]),
            last=ENGINES[-1],
            value=engine,
        )
    given = "engine" if engine != "auto" else "served-model" if served_model else ""
    if given and not is_address(model):
        raise UserError(
            _("{option} needs the address of an engine as {model}, such as http://host:8000"),
            option=Option(given),
            model=Option("model"),
        )


def lora_option(text: str | None, option: str = "lora") -> tuple[str, float]:
    """The adapter and its scale that `PATH[=SCALE]` means; a path that exists is taken whole. Raises `UserError`."""
    if text is None:
        return "", 1.0
    path, scale = _file_and_number(text, option, _("scale"), "PATH")
    return _adapter(path, option), scale


def _file_and_number(text: str, option: str, number_name: str, file_name: str) -> tuple[str, float]:
    """The two of `FILE[=NUMBER]`; a file that exists is taken whole, and the number is 1 if absent."""
    path, equals, number = text.rpartition("=")
    if not equals or exists(expanded(text)):
        return text, 1.0
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(
            _(
                "{option} {text}: the {number_name} must be a finite number, not {number!r}; write {file_name}=0.5, or "
                "{file_name} alone"
            ),
            option=Option(option),
            text=text,
            number_name=number_name,
            number=number,
            file_name=file_name,
        )
    return path, value


def _adapter(path: str, option: str) -> str:
    """The name of an adapter as a saved walk keeps it."""
    if not path:
        raise UserError(
            _("{option} names no adapter; write the path of a folder of peft or of a .gguf adapter, or owner/name"),
            option=Option(option),
        )
    return adapters.named(path)


@dataclass(frozen=True, slots=True)
class SamplerOptions:
    """How tokens are sampled."""

    temperature: Annotated[float, typer.Option("--temperature", "-t", help="Divides the logits; 0 is greedy.")] = 1.0
    top_k: Annotated[int, typer.Option(help="Keep the k likeliest tokens; 0 keeps all.")] = 0
    top_p: Annotated[
        float, typer.Option(help="Keep the likeliest tokens that together have this probability; 1 keeps all.")
    ] = 1.0
    min_p: Annotated[
        float, typer.Option(help="Keep tokens with at least this share of the largest probability; 0 keeps all.")
    ] = 0.0
    order: Annotated[
        str, typer.Option(help="temperature-first (as transformers does) or temperature-last (as llama.cpp does).")
    ] = "temperature-first"
    seed: Annotated[int, typer.Option(help="Seed of the random draws.")] = 0
    greedy: Annotated[
        bool, typer.Option("--greedy", help="Always take the likeliest token, as --temperature 0 does.")
    ] = False
    stages: Annotated[
        str | None,
        typer.Option(
            "--sampler",
            help="Stages in their order, such as top_k=40,min_p=0.05,temp=0.8, or greedy, article, transformers, "
            "llama.cpp or creative. Takes the place of the options before it but --seed.",
        ),
    ] = None

    regex: Annotated[str | None, typer.Option(help="Only text that matches this regular expression as a whole.")] = None
    choice: Annotated[
        list[str] | None, typer.Option(help="Only one of these texts; give the option once for each.")
    ] = None
    json_schema: Annotated[
        Path | None, typer.Option("--json-schema", help="Only JSON that the schema in this file accepts.")
    ] = None
    grammar: Annotated[
        Path | None, typer.Option(help="Only text of the grammar in this file, in Lark or llama.cpp's GBNF.")
    ] = None

    def sampler(self) -> Sampler:
        """The sampler these options mean. Raises `UserError` for a value out of its range."""
        sampler = self._sampler()
        for stage in self._constraints():
            sampler = sampler.with_stage(stage)
        return sampler

    def _constraints(self) -> Iterator[Constraint]:
        if self.regex is not None:
            yield constraint.from_text("regex", self.regex)
        if self.choice:
            yield constraint.from_texts(self.choice)
        if self.json_schema is not None:
            yield constraint.from_file("json", self.json_schema)
        if self.grammar is not None:
            yield constraint.from_file("grammar", self.grammar)

    def _sampler(self) -> Sampler:
        if self.stages is not None:
            return self._written(self.stages)
        names = {order.replace(" ", "-"): order for order in ORDERS}
        if self.order not in names:
            first, last = names
            raise UserError(
                _("{order} must be {first} or {last}, not {value!r}"),
                order=Option("order"),
                first=first,
                last=last,
                value=self.order,
            )
        return Sampler.of(
            temperature=0.0 if self.greedy else self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            min_p=self.min_p,
            order=names[self.order],
            seed=self.seed,
        )

    def _written(self, stages: str) -> Sampler:
        """The sampler of a written form. Raises `UserError` where short forms stand beside it."""
        short = ("temperature", "top_k", "top_p", "min_p", "order", "greedy")
        given = [name for name in short if getattr(self, name) != getattr(SamplerOptions(), name)]
        if given:
            raise UserError(
                _("{sampler} names every stage; leave out {option} beside it"),
                sampler=Option("sampler"),
                option=Option(given[0].replace("_", "-")),
            )
        try:
            return Sampler.read(stages, self.seed)
        except UserError as error:
            raise UserError(Option("sampler"), ": ", *error.parts) from error


def shared(command: Callable[..., None]) -> Callable[..., None]:
    """Wrap `command` for typer: each argument that is a group of options becomes one option per field."""
    hints = get_type_hints(command, include_extras=True)
    groups = {name: hint for name, hint in hints.items() if hint in (ModelOptions, SamplerOptions)}
    parameters = [p.replace(annotation=hints[name]) for name, p in _parameters(command).items() if name not in groups]
    options = {
        name: inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint)
        for group in groups.values()
        for name, hint, default in _options(group)
    }

    def run(**values: Any) -> None:
        filled = {
            key: group(**{name: values.pop(name) for name, _, _ in _options(group)}) for key, group in groups.items()
        }
        command(**values, **filled)

    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__signature__ = inspect.Signature([*parameters, *options.values()])  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in (*parameters, *options.values())}
    return run


def _parameters(command: Callable[..., None]) -> dict[str, inspect.Parameter]:
    return {
        name: parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in inspect.signature(command).parameters.items()
    }


def _options(group: type) -> list[tuple[str, Any, Any]]:
    hints = get_type_hints(group, include_extras=True)
    return [(field.name, hints[field.name], field.default) for field in fields(group)]
