"""One walk through one model: prefill, step, choose, redraw, take back, redo, travel, branch.

Every token that was tried stays in the tree of the walk. What may take long is an iterator that pauses between pieces
of work, so that a caller can draw or stop in between.
"""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import replace

from core.activations.patch import Patch
from core.activations.trace import Step
from core.causal.question import CausalQuestion, End, Measured
from core.errors import Action, UserError
from core.generation.sample import Sample, stop_ids
from core.generation.stop_conditions import StopConditions
from core.generation.token import Token
from core.language import _
from core.loading.info import ModelInfo
from core.loading.model import Model
from core.progress import Progress
from core.sampling.bounds import low, total
from core.sampling.distribution import Distribution
from core.sampling.explain import sampler_lens
from core.sampling.explanation import SamplerLens
from core.sampling.next_distribution import NextDistribution
from core.sampling.sampler import Sampler
from core.sampling.values import Chart
from core.sequences import common_prefix
from core.tokenizers.chat import encode
from core.tokenizers.tokenizer import same_tokens
from core.walk.continuations import Continuations
from core.walk.drafts import Drafts
from core.walk.draws import Draws
from core.walk.guesses import Guesses
from core.walk.history import History
from core.walk.model_reader import ModelReader, Unavailable
from core.walk.searches import Searches
from core.walk.tree import Tree
from core.walk.turns import Turns
from core.walk.values import PromptForm, Snapshot, Summary

SHOWN = 50
"""Candidates in the chart of a snapshot."""


