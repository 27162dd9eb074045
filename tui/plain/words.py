"""The content of each panel as lines of text, without bars, boxes and glyphs that stand for something."""

from collections.abc import Iterator, Sequence

from core.activations.patch import Patch
from core.evaluation.values import Comparison
from core.generation.token import Token
from core.language import _, ngettext
from core.loading.info import ModelInfo
from core.sampling.bounds import Bounded, through
from core.sampling.sampler import Sampler
from core.sampling.values import Candidate
from core.tokenizers.tokenizer import Decoder
from core.training.events import Evaluated
from core.training.status import EvaluatedStep, TrainingStatus
from core.walk.values import ContinuationTree, Forest, SamplerColumn, Snapshot
from tui.drawing.patches import patch_name
from tui.drawing.question import why
from tui.drawing.sampler import sampler_text
from tui.drawing.spoken import spoken
from tui.drawing.text import decimals_for, label, one_line, percent, printed, verbatim
from tui.reports.compare import divergence_lines as compared_lines
from tui.reports.training import clock
from tui.runner import Frame
from tui.screens.steering_list import Steering

READ = 10
"""Candidates that are read at once; up and down go further."""
FEW = 5
"""Candidates where something else is read too."""


def share(value: Bounded) -> str:
    """A probability in percent."""
    return percent(value, min(4, decimals_for(value)))


# Announcements -------------------------------------------------------------------------------------------------------


def token_line(position: int, token: Token, after: Bounded | None) -> str:
    """A token that came, and the entropy before and `after` it."""
    parts = [f"{position}  {label(token.piece)}"]
    if token.score:
        parts += [share(token.score.probability), _("rank {rank:,}").format(rank=token.score.rank + 1)]
        before = token.score.entropy_bits
        parts.append(
            _("entropy {before:.2f} bits").format(before=before)
            if after is None
            else _("entropy {before:.2f}, then {after:.2f} bits").format(before=before, after=after)
        )
    return "  ".join(parts)


def candidate_line(each: Candidate) -> str:
    """A candidate of the chart."""
    cut = each.sampled_probability == 0
    parts = [
        f"{each.rank + 1}  {label(each.piece)}",
        share(each.share),
        _("cut by the sampler")
        if cut
        else ""
        if each.sampled_probability == each.probability
        else _("{share} in the draw").format(share=share(each.sampled_probability)),
        "" if each.unpatched is None else _("{share} without the patches").format(share=share(each.unpatched)),
        "" if each.true is None else _("true {share}").format(share=share(each.true)),
        _("logit {logit:.2f}").format(logit=each.logit) if each.known else "",
    ]
    return "  ".join(filter(None, parts))


def place_line(snapshot: Snapshot) -> str:
    """Where the cursor is."""
    at, count = snapshot.cursor, len(snapshot.tokens)
    if not at:
        return _("there are no tokens yet")
    return _("position {at} of {count}, after {token}").format(
        at=at, count=count, token=label(snapshot.tokens[at - 1].piece)
    )


# Panels --------------------------------------------------------------------------------------------------------------


def prompt_lines(frame: Frame) -> Iterator[str]:
    """The prompt as it was typed."""
    snapshot = frame.snapshot
    if snapshot is None or not snapshot.prompt:
        yield _("prompt: empty")
        return
    yield ngettext("prompt, {count:,} token:", "prompt, {count:,} tokens:", snapshot.prompt_length).format(
        count=snapshot.prompt_length
    )
    yield from printed(snapshot.prompt).split("\n")


