"""Owns one walk: token ids in, events out. Prefill, step, take, draw again, take back, redo, travel, branch.

Nothing tried is lost: what the walk leaves stays in its tree, and going there reads only what is not shared.

Whatever may take long is an iterator that pauses between pieces of work, so a caller can paint, or stop, in between.
"""

import heapq
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from core.activations.experiment import Experiment
from core.activations.patch import Patch
from core.activations.trace import Step, step_at
from core.engine.prefix import Prefix
from core.errors import Action, UserError
from core.generation.batch import Batch, sampled_token
from core.generation.stop_conditions import Until
from core.generation.token import Token
from core.loading.models import Model
from core.progress import Progress
from core.sampling.chart import chart
from core.sampling.distribution import Distribution, scores
from core.sampling.draw import draw, uniform
from core.sampling.explain import sampler_lens
from core.sampling.explanation import SamplerLens
from core.sampling.sampler import Sampler
from core.sampling.values import Chart
from core.sequences import common_prefix
from core.tokenizers.tokenizer import Decoder
from core.walk.tree import Node, Tree
from core.walk.values import Fan, Forest, Guess, SamplingProgress, Snapshot, Summary
from core.world import truth

SHOWN = 50
"""Candidates in the chart of a snapshot."""
SCORED_AT_ONCE = 32
"""Positions whose logits are held at the same time."""
SCORED_BEYOND = 131_072
"""Window tokens that may be read for the sake of scoring a prompt longer than the context."""


@dataclass(frozen=True, slots=True)
class WalkPosition:
    """Where a walk stands: the last node of its path, and how many tokens were read."""

    end: Node
    cursor: int


@dataclass(slots=True)
class HistoryEntry:
    """What `take_back` undoes."""

    before: WalkPosition
    after: WalkPosition
    visit: bool = False
    """Whether only the place changed."""
    drawn: dict[Node, tuple[Token, Token]] = field(default_factory=dict)
    """Nodes that were there and came again: their token before and after."""
    cut: Node | None = None
    """A branch that was taken out of the tree."""


