"""One walk through one model: prefill, step, choose, redraw, take back, redo, travel, branch.

Every token that was tried stays in the tree of the walk. What may take long is an iterator that pauses between pieces
of work, so that a caller can draw or stop in between.
"""

import heapq
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from core.activations.patch import Patch
from core.activations.trace import Step
from core.errors import Action, UserError
from core.generation.batch import sampled_token
from core.generation.sample import Sample, stop_ids
from core.generation.stop_conditions import StopConditions
from core.generation.token import Token
from core.loading.info import ModelInfo
from core.loading.models import Model
from core.progress import Progress
from core.sampling.chart import chart
from core.sampling.context import DrawContext
from core.sampling.distribution import Distribution
from core.sampling.draw import draw, uniform
from core.sampling.explain import sampler_lens
from core.sampling.explanation import SamplerLens
from core.sampling.sampler import Sampler
from core.sampling.values import Chart
from core.sequences import common_prefix
from core.tokenizers.chat import Span, encode
from core.walk import continuation_tree, conversation
from core.walk.drafts import Drafts
from core.walk.history import History
from core.walk.model_reader import ModelReader, Unavailable
from core.walk.searches import Searches
from core.walk.tree import Node, Tree
from core.walk.values import ContinuationTree, Guess, PromptForm, SamplingProgress, Snapshot, Summary

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
        self.typed = 0
        """The number that the caller gave the prompt it typed last."""
        self.stopped = ""
        """Why the last generation with stop conditions ended; empty after any other change."""
        self.guesses: list[Guess] = []
        self._measured = 0
        self._continuations: tuple[Node, list[Node]] | None = None
        """Where the last continuations start, and where each ends."""
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

    @property
    def prompt(self) -> str:
        """The prompt as it was typed, or the part of it that the walk still follows; of a conversation the last
        message before the cursor."""
        if not self.prompt_length:
            return ""
        at = self.cursor
        while at < len(self.tokens) and self.tokens[at].origin == "prompt":
            at += 1
        while self.tokens[at - 1].origin != "prompt":
            at -= 1
        last = self.history.path[at - 1]
        if last.text is None:
            prompt = [token for token in self.tokens[:at] if token.role in ("", "user") and token.origin == "prompt"]
            if self.available:
                last.text = self.model.tokenizer.written([token.id for token in prompt])
            else:
                last.text = b"".join(token.piece for token in prompt).decode("utf-8", "backslashreplace")
        return last.text

    @property
    def first_prompt(self) -> str:
        """The prompt, in a conversation its first message, as it was typed."""
        return (self.history.path[self.prompt_length - 1].text or "") if self.prompt_length else ""

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
        return self.write_message(text, form.system, turn)

    # A conversation --------------------------------------------------------------------------------------------------

    @property
    def answered(self) -> bool:
        """Whether the walk ends with the end of an answer, after which the model would speak for the user."""
        last = self.tokens[-1:]
        conversation = bool(last and self.tokens[0].role)
        return conversation and self.cursor == len(self.tokens) and last[0].id in self.model.stops and not last[0].role

    @property
    def turn(self) -> int:
        """Where the message begins that is written next: at the cursor after an answer, else where its tokens begin.

        0 is the first message, which is the prompt.
        """
        if self.cursor <= self.prompt_length:
            return 0
        return next((n for n in range(self.cursor, 0, -1) if self.tokens[n - 1].origin != "prompt"), 0)

    def write_message(self, text: str, system: str = "", turn: int | None = None) -> Iterator[Progress]:
        """Let `text` be the user's message at `turn` in the chat template of the model, and read it.

        The first message is the prompt, with the message `system` before it, if there is one. A later one follows the
        answer, and is removed where `text` is empty. Raises `UserError` where the model has no chat template, or where
        it fails.
        """
        tokenizer = self.model.tokenizer
        if turn is None or (turn and (turn > len(self.tokens) or self.tokens[turn - 1].origin == "prompt")):
            turn = self.turn
        if not turn:
            self.history.write_prompt(0, conversation.first(tokenizer, text, system), text)
        else:
            tokens = conversation.following(tokenizer, self.tokens[:turn], text) if text else []
            self.history.write_turn(turn, tokens, text)
        return self.read()

    def _spans(self) -> tuple[Span, ...]:
        """Who says which tokens; empty where the walk is no conversation, or without its model."""
        return conversation.spans(self.model.tokenizer, self.tokens) if self.available else ()

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
        return self._sample(self.cursor, again=self.cursor < len(self.tokens))

    def generate(self, count: int, conditions: StopConditions = StopConditions()) -> Iterator[Token]:
        """Up to `count` steps, one at a time; fewer if the model ends its text or a stop condition holds.

        `stopped` says why it ended. The conditions on a distribution are not checked before the first token, so that a
        generation can go on from where the last one stopped.
        """
        sample = Sample(conditions, stop_ids(self.model.tokenizer, self.sampler))
        for _ in range(count):
            if not sample.stops_before(self.distribution):
                token = self.step()
                yield token
                sample.append(token)
            if sample.stopped:
                self.stopped = f"stopped: {sample.stopped}"
                return
        if conditions:
            self.stopped = f"{count} tokens without {conditions}"

    def take(self, id: int) -> Token:
        """Put a chosen token at the cursor and move behind it."""
        piece, score = self.model.tokenizer.piece(id), self.distribution().score(id)
        token = Token(id, piece, "chosen", score, model=self.info)
        self.history.extend(self.cursor, token)
        return token

    def redraw(self) -> Token:
        """Draw the token before the cursor again from its distribution. Raises `UserError` if it was not drawn."""
        if self.history.current.typed:
            raise UserError("nothing was drawn here yet; ", Action("walk.step"), " draws the first token")
        return self._sample(self.cursor - 1, again=True)

    def _sample(self, at: int, again: bool) -> Token:
        redraw = self._draws(self.history.path[at - 1]) if again else 0
        context = self.reader.context(self.tokens[:at], min(at, self.prompt_length), self.sampler, redraw)
        drawn = draw(self.reader.distribution(at), self.sampler, uniform(self.sampler.seed, at, redraw), context)
        token = sampled_token(drawn, self.model.tokenizer.piece(drawn.id), self.sampler, self.info, redraw)
        self.history.extend(at, token)
        return token

    def _present_context(self) -> tuple[float, DrawContext]:
        """The number u and the context of the token at the cursor, as it was drawn or would be."""
        token = self.tokens[self.cursor] if self.cursor < len(self.tokens) else None
        seed, redraw = self._present_draw()
        u = token.u if token else None
        return uniform(seed, self.cursor, redraw) if u is None else u, self.context_for(self.reader, self.sampler)

    def context_for(self, reader: ModelReader, sampler: Sampler) -> DrawContext:
        """What the stages of `sampler` may know at the cursor, for a model with the same tokens.

        The second number of the draw is that of the token at the cursor, as it was drawn or would be.
        """
        seed, redraw = self._present_draw()
        prompt_length = min(self.cursor, self.prompt_length)
        return reader.context(self.tokens[: self.cursor], prompt_length, replace(sampler, seed=seed), redraw)

    def _present_draw(self) -> tuple[int, int]:
        """The seed of the token at the cursor, and how often it was drawn again."""
        token = self.tokens[self.cursor] if self.cursor < len(self.tokens) else None
        if token and token.sampler:
            return token.sampler.seed, token.redraw
        return self.sampler.seed, self._draws(self.history.current) if token else 0

    def _draws(self, node: Node) -> int:
        """How many tokens this model drew after `node` with this seed."""
        return max(
            (
                1 + token.redraw
                for token in (child.token for child in node.children.values())
                if token.sampler and token.sampler.seed == self.sampler.seed and token.model == self.info
            ),
            default=0,
        )

    def guess(self, text: str) -> Guess:
        """Compare a person's guess with the next token, which is drawn if the walk ends here, and move behind it.

        The guessed token is the first token of `text`, or, if that is likelier and `text` does not begin with white
        space, of `text` with a space before it. Raises `UserError` for an empty text.
        """
        texts = (text, f" {text}") if text and not text[0].isspace() else (text,)
        first_ids = {ids[0] for each in texts if text and (ids := self.model.tokenizer.continuation(each))}
        if not first_ids:
            raise UserError("write what you think comes next; a letter is enough")
        distribution, piece = self.distribution(), self.model.tokenizer.piece
        guessed = max(first_ids, key=lambda id: distribution.logits[id])
        seen = chart(distribution, self.sampler, 1, piece, guessed, self._present_context()[1])
        assert seen.taken is not None
        position = self.cursor
        if position < len(self.tokens):
            self.travel(position + 1)
        else:
            self.step()
        guess = Guess(position, seen.taken, seen.candidates[0], self.tokens[position])
        self.guesses.append(guess)
        return guess

    def continuations(self, samples: int, count: int) -> Iterator[SamplingProgress]:
        """Sample `samples` continuations of `count` tokens at the cursor, as one batch, into the tree.

        Continuation i draws with seed + i, so the first equals what `generate` would draw.
        """
        before = self.tokens[: self.cursor]
        batch = self.reader.batch(before, min(self.cursor, self.prompt_length), self.sampler, samples)
        ends = [self.history.current] * samples
        self._continuations = ends[0], ends
        for done in range(count):
            for row, drawn in enumerate(batch.step()):
                if drawn:
                    piece = self.model.tokenizer.piece(drawn.id)
                    token = sampled_token(drawn, piece, batch.samplers[row], self.info)
                    ends[row] = self.tree.child(ends[row], token)
            yield SamplingProgress(done + 1, count)
            if not any(batch.running):
                return

    def continuation_tree(self) -> ContinuationTree:
        """The last continuations, one by one and merged where they begin alike; empty if there were none."""
        return continuation_tree.merged(*self._continuations) if self._continuations else ContinuationTree((), ())

    # The history -----------------------------------------------------------------------------------------------------

    def take_back(self) -> None:
        """Undo the last step, choice, draw, visit or deletion. Raises `UserError` if there is none."""
        self.history.take_back()

    def redo(self) -> None:
        """Repeat what was undone last. Raises `UserError` if nothing was."""
        self.history.redo()

    def travel(self, cursor: int) -> None:
        """Move the cursor along the walk; a value beyond an end means that end."""
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
        return self.tree.version, *changes, self.history.position, self.sampler, self.patches, self.info

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
            return self.model.tokenizer is model.tokenizer
        tokens = {node.token.id: node.token.piece for node in self.tree.nodes.values()}
        return all(id < model.tokenizer.vocab_size and model.tokenizer.piece(id) == tokens[id] for id in tokens)

    def moved_to(self, model: Model) -> "Session":
        """The same walk and tree in another model with the same tokenizer; nothing is read or scored yet."""
        self.tree.forget_scores()
        session = Session(model, self.sampler, self.tree)
        session.typed = self.typed
        session.history.continue_from(self.history)
        if self.patches and model.info.name == self.info.name:
            session.patch(self.patches)
        return session

    # What is seen ----------------------------------------------------------------------------------------------------

    def distribution(self) -> Distribution:
        """The next-token distribution at the cursor."""
        return self.reader.distribution(self.cursor)

    def chart(self, count: int = SHOWN) -> Chart:
        """The `count` likeliest tokens at the cursor under the present sampler, and the next token if there is one."""
        return self.reader.chart(self.cursor, self.sampler, count, self._present_context()[1])

    def current_step(self) -> Step:
        """The forward pass that predicts the token at the cursor, for a lens to look into."""
        return self.reader.step(self.cursor)

    def explain(self) -> SamplerLens:
        """Why the token at the cursor was drawn, or would be, under the present sampler."""
        u, context = self._present_context()
        return sampler_lens(self.distribution(), self.sampler, u, self.model.tokenizer.piece, context=context)

    def summary(self, worst: int = 500) -> Summary:
        """Perplexity and related sums over the tokens that have a score, and the `worst` most surprising positions."""
        bits = [(at, token.score.surprisal_bits) for at, token in enumerate(self.tokens) if token.score]
        most_surprising = heapq.nlargest(worst, bits, key=lambda each: each[1])
        pieces = [token.piece for token in self.tokens]
        if self.available:
            pieces = self.model.tokenizer.typed([token.id for token in self.tokens])
        return Summary(
            measured=len(bits),
            tokens=max(0, len(self.tokens) - 1),
            bits=math.fsum(each for _, each in bits),
            byte_count=sum(len(pieces[at]) for at, _ in bits),
            worst=tuple(at for at, _ in most_surprising),
        )

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
            chart=self.chart() if self.tokens and self.available else None,
            prompt=self.prompt,
            typed=self.typed,
            stopped=self.stopped,
            patches=self.patches,
            spans=self._spans(),
            turn=self.turn,
        )