def tokens_lines(frame: Frame) -> Iterator[str]:
    """Each token with its id, probability and rank."""
    tokens, snapshot = frame.snapshot.tokens if frame.snapshot else (), frame.snapshot
    yield ngettext("token ids, {count:,} token:", "token ids, {count:,} tokens:", len(tokens)).format(count=len(tokens))
    for position, token in enumerate(tokens):
        parts = [f"{position}  {label(token.piece)}", _("id {id}").format(id=token.id)]
        if token.score:
            parts += [
                share(token.score.probability),
                _("rank {rank:,}").format(rank=token.score.rank + 1),
                _("{bits:.2f} bits").format(bits=token.score.surprisal_bits),
            ]
        if token.u is not None:
            parts.append(_("u {u:.4f}").format(u=token.u))
        if snapshot and position < snapshot.window:
            parts.append(_("no longer seen"))
        if snapshot and position + 1 == snapshot.cursor < len(tokens):
            parts.append(_("here"))
        yield "  ".join(parts)


def chart_lines(frame: Frame) -> Iterator[str]:
    """The likeliest next tokens."""
    chart = frame.snapshot.chart if frame.snapshot else None
    if chart is None or frame.snapshot is None:
        yield _("next token: not known yet")
        return
    yield _("next token, {place}:").format(place=place_line(frame.snapshot))
    yield entropy_line(frame)
    read, rest = chart.candidates[:READ], chart.candidates[READ:]
    yield from map(candidate_line, read)
    count, mass = chart.others_count + len(rest), chart.others_probability + sum(each.probability for each in rest)
    yield ngettext("{count:,} other: {share}", "{count:,} others: {share}", count).format(
        count=count, share=share(mass)
    )
    if chart.problem:
        yield one_line(chart.problem)


def entropy_line(frame: Frame) -> str:
    """The entropy of the next token, in words."""
    assert frame.snapshot and frame.snapshot.chart
    chart = frame.snapshot.chart
    text = _("entropy {bits:.2f} bits, as many as of {effective:,.1f} equally likely tokens").format(
        bits=chart.entropy_bits, effective=chart.effective
    )
    if chart.divergence_bits is None:
        return text
    return text + _("; the true distribution is {bits:.3f} bits away").format(bits=chart.divergence_bits)


def text_lines(frame: Frame) -> Iterator[str]:
    """The text so far."""
    tokens = frame.snapshot.tokens if frame.snapshot else ()
    count = sum(token.origin != "prompt" for token in tokens)
    yield ngettext("text, {count:,} token generated:", "text, {count:,} tokens generated:", count).format(count=count)
    decoder = Decoder()
    text = "".join(decoder.feed(token.piece) for token in tokens) + decoder.finish()
    yield from printed(text).split("\n")


def status_lines(frame: Frame) -> Iterator[str]:
    """Model, sampler and what goes on."""
    snapshot = frame.snapshot
    yield _("no model yet") if frame.model is None else model_line(frame.model)
    if snapshot:
        yield place_line(snapshot)
        yield sampler_line(snapshot.sampler)
        if snapshot.patches:
            yield patches_line(snapshot.patches)
    if frame.activity != "idle":
        yield {"loading": _("loading"), "reading": _("reading"), "generating": _("generating")}[frame.activity]
    if frame.training:
        yield training_line(frame.training)


def model_line(model: ModelInfo) -> str:
    """A model, and what it is computed with."""
    return _("model {name} on {device} in {format}, {parameters:,} parameters, context {context:,}").format(
        name=spoken(one_line(model.label)),
        device=model.device,
        format=model.format,
        parameters=model.parameters,
        context=model.context,
    )


def sampler_line(sampler: Sampler) -> str:
    """The stages of a sampler, and its seed."""
    return _("sampler {sampler}, seed {seed}").format(sampler=spoken(sampler_text(sampler)), seed=sampler.seed)


def question_line(snapshot: Snapshot) -> str:
    """What experiments ask."""
    return spoken(why(snapshot.measured)) if snapshot.measured else _("experiments ask about the likeliest token")


def patches_line(patches: Sequence[Patch]) -> str:
    """What is changed in the model."""
    if not patches:
        return _("no patch: the model is unchanged")
    return _("patched: {patches}").format(patches=", ".join(spoken(one_line(patch_name(each))) for each in patches))


