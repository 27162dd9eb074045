"""`tokenwalk generate`: continue a prompt token by token."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.errors import Option, UserError
from core.generation.stop_conditions import FORMS, StopConditions, parse
from core.generation.token import Token
from core.language import _
from core.sampling.sampler import Sampler
from tui.commands import drafting
from tui.commands.common import (
    Json,
    Prompt,
    check_new_walk,
    exit_on_user_error,
    load_model,
    read_argument,
    say,
    stoppable,
)
from tui.options import ModelOptions, SamplerOptions, shared

if TYPE_CHECKING:
    from core.activations.patch import Patch
    from core.generation.sample import Sample


@shared
def generate(
    prompt: Prompt,
    model: ModelOptions,
    sampler: SamplerOptions,
    count: Annotated[int, typer.Option("-n", help="How many tokens to generate.", min=0)] = 30,
    samples: Annotated[
        int, typer.Option(help="How many continuations to generate in one batch; the i-th uses seed + i.", min=1)
    ] = 1,
    conditions: Annotated[
        list[str] | None,
        typer.Option("--until", help=f"Stop a sample as soon as this holds: {FORMS}. May be given again."),
    ] = None,
    save: Annotated[
        Path | None, typer.Option(help="Save the walk to this file, for walk --resume, replay and export.")
    ] = None,
    draft: Annotated[
        str | None, typer.Option(help="A smaller model with the same tokens, whose proposals the model verifies.")
    ] = None,
    draft_tokens: Annotated[int | None, typer.Option(help="Proposals of a round. Default: 4.")] = None,
    as_json: Json = False,
) -> None:
    """Continue a prompt token by token and print the text."""
    with exit_on_user_error():
        if draft is None and draft_tokens is not None:
            raise UserError(
                _("{draft_tokens} belongs to {draft}; leave it out"),
                draft_tokens=Option("draft-tokens"),
                draft=Option("draft"),
            )
        if draft is not None and samples > 1:
            raise UserError(
                _("{samples} {value} needs more than one text; leave out {draft}"),
                samples=Option("samples"),
                value=samples,
                draft=Option("draft"),
            )
        chosen_sampler, until, text = sampler.sampler(), parse(conditions or ()), read_argument(prompt)
        check_new_walk(save)
        loaded, ids = load_model(model, text)
        from core.generation.sample import Sample, stop_ids

        grown = [Sample(until, stop_ids(loaded.tokenizer, chosen_sampler)) for _ in range(samples)]
        most, start = min(count, until.limit or count), _prompt_tokens(loaded, ids, text, model)
        try:
            if draft is None:
                _generate(loaded, ids, chosen_sampler, most, until, grown, as_json)
            else:
                proposals = 4 if draft_tokens is None else draft_tokens
                drafting.generate(loaded, draft, start, chosen_sampler, proposals, most, grown[0], as_json)
        finally:
            if save:
                _save(save, loaded, chosen_sampler, start, text, grown, model.patches())


def _prompt_tokens(loaded: Any, ids: list[int], text: str, model: ModelOptions) -> list[Token]:
    """The tokens of the prompt; with a chat template they say whose they are."""
    if model.chat:
        from core.walk.conversation import first

        return first(loaded.tokenizer, text, model.system)
    return [Token(id, loaded.tokenizer.piece(id)) for id in ids]


def _save(
    path: Path,
    loaded: Any,
    sampler: Sampler,
    prompt: Sequence[Token],
    text: str,
    grown: Sequence["Sample"],
    patches: "tuple[Patch, ...]",
) -> None:
    """Save the samples as branches of one tree whose cursor is at the end of the first."""
    from core.sessions import record, writer
    from core.walk.tree import Tree

    tree = Tree()
    start = tree.root
    for token in prompt:
        start = tree.child(start, token)
    start.text = text
    ends = []
    for sample in grown:
        ends.append(start)
        for token in sample.tokens:
            ends[-1] = tree.child(ends[-1], token)
    for end in reversed(ends):
        tree.visit(tree.path(end), 0)
    cursor = len(prompt) + len(grown[0].tokens)
    writer.write_record(path, record.copy_tree(loaded.info, sampler, tree, ends[0], cursor, patches)())


def _generate(
    loaded: Any,
    ids: list[int],
    sampler: Sampler,
    count: int,
    until: StopConditions,
    grown: Sequence["Sample"],
    as_json: bool,
) -> None:
    from core.generation.batch import Batch, generate_batch
    from tui.drawing.text import printed
    from tui.reports.generation import done_json, prefill_json, step_json
    from tui.reports.json_values import json_line

    began = time.perf_counter()
    batch = Batch(loaded, ids, sampler, len(grown))
    prefilled = before = time.perf_counter()
    streams = len(grown) == 1 and not as_json
    steps = generate_batch(batch, grown, count)
    with stoppable() as stop:
        if as_json:
            say(json_line(prefill_json(loaded.info, ids, prefilled - began)))
        while not stop.is_set() and (step := next(steps, None)) is not None:
            now = time.perf_counter()
            for new in step:
                if as_json:
                    position = len(ids) + len(grown[new.sample].tokens) - 1
                    top = batch.top(new.sample, 20)
                    line = step_json(new.sample, position, new.draw, new.token.piece, top, now - before)
                    say(json_line(line))
                elif streams:
                    sys.stdout.write(printed(new.text))
                    sys.stdout.flush()
            before = now
    tails = [sample.finish() for sample in grown]
    texts = [sample.text + tail for sample, tail in zip(grown, tails, strict=True)]
    if as_json:
        count_generated = sum(len(sample.tokens) for sample in grown)
        reasons = _reasons(grown, until, stop.is_set())
        say(json_line(done_json(texts, count_generated, before - prefilled, reasons)))
    elif streams:
        say(printed(tails[0]))
    else:
        say("\n".join(f"── {number} ──\n{printed(each)}" for number, each in enumerate(texts, start=1)))
    if stop.is_set():
        raise typer.Exit(130)
    if until and not as_json:
        _print_reasons(grown, _("stopped after {count} tokens without {until}").format(count=count, until=until))


def _reasons(grown: Sequence["Sample"], until: StopConditions, interrupted: bool) -> list[str]:
    """Why the generation ended, as the JSON says it: one word for all samples, or with conditions one for each."""
    from core.generation.sample import MODEL_ENDED

    default = "interrupted" if interrupted else "length"
    if until:
        return ["stop" if each.stopped == MODEL_ENDED else each.stopped or default for each in grown]
    return ["stop" if all(sample.stopped for sample in grown) and not interrupted else default]


def _print_reasons(grown: Sequence["Sample"], default: str) -> None:
    """Print on standard error what stopped each sample, `default` where nothing did."""
    from tui.drawing.text import one_line

    for number, sample in enumerate(grown, start=1):
        name = f"{number}: " if len(grown) > 1 else ""
        reason = _("stopped: {stopped}").format(stopped=sample.stopped) if sample.stopped else default
        sys.stderr.write(one_line(f"tokenwalk: {name}{reason}") + "\n")