class Session:
    """What a screen asks of a walk, composed of its history and of what a model reads.

    With `Unavailable` in the place of the model the walk can be looked at, and whatever needs the model raises
    `UserError`. Not thread-safe: it belongs to the thread that runs the model.
    """

    def __init__(self, model: Model | Unavailable, sampler: Sampler = Sampler(), tree: Tree | None = None) -> None:
        self._reader = model if isinstance(model, Unavailable) else ModelReader(model)
        self.tree = tree or Tree()
        self.history = History(self.tree, self._moved)
        self.sampler = sampler
        self.question = CausalQuestion()
        """What causal experiments are asked, as a person put it: its corrupt prompt stands against that of the walk."""
        self.typed = 0
        """The number that the caller gave the prompt it typed last."""
        self.stopped = ""
        """Why the last generation with stop conditions ended; empty after any other change."""
        self._measured = 0
        self.draws = Draws(self)
        self.turns = Turns(self)
        self.guesses = Guesses(self)
        self.continuations = Continuations(self)
        self.searches = Searches(self)
        self.drafts = Drafts(self)

    def _moved(self, kept: int, ids: Sequence[int]) -> None:
        self.stopped = ""
        if isinstance(self._reader, ModelReader):
            self._reader.moved(kept, ids)

    # What it stands on -----------------------------------------------------------------------------------------------

    @property
    def reader(self) -> ModelReader:
        """What the model reads. Raises `UserError` if the model is not available."""
        if isinstance(self._reader, Unavailable):
            raise self._reader.error()
        return self._reader

    @property
    def model(self) -> Model:
        """The model of the walk. Raises `UserError` if it is not available."""
        return self.reader.model

    @property
    def unavailable(self) -> UserError | None:
        """Why the model is not available; None if it is."""
        return self._reader.error() if isinstance(self._reader, Unavailable) else None

    @property
    def available(self) -> bool:
        """Whether the model can compute."""
        return isinstance(self._reader, ModelReader)

    @property
    def info(self) -> ModelInfo:
        """What is known about the model, also if it is not available."""
        return self._reader.info

    @property
    def patches(self) -> tuple[Patch, ...]:
        """The patches that are active in the model."""
        return self._reader.patches

    @property
    def tokens(self) -> list[Token]:
        """The tokens of the walk."""
        return self.history.tokens

    @property
    def cursor(self) -> int:
        """How many tokens stand before the point that is looked at."""
        return self.history.cursor

    @property
    def prompt_length(self) -> int:
        """How many tokens at the start of the walk belong to the prompt."""
        return self.history.prompt_length

    def before_cursor(self) -> tuple[list[Token], int]:
        """The tokens before the cursor, and how many of them belong to the prompt."""
        return self.tokens[: self.cursor], min(self.cursor, self.prompt_length)

    # The prompt and its scores ---------------------------------------------------------------------------------------

    def prefill(self, ids: Sequence[int], text: str | None = None) -> Iterator[Progress]:
        """Let `ids`, typed as `text`, be the prompt; they are read while the iterator runs.

        An empty prompt starts from `<|endoftext|>`. The ids that it shares with the tokens before keep their cache.
        Sampled tokens stay in the tree. Raises `UserError` for an id outside V.
        """
        tokenizer = self.model.tokenizer
        ids = list(ids) or [tokenizer.end_of_text]
        kept = common_prefix(self.history.ids[: self.prompt_length], ids)
        kept = next((n for n in range(kept) if self.tokens[n].role), kept)
        self.history.write_prompt(kept, [Token(id, tokenizer.piece(id)) for id in ids[kept:]], text)
        return self.read()

    def write(self, text: str, form: PromptForm, turn: int | None = None) -> Iterator[Progress]:
        """Let `text` be the prompt in a form, or with a chat template the message that begins at `turn`.

        Raises `UserError` where the model has no chat template, or where it fails.
        """
        if not form.chat:
            return self.prefill(encode(self.model.tokenizer, text, special=form.special), text)
        return self.turns.write(text, form.system, turn)

    def rewrite(self, form: PromptForm) -> Iterator[Progress]:
        """Write the first prompt in another form, and let what followed it there follow it again.

        Raises `UserError` as `write` does.
        """
        first = (self.history.path[self.prompt_length - 1].text or "") if self.prompt_length else ""
        self.write(first, form, turn=0)
        self.history.go_on()
        return self.read()

    @property
    def ready(self) -> bool:
        """Whether the distribution at the cursor can be had without waiting for another machine."""
        return not self.tokens or not isinstance(self._reader, ModelReader) or self._reader.ready(self.cursor)

    def read(self) -> Iterator[Progress]:
        """Read the tokens before the cursor; nothing if the model is not available."""
        return self._reader.read(self.cursor) if isinstance(self._reader, ModelReader) else iter(())

    def unscored(self) -> bool:
        """Whether a token waits for `score`."""
        return self.available and any(token.score is None for token in self.tokens[1:])

    def score(self) -> Iterator[None]:
        """Score the tokens that have no score yet, a few at a time, the last ones first."""
        tokens = self.tokens
        missing = [position for position in range(len(tokens) - 1, 0, -1) if tokens[position].score is None]
        for group in self.reader.scores(missing):
            for position, score in group:
                self.history.set_score(position, score)
            self._measured += len(group)
            yield

    # Steps -----------------------------------------------------------------------------------------------------------

    def step(self) -> Token:
        """Sample one token at the cursor and move behind it.

        If the walk already continues there, this is another draw, which opens a branch unless it gives the same token.
        """
        return self.draws.sample(self.cursor, again=self.cursor < len(self.tokens))

    def generate(self, count: int, conditions: StopConditions = StopConditions()) -> Iterator[Token]:
        """As `generating`, without the pauses."""
        return (event for event in self.generating(count, conditions) if isinstance(event, Token))

    def generating(self, count: int, conditions: StopConditions = StopConditions()) -> Iterator[Token | Progress]:
        """Up to `count` steps, one at a time; fewer if the model ends its text or a stop condition holds.

        `stopped` says why it ended. The conditions on a distribution are not checked before the first token, so that a
        generation can go on from where the last one stopped. Progress comes while a model elsewhere is waited for.
        """
        sample = Sample(conditions, stop_ids(self.model.tokenizer, self.sampler))
        for _unused in range(count):
            if not self.ready:
                yield from self.read()
                yield Progress(1, 1)
            if not sample.stops_before(self.distribution):
                token = self.step()
                yield token
                sample.append(token)
            if sample.stopped:
                self.stopped = _("stopped: {reason}").format(reason=_(sample.stopped))
                return
        if conditions:
            self.stopped = _("{count} tokens without {conditions}").format(count=count, conditions=conditions)

    def take(self, id: int) -> Token:
        """Put a chosen token at the cursor and move behind it."""
        piece, score = self.model.tokenizer.piece(id), self.distribution().score(id)
        token = Token(id, piece, "chosen", score, model=self.info)
        self.history.extend(self.cursor, token)
        return token

    def redraw(self) -> Token:
        """Draw the token before the cursor again from its distribution. Raises `UserError` if it was not drawn."""
        if self.history.current.typed:
            raise UserError(_("no token was drawn here yet; {step} draws the first"), step=Action("walk.step"))
        return self.draws.sample(self.cursor - 1, again=True)

    # The history -----------------------------------------------------------------------------------------------------

    def take_back(self) -> None:
        """Undo the last step, choice, draw, visit or deletion. Raises `UserError` if there is none."""
        self.history.take_back()

    def redo(self) -> None:
        """Repeat what was undone last. Raises `UserError` if nothing was."""
        self.history.redo()

    def travel(self, cursor: int) -> None:
        """Move the cursor along the walk; a value beyond an end means that end."""
        self.stopped = ""
        self.history.travel(cursor)

    def visit(self, serial: int) -> Iterator[Progress]:
        """Walk to the end of a branch, along the path taken last. Raises `UserError` for a missing branch."""
        self.history.visit(serial)
        return self.read()

    def delete(self, serial: int) -> Iterator[Progress]:
        """Remove a branch and all that follows it; `take_back` undoes it. Raises `UserError` for the only branch."""
        self.history.delete(serial)
        return self.read()

    def mark(self) -> object:
        """A value that stays equal as long as nothing happens that is worth saving."""
        changes = len(self.history.done), len(self.history.undone), self._measured
        settings = self.sampler, self.question, self.patches, self.info
        return self.tree.version, *changes, self.history.position, *settings

    def worth_keeping(self) -> bool:
        """Whether there is more than a prompt, and a model: without one the file that was opened holds everything."""
        return self.available and len(self.tree.nodes) > self.prompt_length

    # The model -------------------------------------------------------------------------------------------------------

    def patch(self, patches: Sequence[Patch]) -> Iterator[Progress]:
        """Replace the active patches of the model; the walk is read and scored again.

        Raises `UserError` for a part that the model does not have.
        """
        self.reader.patch(patches)
        self.history.forget_scores()
        return self.read() if self.tokens else iter(())

    def scale_adapter(self, scale: float) -> Iterator[Progress]:
        """Multiply what the LoRA adapter of the model adds by `scale`; the walk is read and scored again.

        Raises `UserError` where the model has no adapter.
        """
        self.reader.scale_adapter(scale)
        self.history.forget_scores()
        return self.read() if self.tokens else iter(())

    def goes_on_in(self, model: Model) -> bool:
        """Whether the tokens of the walk are tokens of `model`."""
        if self.available:
            return same_tokens(self.model.tokenizer, model.tokenizer)
        tokens = {node.token.id: node.token.piece for node in self.tree.nodes.values()}
        return all(id < model.tokenizer.vocab_size and model.tokenizer.piece(id) == tokens[id] for id in tokens)

    def moved_to(self, model: Model) -> "Session":
        """The same walk and tree in another model with the same tokenizer; nothing is read or scored yet."""
        self.tree.forget_scores()
        session = Session(model, self.sampler, self.tree)
        session.typed, session.question = self.typed, self.question
        session.history.continue_from(self.history)
        if self.patches and model.info.name == self.info.name:
            session.patch(self.patches)
        return session

    # What is seen ----------------------------------------------------------------------------------------------------

    def distribution(self) -> NextDistribution:
        """The next-token distribution at the cursor."""
        return self.reader.distribution(self.cursor)

    def chart(self, count: int = SHOWN) -> Chart:
        """The `count` likeliest tokens at the cursor under the present sampler, and the next token if there is one."""
        context = self.draws.context(self.reader, self.sampler)
        return self.reader.chart(self.cursor, self.sampler, count, context)

    def current_step(self) -> Step:
        """The forward pass that predicts the token at the cursor, for a lens to look into."""
        return self.reader.step(self.cursor)

    def current_question(self) -> CausalQuestion:
        """The question at the cursor, for a lens: the tokens after the prompt also follow the corrupt prompt."""
        return self.question.continued(self.prompt_length, self.history.ids[: self.cursor])

    def measured(self) -> Measured | None:
        """The question at the cursor, and its value there; None where the logits are not known."""
        distribution = self.distribution()
        if not isinstance(distribution, Distribution) or distribution.from_logprobs:
            return None
        return self.question.measured(distribution.logits, self.model.tokenizer.piece)

    def ask(self, question: CausalQuestion) -> None:
        """Ask `question` from now on. Raises `UserError` for an id that the model does not have."""
        question.check(self.info.vocab_size)
        self.question = question

    def compare_with(self, text: str, form: PromptForm, align: End) -> None:
        """Let `text` in a form be the corrupt prompt, aligned from an end; an empty text removes it.

        Raises `UserError` where the model has no chat template, or where it fails.
        """
        tokenizer, ids = self.model.tokenizer, list[int]()
        if text:
            ids = encode(tokenizer, text, special=form.special, chat=form.chat, system=form.system)
        self.question = replace(self.question, corrupt=tuple(ids), align=align)

    def explain(self) -> SamplerLens:
        """Why the token at the cursor was drawn, or would be, under the present sampler."""
        u, context = self.draws.u(), self.draws.context(self.reader, self.sampler)
        return sampler_lens(self.distribution(), self.sampler, u, self.model.tokenizer.piece, context=context)

    def summary(self, worst: int = 500) -> Summary:
        """Perplexity and related sums over the tokens that have a score, and the `worst` most surprising positions."""
        bits = [(at, token.score.surprisal_bits) for at, token in enumerate(self.tokens) if token.score]
        most_surprising = heapq.nlargest(worst, bits, key=lambda each: low(each[1]))
        pieces = [token.piece for token in self.tokens]
        if self.available:
            pieces = self.model.tokenizer.typed([token.id for token in self.tokens])
        return Summary(
            measured=len(bits),
            tokens=max(0, len(self.tokens) - 1),
            bits=total(each for _, each in bits),
            byte_count=sum(len(pieces[at]) for at, _ in bits),
            worst=tuple(at for at, _ in most_surprising),
        )

    def _chosen(self) -> bool:
        """Whether a person chose a token of the question, and the model can measure it here."""
        chosen = self.question.target is not None or self.question.against is not None
        return chosen and bool(self.tokens) and self.available

    def snapshot(self) -> Snapshot:
        """The walk as it stands; the tokens before the cursor are read if necessary."""
        return Snapshot(
            tokens=tuple(self.tokens),
            prompt_length=self.prompt_length,
            cursor=self.cursor,
            window=max(0, self.cursor - self.info.context),
            sampler=self.sampler,
            can_take_back=bool(self.history.done),
            can_redo=bool(self.history.undone),
            chart=self.chart() if self.tokens and self.available and self.ready else None,
            prompt=self.turns.prompt(),
            typed=self.typed,
            stopped=self.stopped,
            patches=self.patches,
            question=self.question,
            measured=self.measured() if self._chosen() else None,
            spans=self.turns.spans,
            turn=self.turns.next,
            left_behind=self.history.left_behind,
        )