def forest_lines(forest: Forest) -> Iterator[str]:
    """The branches of the walk; deeper ones follow the one they begin at."""
    yield ngettext("{count:,} branch", "{count:,} branches", forest.total).format(count=forest.total)
    for number, branch in enumerate(forest.rows, start=forest.first + 1):
        parts = [
            _("{number}  depth {depth}").format(number=number, depth=branch.depth),
            verbatim(branch.name),
            " ".join(map(label, branch.pieces)),
            ngettext("{count:,} token", "{count:,} tokens", branch.length).format(count=branch.length),
            "" if branch.probability is None else share(branch.probability),
            _("here") if number - forest.first - 1 == forest.current else "",
        ]
        yield "  ".join(filter(None, parts))


def continuation_lines(tree: ContinuationTree) -> Iterator[str]:
    """Several continuations."""
    yield ngettext("{count} continuation", "{count} continuations", len(tree.continuations)).format(
        count=len(tree.continuations)
    )
    for number, each in enumerate(tree.continuations, start=1):
        count = len(each.pieces)
        length = ngettext("{count:,} token", "{count:,} tokens", count).format(count=count)
        yield _("{number}  {text}  {length}, {bits:.1f} bits of surprisal").format(
            number=number, text=label(b"".join(each.pieces)), length=length, bits=each.surprisal_bits
        )


# Screens -------------------------------------------------------------------------------------------------------------


def training_line(status: TrainingStatus) -> str:
    """How far a training is."""
    state = {
        "preparing": _("preparing"),
        "training": _("training"),
        "paused": _("paused"),
        "ended": _("ended"),
    }[status.state]
    parts = [
        _("training of {name}: {state}").format(name=one_line(status.name), state=state),
        _("step {step:,} of {steps:,}").format(step=status.step, steps=status.recipe.steps),
    ]
    if status.last:
        parts.append(_("loss {loss:.3f} nats").format(loss=status.last.loss))
    if status.last and status.state == "training":
        parts.append(_("{time} left").format(time=clock(status.last.seconds_left)))
    if status.problem:
        parts.append(one_line(str(status.problem)))
    return ", ".join(parts)


def evaluation_line(found: Evaluated) -> str:
    """The loss of a step, and the text that the model sampled then."""
    parts = [_("step {step:,}: validation loss {loss:.3f} nats").format(step=found.step, loss=found.loss)]
    if found.chart.divergence_bits is not None:
        parts.append(_("{bits:.3f} bits from the true distribution").format(bits=found.chart.divergence_bits))
    if found.sample:
        parts.append(_("sample {sample}").format(sample=label(found.sample.encode())))
    return ", ".join(parts)


def moment_line(found: EvaluatedStep) -> str:
    """A step of which an earlier run has kept the loss alone."""
    return _("step {step:,}: validation loss {loss:.3f} nats").format(step=found.step, loss=found.loss)


def divergence_lines(found: Comparison) -> Iterator[str]:
    """How two distributions differ."""
    return map(spoken, compared_lines(found))


def column_lines(column: SamplerColumn) -> Iterator[str]:
    """What one of several samplers may draw, and the text that it draws."""
    chart = column.chart
    kept = [each for each in chart.candidates if each.sampled_probability][:FEW]
    yield _("{kept:,} kept: {candidates}").format(
        kept=chart.kept,
        candidates=", ".join(f"{label(each.piece)} {share(each.sampled_probability)}" for each in kept),
    )
    if column.pieces:
        mean = through(lambda bits: bits / len(column.pieces), column.surprisal_bits)
        yield _("{mean:.2f} bits a token: {text}").format(mean=mean, text=label(b"".join(column.pieces)))
    if column.problem:
        yield spoken(one_line(column.problem))


def steering_line(number: int, entry: Steering, *, here: bool) -> str:
    """A steering vector of the list."""
    parts = [
        f"{number}  {one_line(entry.vector.name)}",
        _("on") if entry.on else _("off"),
        spoken(entry.place),
        _("strength {strength:g}").format(strength=entry.strength),
        _("here") if here else "",
    ]
    return ", ".join(filter(None, parts))
