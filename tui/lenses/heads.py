"""The heads lens: a score of every head as a map of layers and heads, for several kinds of heads."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from rich.cells import cell_len
from rich.text import Text

from core.language import N_, _
from core.lenses import lens
from tui.drawing.heat_map import HeatMap
from tui.lenses.attention import AttentionLens
from tui.lenses.base import AnswerCache, ExportedPage, HeatMapPage, KeyWords
from tui.runner import Frame, Question

if TYPE_CHECKING:
    from core.lenses.heads import HeadsView
    from core.walk.session import Session


class View(NamedTuple):
    """One kind of score."""

    name: str
    """The field of the answer."""
    title: str
    meaning: str
    part: str


VIEWS = (
    View("induction", N_("induction"), N_("attention to the token after an earlier copy"), "attention"),
    View("previous", N_("previous token"), N_("attention to the token before"), "attention"),
    View("duplicate", N_("duplicate token"), N_("attention to earlier copies of this token"), "attention"),
    View("copying", N_("copying"), N_("does it raise the logits of the tokens that it attends to?"), "copying"),
    View("composition", N_("composition"), "", "composition"),
)
READS = {"q": N_("queries"), "k": N_("keys"), "v": N_("values")}
"""What a head reads from an earlier one, by the kind of composition."""
STRONGEST = 4
"""Heads that are named over the map."""


class HeadsLens(HeatMapPage["HeadsView"], ExportedPage["HeadsView"]):
    """Rows are layers, columns heads. The composition is that of earlier heads with the head under the cursor."""

    NAME = "heads"
    TITLE = N_("heads")
    DESCRIPTION = N_("Which heads do induction or copy, and which heads they read")
    ORDER = 44
    GROUP = N_("Why")
    ALSO = N_("induction previous token copying composition")
    KEYS = KeyWords(move=N_("layer"), choose=N_("attention"), view=N_("score"), across=N_("head"))

    def __init__(self) -> None:
        super().__init__()
        self.view = VIEWS[0]
        self.measured_on = "random"
        """What attention is measured on: `random` tokens that are repeated, or the `prompt`."""
        self.kind = "k"
        """What the receiving head of a composition reads for."""
        self.receiver: tuple[int, int] | None = None
        """The layer and head whose composition is shown; None is the strongest induction head."""
        self._placed = False
        """Whether the cursor was put on the strongest induction head, as it is once."""
        self._caches = {part: AnswerCache() for part in ("attention", "copying", "composition")}

    def options(self) -> dict[str, Any]:
        part, (layer, head) = self.view.part, self.receiver or (None, None)
        if part != "composition":
            return {"only": part} | ({"measured_on": self.measured_on} if part == "attention" else {})
        if self.answer and self.answer.layer >= 1:
            layer, head = self.answer.layer, self.answer.head
        return {"only": part, "kind": self.kind} | ({} if layer is None else {"layer": layer, "head": head})

    def new_question(self) -> Question:
        part, text, kind, receiver = self.view.part, self.measured_on, self.kind, self.receiver

        def heads(session: "Session") -> Any:
            step = session.current_step()
            config = step.model.transformer.config
            layer, head = receiver or (None, None)
            if layer is not None and head is not None:  # another model may have fewer
                layer, head = min(layer, config.blocks - 1) or None, min(head, config.heads - 1)
            read = step.ids if text == "prompt" and part == "attention" else ()
            chosen = (kind, layer, head) if part == "composition" else ()
            options: dict[str, Any] = {"measured_on": text if part == "attention" else "random", "only": part}
            if layer is not None and part == "composition":
                options |= {"layer": layer, "head": head}
            key = (session.info, session.patches, text if part == "attention" else "", read, chosen)
            return self._caches[part].answers(key, lambda: lens("heads")(step, kind=kind, **options))

        return Question(heads)

    def heat_map(self) -> HeatMap | None:
        if self.answer is None or (self.view.part == "composition" and not self.answer.composition):
            return None
        values = getattr(self.answer, self.view.name)
        columns = tuple(str(n) for n in range(len(values[0])))
        rows = tuple(_("layer {n}").format(n=n) for n in range(len(values)))
        scale = None if self.view.part == "composition" else 1.0
        return HeatMap(rows, columns, values, scale, signed=self.view.part == "copying")

    def show(self, frame: Frame) -> None:
        super().show(frame)
        induction = self.answer.induction if self.answer else ()
        if not self._placed and induction and all(value is not None for row in induction for value in row):
            self._placed = True
            scores = {(n, m): value or 0.0 for n, row in enumerate(induction) for m, value in enumerate(row)}
            self.cursor, self.column = max(scores, key=lambda each: scores[each])
            self.draw()

    # Keys ------------------------------------------------------------------------------------------------------------

    def looked_at(self) -> dict[str, int | str]:
        return {"block": self.cursor, "head": self.column} if self._placed else {}

    def switch_view(self) -> None:
        at = VIEWS.index(self.view)
        self.view = VIEWS[(at + 1) % len(VIEWS)]
        if self.view.part == "composition" and self.answer:
            layers = len(self.answer.induction)
            self.receiver = (min(self.cursor, layers - 1), self.column) if self.cursor else None
        if self.view.part != VIEWS[at].part:
            self.ask_again()
        self.draw()

    def choose(self, number: int | None = None) -> None:
        """`⏎` shows the head in the attention lens; `1` and `2` choose the text, or `1` to `3` what is read."""
        if number is None:
            if self.answer and self.answer.induction:
                attention = cast(AttentionLens, self.host.turn_to(AttentionLens.NAME))
                attention.look_at(self.cursor, self.column)
            return
        if self.view.part == "attention" and number <= 2:
            self.measured_on = ("random", "prompt")[number - 1]
        elif self.view.part == "composition" and number <= len(READS):
            self.kind = tuple(READS)[number - 1]
        else:
            return
        self.ask_again()
        self.draw()

    # Painting --------------------------------------------------------------------------------------------------------

    def title_detail(self) -> str:
        return _(self.view.title)

    def draw(self) -> None:
        following = _(VIEWS[(VIEWS.index(self.view) + 1) % len(VIEWS)].title)
        more = {"attention": _("1 random · 2 prompt · "), "composition": "1 q · 2 k · 3 v · "}.get(self.view.part, "")
        self.hint(
            _("⇧↑↓←→ head · {more}⏎ attention · o {following}").format(more=more, following=following)
            if self.answer
            else ""
        )
        super().draw()

    def lines(self, answer: "HeadsView", width: int, height: int) -> Iterator[Text]:
        above = self.folded(width, (self.asked_words(answer, width), "muted"))
        yield from above
        drawn = self.heat_map()
        if drawn is None:
            one = len(answer.induction) == 1
            yield self.text((_("one layer has no earlier heads to read from") if one else self.waiting_text(), "faint"))
            return
        here = self._here(answer, drawn, width)
        yield self._strongest(drawn, width)
        yield from here
        yield from self.map_lines(drawn, width, height - len(above) - 1 - len(here))

    def asked_words(self, answer: "HeadsView", width: int) -> str:
        """What the map shows, in words; where there is no room, without what it was measured on."""
        if self.view.part == "composition":
            if answer.layer < 1:
                return _("composition: what a head reads of earlier heads")
            return _("which earlier heads does head {layer}.{head} read for its {input}?").format(
                layer=answer.layer, head=answer.head, input=_(READS[answer.kind])
            )
        if self.view.part == "copying":
            return _(self.view.meaning)
        count = answer.positions
        text = (
            _("{count} random tokens twice").format(count=count // 2)
            if answer.measured_on == "random"
            else _("{count} tokens of the prompt").format(count=count)
        )
        words = f"{_(self.view.meaning)} · {text}"
        return words if cell_len(words) <= width else _(self.view.meaning)

    def _strongest(self, drawn: HeatMap, width: int) -> Text:
        known = [
            (value, n, m) for n, row in enumerate(drawn.values) for m, value in enumerate(row) if value is not None
        ]
        line = self.text((_("strongest"), "muted"))
        for value, layer, head in sorted(known, reverse=True)[:STRONGEST]:
            words = f"  {layer}.{head}"
            if line.cell_len + len(words) + 6 <= width:
                line.append_text(self.text((words, "text"), (f" {value:.2f}", "bar")))
        return line

    def at_cursor(self, answer: "HeadsView") -> str:
        drawn = self.heat_map()
        head, value, says = self._cell(answer, drawn) if drawn else ("", None, "")
        return f"{head}: {says}" if value is None else f"{head}: {value:.3f}, {says}"

    def _cell(self, answer: "HeadsView", drawn: HeatMap) -> tuple[str, float | None, str]:
        """The head under the cursor, its number, and what that says."""
        layer, head = min(self.cursor, len(drawn.rows) - 1), min(self.column, len(drawn.columns) - 1)
        value = drawn.at(layer, head)
        name = _("head {layer}.{head}").format(layer=layer, head=head)
        return name, value, _("not yet") if value is None else self._words(answer, value)

    def _here(self, answer: "HeadsView", drawn: HeatMap, width: int) -> list[Text]:
        """The head under the cursor as lines."""
        name, value, says = self._cell(answer, drawn)
        if value is None:
            return [self.text((f"{name}  {says}", "faint"))]
        return self.folded(width, (name, "text"), (f" {value:.3f}", "bar"), (f"  {says}", "muted"))

    def _words(self, answer: "HeadsView", value: float) -> str:
        if self.view.part == "composition":
            return _("{ratio:.1f} × the value of independent heads ({independent:.3f})").format(
                ratio=value / answer.independent, independent=answer.independent
            )
        if self.view.part == "copying":
            return (
                _("copies: raises their logits")
                if value > 0.5
                else _("lowers their logits")
                if value < -0.5
                else _("neither raises nor lowers their logits")
            )
        kinds = {"previous": 0, "duplicate": 1, "induction": 2}
        queries = answer.queries[kinds[self.view.name]]
        if not queries:
            return _("no token repeats here; 1 takes random tokens")
        bounds = (
            (0.6, _("most of its attention")),
            (0.3, _("part of its attention")),
            (0.1, _("a little of its attention")),
        )
        amount = next((words for bound, words in bounds if value >= bound), _("almost none of its attention"))
        return _("{amount}, mean of {queries} tokens").format(amount=amount, queries=queries)