class Session:
    """A walk through one model. Not thread-safe: it belongs to the thread that runs the model."""

    def __init__(
        self, model: Model, sampler: Sampler = Sampler(), tree: Tree | None = None, prefix: Prefix | None = None
    ) -> None:
        self.model = model
        self.sampler = sampler
        self.tree = tree or Tree()
        self.tokens: list[Token] = []
        self.prompt_length = 0
        self.cursor = 0
        self.typed = 0
        """A number that who types gives each prompt, to know when it was taken up."""
        self.stopped = ""
        """How the last generation ended, where it had conditions."""
        self.guesses: list[Guess] = []
        self._measured = 0
        self._fan: tuple[Node, list[Node]] | None = None
        self._path: list[Node] = []
        self._ids: list[int] = []
        self._prefix = prefix or Prefix(model.transformer)
        self._experiment: Experiment | None = None
        self._done: list[HistoryEntry] = []
        self._undone: list[HistoryEntry] = []
        self._latest: tuple[int, Distribution] | None = None
        self._piece = model.tokenizer.piece
        self._truth = truth.known_truth(model.tokenizer)

    # The prompt ------------------------------------------------------------------------------------------------------

    def prefill(self, ids: Sequence[int], text: str | None = None) -> Iterator[Progress]:
        """Make `ids`, written as `text`, the prompt at once, and read it as the iterator goes on.

        An empty prompt starts from `<|endoftext|>`. What it shares with the tokens before keeps its cache; what was
        sampled stays in the tree. Raises `UserError` for an id outside V.
        """
        ids = list(ids) or [self.model.tokenizer.end_of_text]
        pieces = [self._piece(id) for id in ids[self._written(ids) :]]
        written = self._path
        path = written[: len(ids) - len(pieces)]
        for id, piece in zip(ids[len(path) :], pieces, strict=True):
            path.append(self.tree.child(path[-1] if path else self.tree.root, Token(id, piece)))
        path[-1].text = text
        self._go(path, len(path))
        self._forget_drafts(written, kept=path)
        self._done.clear()
        self._undone.clear()
        return self.read()

    def _written(self, ids: Sequence[int]) -> int:
        """How many of the tokens of the prompt `ids` begin with."""
        return common_prefix(self._ids[: self.prompt_length], ids)

    def _forget_drafts(self, written: Sequence[Node], kept: Sequence[Node]) -> None:
        """Take out of the tree what was only typed on the way to this prompt."""
        for node in reversed(written[common_prefix(written, kept) :]):
            if node.children or node.name or node.token.origin != "prompt":
                break
            self.tree.forget(node)

    def read(self) -> Iterator[Progress]:
        """Read what the chart at the cursor needs."""
        position = self.cursor - 1
        total = position + 1 if position < self.model.info.context else 1  # beyond it only the last window is read
        if not self._prefix.knows(position):
            yield Progress(0, total)
            for done in self._prefix.read([position]):
                yield Progress(done, total)
        if self._experiment:
            for done in self._experiment.read(position):
                yield Progress(done, total)

    def unscored(self) -> bool:
        """Whether a token waits for `score`."""
        return any(token.score is None for token in self.tokens[1:])

    def score(self) -> Iterator[None]:
        """Measure the tokens that have no score yet, a few positions at a time, the last ones first."""
        context, reach = self.model.info.context, self.model.transformer.config.reach
        missing = [at for at in range(len(self.tokens) - 1, 0, -1) if self.tokens[at].score is None]
        beyond = [at for at in missing if at > context][: SCORED_BEYOND // reach]
        wanted = beyond + [at for at in missing if at <= context]
        for first in range(0, len(wanted), SCORED_AT_ONCE):
            batch = wanted[first : first + SCORED_AT_ONCE]
            before = [at - 1 for at in batch]
            for _ in self._prefix.read(before):
                yield
            measured = scores(self._prefix.logits(before)[0], [self._ids[at] for at in batch])
            for at, score in zip(batch, measured, strict=True):
                self.tokens[at] = self._path[at].token = replace(self.tokens[at], score=score)
            self._measured += len(batch)
            yield

    # Steps -----------------------------------------------------------------------------------------------------------

    def step(self) -> Token:
        """Sample one token at the cursor and move onto it.

        Where the walk has gone on from here, this is another draw, and opens a branch unless it comes out the same.
        """
        return self._sample(self.cursor, again=self.cursor < len(self._path))

    def generate(self, count: int, until: Until = Until()) -> Iterator[Token]:
        """`count` steps, one at a time (S9), fewer where the model ends its text or a condition holds.

        `stopped` says how it ended. What comes next is not looked at before the first token, so that a walk can go on
        from where it stopped.
        """
        decoder, text = Decoder(), ""
        for done in range(count):
            reason = ""
            if done and until.compared:
                reason = until.before(self.distribution().entropy_bits, self.distribution().margin())
            if not reason:
                token = self.step()
                text += decoder.feed(token.piece)
                yield token
                reason = "the model ended its text" if token.id in self.model.stops else until.after(token, text)
            if reason:
                self.stopped = f"stopped: {reason}"
                return
        if until:
            self.stopped = f"{count} tokens without {until}"

    def take(self, id: int) -> Token:
        """Put a chosen token at the cursor and move onto it."""
        token = Token(id, self._piece(id), "chosen", self.distribution().score(id), model=self.model.info)
        self._extend(self.cursor, token)
        return token

    def redraw(self) -> Token:
        """Draw the token under the cursor again from the same distribution. Raises `UserError` where none was drawn."""
        if self.cursor <= self.prompt_length:
            raise UserError("nothing was drawn here yet; ", Action("walk.step"), " draws the first token")
        return self._sample(self.cursor - 1, again=True)

    def _sample(self, at: int, again: bool) -> Token:
        redraw = self._draws(self._path[at - 1]) if again else 0
        distribution = self._distribution_before(at)
        drawn = draw(distribution, self.sampler, uniform(self.sampler.seed, at, redraw))
        token = sampled_token(drawn, self._piece(drawn.id), self.sampler, self.model.info, redraw)
        self._extend(at, token)
        return token

    def _draws(self, node: Node) -> int:
        """How often this model with this seed was asked what comes after `node`."""
        return max(
            (
                1 + token.redraw
                for token in (child.token for child in node.children.values())
                if token.sampler and token.sampler.seed == self.sampler.seed and token.model == self.model.info
            ),
            default=0,
        )

    def _extend(self, at: int, token: Token) -> None:
        """Let `token` be the last of the walk, after the first `at` ones."""
        change = HistoryEntry(self.place, self.place)
        node = self.tree.child(self._path[at - 1], token)
        if node.token is not token:
            change.drawn[node] = node.token, token
            node.token = token
        self._go([*self._path[:at], node], at + 1)
        self._changed(change)

    def take_back(self) -> None:
        """Undo the last step, choice, draw, visit or deletion. Raises `UserError` where there is none."""
        if not self._done:
            raise UserError("nothing to take back; ", Action("walk.write"), " edits the prompt")
        change = self._done.pop()
        self._undone.append(change)
        for node, (before, _) in change.drawn.items():
            node.token = before
        if change.cut:
            self.tree.put_back(change.cut)
        self._stand(change.before)

    def redo(self) -> None:
        """Do again what was taken back. Raises `UserError` where nothing was."""
        if not self._undone:
            raise UserError("nothing to redo")
        change = self._undone.pop()
        self._done.append(change)
        for node, (_, after) in change.drawn.items():
            node.token = after
        self._stand(change.after)
        if change.cut:
            self.tree.cut(change.cut)

    def travel(self, cursor: int) -> None:
        """Look at the place after `cursor` tokens; beyond an end means that end."""
        self.cursor = max(1, min(cursor, len(self.tokens)))

    # Patches ---------------------------------------------------------------------------------------------------------

    @property
    def patches(self) -> tuple[Patch, ...]:
        """What is changed in the model at present."""
        return self._experiment.patches if self._experiment else ()

    def patch(self, patches: Sequence[Patch]) -> Iterator[Progress]:
        """Let `patches`, and no others, act on the model from now on; the walk is read and scored again.

        Without any it is what it was, bit for bit. Raises `UserError` for a part the model does not have.
        """
        for each in patches:
            each.check(self.model.transformer.config)
        if self._experiment:
            self._experiment.end()
            self._prefix, self._experiment = self._experiment.plain, None
        if patches:
            self._experiment = Experiment(self.model, patches, self._prefix)
            self._prefix = Prefix(self.model.transformer)
            if self._ids:
                self._prefix.append([self._ids])
        self._latest = None
        self.tree.forget_scores()
        self.refresh()
        self._done = [_forgetful(change) for change in self._done]
        self._undone = [_forgetful(change) for change in self._undone]
        return self.read() if self.tokens else iter(())

    def refresh(self) -> None:
        """Take up what the nodes of the walk say of their tokens now."""
        self.tokens = [node.token for node in self._path]

    # The tree --------------------------------------------------------------------------------------------------------

    @property
    def place(self) -> WalkPosition:
        """Where the walk stands."""
        return WalkPosition(self._path[-1] if self._path else self.tree.root, self.cursor)

    def go(self, place: WalkPosition) -> Iterator[Progress]:
        """Stand at a place of the tree, as where a saved walk stood; this is no change to take back."""
        self._stand(place)
        return self.read()

    def mark(self) -> object:
        """Equal as long as nothing was done that is worth keeping."""
        changes = len(self._done), len(self._undone), self._measured
        return self.tree.version, *changes, self.place, self.sampler, self.patches

    def worth_keeping(self) -> bool:
        """Whether there is more than a prompt."""
        return len(self.tree.nodes) > self.prompt_length

    def forest(self, around: int = 200) -> Forest:
        """The branches of the tree, up to `around` before and after the one at the cursor."""
        return self.tree.forest(self._path, self.cursor, around)

    def visit(self, serial: int) -> Iterator[Progress]:
        """Walk to the end of a branch, on the way that was last seen through it. Raises `UserError` where it is gone."""
        head, before = self.tree.node(serial), self.place
        self._enter(head)
        if self._done and self._done[-1].visit:  # one way back from a tour of the tree
            self._done[-1].after = self.place
            self._undone.clear()
        else:
            self._changed(HistoryEntry(before, before, visit=True))
        return self.read()

    def _enter(self, head: Node) -> None:
        """Stand at the end of the branch of `head`, on the way that was last seen through it."""
        last = self.tree.segment(head)[-1]
        self._go(self.tree.path(self.tree.end(last)), len(self.tree.path(last)))

    def branch(self, by: int = 0) -> int:
        """The serial number of the branch at the cursor, or of the one `by` rows further on in the forest."""
        return self.tree.beside(self._path[self.cursor - 1], by).serial

    def rename(self, serial: int, name: str) -> None:
        """Give a branch a name; an empty one takes it away."""
        self.tree.node(serial).name = name
        self.tree.version += 1

    def fold(self, serial: int) -> None:
        """Hide what goes on from the end of a branch, or show it again; where nothing does, nothing is done."""
        node = self.tree.node(serial)
        node.folded = not node.folded and bool(self.tree.segment(node)[-1].children)
        self.tree.version += 1

    def delete(self, serial: int) -> Iterator[Progress]:
        """Take a branch and all behind it out of the tree; `take_back` undoes it. Raises `UserError` for the only one."""
        head = self.tree.node(serial)
        parent = head.parent
        if parent is None or (parent is self.tree.root and len(parent.children) == 1):
            raise UserError("the only branch cannot be deleted; ", Action("walk.write"), " edits the prompt")
        before = self.place
        if head in self._path:
            self.tree.cut(head)
            parent.latest = None if parent.latest is head else parent.latest
            if parent is self.tree.root:
                self._enter(next(iter(parent.children.values())))
            else:
                path = self.tree.path(parent)
                self._go(path, len(path))
        else:
            self.tree.cut(head)
        self._changed(HistoryEntry(before, before, cut=head))
        return self.read()

    def continuations(self, samples: int, count: int) -> Iterator[SamplingProgress]:
        """Sample `count` tokens at the cursor `samples` times, as one batch, into the tree (S10).

        Continuation i draws with seed + i, so the first is what `generate` would draw.
        """
        batch = Batch(self.model, self._ids[: self.cursor], self.sampler, samples, self._prefix)
        ends = [self._path[self.cursor - 1]] * samples
        self._fan = ends[0], ends
        for done in range(count):
            for row, drawn in enumerate(batch.step()):
                if drawn:
                    token = sampled_token(drawn, self._piece(drawn.id), batch.samplers[row], self.model.info)
                    ends[row] = self.tree.child(ends[row], token)
            yield SamplingProgress(done + 1, count)
            if not any(batch.running):
                return

    def fan(self) -> Fan:
        """The last continuations, each by itself and merged; empty where there were none."""
        return self.tree.fan(*self._fan) if self._fan else Fan((), ())

    def _changed(self, change: HistoryEntry) -> None:
        change.after = self.place
        self._done.append(change)
        self._undone.clear()

    def _stand(self, place: WalkPosition) -> None:
        self._go(self.tree.path(place.end), place.cursor)

    def _go(self, path: list[Node], cursor: int) -> None:
        """Let `path` be the walk; what its ids share with the walk before keeps its cache."""
        same = common_prefix(self._path, path)
        self.tree.visit(path, same)
        fresh = [node.token for node in path[same:]]
        ids = [token.id for token in fresh]
        kept = same + common_prefix(self._ids[same:], ids)
        self._prefix.rewind(kept)
        if self._latest and self._latest[0] > kept:
            self._latest = None
        self._ids[same:], self.tokens[same:] = ids, fresh
        if same:
            self.tokens[same - 1] = path[same - 1].token
        if len(path) > kept:
            self._prefix.append([self._ids[kept:]])
        if self._experiment:
            self._experiment.rewind(kept, self._ids[kept:])
        self._path, self.cursor, self.stopped = path, cursor, ""
        self.prompt_length = self._count_prompt(min(self.prompt_length, same))

    def _count_prompt(self, known: int) -> int:
        """How many tokens the walk begins with that were written."""
        while known < len(self.tokens) and self.tokens[known].origin == "prompt":
            known += 1
        return known

    # What is seen ----------------------------------------------------------------------------------------------------

    def explain(self) -> SamplerLens:
        """Why the token after the cursor was drawn, or would be, under the present sampler."""
        came = self.tokens[self.cursor] if self.cursor < len(self.tokens) else None
        u = came.u if came else None
        if u is None:
            u = uniform(self.sampler.seed, self.cursor, self._draws(self._path[self.cursor - 1]) if came else 0)
        return sampler_lens(self.distribution(), self.sampler, u, self._piece)

    def guess(self, text: str) -> Guess:
        """Let a person say what comes next, then see what does: the token that stands there, or one that is drawn.

        The guess is the likelier of the first tokens of `text` with and without a space before it. Raises `UserError`
        for an empty one.
        """
        begin = len(self.model.tokenizer.encode(""))
        heads = {self.model.tokenizer.encode(t)[begin] for t in (text, f" {text}") if text}
        if not heads:
            raise UserError("write what you think comes next; a letter is enough")
        distribution = self.distribution()
        guessed = chart(distribution, self.sampler, 1, self._piece, max(heads, key=lambda i: distribution.logits[i]))
        assert guessed.taken is not None
        position = self.cursor
        if position < len(self._path):
            self.travel(position + 1)
        else:
            self.step()
        made = Guess(position, guessed.taken, guessed.candidates[0], self.tokens[position])
        self.guesses.append(made)
        return made

    def summary(self, worst: int = 500) -> Summary:
        """Perplexity and the like of the tokens measured so far, and the places that surprised most."""
        bits = [(at, token.score.surprisal_bits) for at, token in enumerate(self.tokens) if token.score]
        places = heapq.nlargest(worst, bits, key=lambda place: place[1])
        return Summary(
            measured=len(bits),
            tokens=max(0, len(self.tokens) - 1),
            bits=math.fsum(each for _, each in bits),
            byte_count=sum(len(self.tokens[at].piece) for at, _ in bits),
            worst=tuple(at for at, _ in places),
        )

    def here(self) -> Step:
        """The step at the cursor, for a lens to look at."""
        target = self._ids[self.cursor] if self.cursor < len(self._ids) else None
        return step_at(self.model, self._ids[: self.cursor], self._prefix, target)

    def distribution(self) -> Distribution:
        """What comes after the cursor."""
        return self._distribution_before(self.cursor)

    def _distribution_before(self, at: int) -> Distribution:
        if self._latest is None or self._latest[0] != at:
            logits = self._prefix.logits([at - 1])[0, 0]
            self._latest = at, Distribution(logits)
        return self._latest[1]

    def chart(self, count: int = SHOWN) -> Chart:
        """The `count` likeliest tokens after the cursor under the present sampler, and the one that came, if any."""
        taken = self._ids[self.cursor] if self.cursor < len(self.tokens) else None
        seen = chart(self.distribution(), self.sampler, count, self._piece, taken)
        seen = self._experiment.beside(seen, self.cursor - 1) if self._experiment else seen
        return self._truth.annotate(seen, self.distribution(), self._ids[: self.cursor]) if self._truth else seen

    def _seen(self) -> Chart | None:
        return self.chart() if self.tokens else None

    def snapshot(self) -> Snapshot:
        """The walk as it stands; the distribution at the cursor is read where it is not known."""
        return Snapshot(
            tokens=tuple(self.tokens),
            prompt_length=self.prompt_length,
            cursor=self.cursor,
            window=max(0, self.cursor - self.model.info.context),
            sampler=self.sampler,
            can_take_back=bool(self._done),
            can_redo=bool(self._undone),
            chart=self._seen(),
            prompt=self.prompt,
            typed=self.typed,
            stopped=self.stopped,
            patches=self.patches,
        )

    @property
    def prompt(self) -> str:
        """The prompt as it was written, or as far as the walk still follows it."""
        if not self.prompt_length:
            return ""
        last = self._path[self.prompt_length - 1]
        if last.text is None:
            begin = len(self.model.tokenizer.encode(""))
            last.text = self.model.tokenizer.text(self._ids[begin : self.prompt_length])
        return last.text

    def goes_on_in(self, model: Model) -> bool:
        """Whether the tokens of the walk are tokens of a model."""
        return self.model.tokenizer is model.tokenizer

    def moved_to(self, model: Model) -> "Session":
        """The same walk and tree in another model with the same tokenizer; nothing is read or scored yet."""
        self.tree.forget_scores()
        session = Session(model, self.sampler, self.tree)
        session.typed = self.typed
        session._go(list(self._path), self.cursor)
        session._done = [_forgetful(change) for change in self._done]
        session._undone = [_forgetful(change) for change in self._undone]
        if self.patches and model.info.name == self.model.info.name:
            session.patch(self.patches)
        return session


def _forgetful(change: HistoryEntry) -> HistoryEntry:
    drawn = {node: (replace(old, score=None), replace(new, score=None)) for node, (old, new) in change.drawn.items()}
    return replace(change, drawn=drawn)
