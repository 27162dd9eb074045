"""What a key does in plain mode. Ids, keys and words are those of the walk screen (`tui.keys`)."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import UserError
from core.generation import stop_conditions
from core.language import _
from core.loading import catalog
from core.sampling.sampler import PRESETS, Sampler
from core.search import settings as search_settings
from tui import knobs
from tui.drawing.sampler import sampler_text
from tui.drawing.text import label
from tui.keys import WALK, key_name
from tui.plain import lenses, words
from tui.plain.desk import Desk
from tui.reports.model_details import model_details_lines

if TYPE_CHECKING:
    from core.loading.details import ModelDetails
    from core.walk.session import Session

SAMPLES = 5
"""Continuations that one press samples."""
SPOKEN = ("enter", "escape", "up", "down", "left", "right", "home", "end", "tab")
"""Keys whose name is a word."""
PANELS = {
    "prompt": words.prompt_lines,
    "tokens": words.tokens_lines,
    "next": words.chart_lines,
    "text": words.text_lines,
    "status": words.status_lines,
}
"""What is read by F1 to F5, by its name, or one after the other by tab."""


class Actions:
    """Each method is the action of one key."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._panel, self._pick = -1, 0
        self._lens = ""
        """The lens that was read last."""
        self.table: dict[str, Callable[[], None]] = {
            "walk.step": self.step,
            "walk.generate": self.generate,
            "walk.stop": self.stop,
            "walk.until": self.until,
            "walk.take": lambda: self.take(self._pick + 1),
            **{f"walk.take_{n}": lambda n=n: self.take(n) for n in range(1, 10)},  # type: ignore[misc]
            "walk.pick_up": lambda: self.pick(-1),
            "walk.pick_down": lambda: self.pick(1),
            "walk.left": lambda: desk.submit(lambda session: session.travel(session.cursor - 1)),
            "walk.right": lambda: desk.submit(lambda session: session.travel(session.cursor + 1)),
            "walk.home": lambda: desk.submit(lambda session: session.travel(1)),
            "walk.end": lambda: desk.submit(lambda session: session.travel(len(session.tokens))),
            "walk.take_back": lambda: desk.submit(lambda session: session.take_back()),
            "walk.redo": lambda: desk.submit(lambda session: session.redo()),
            "walk.redraw": lambda: desk.submit(lambda session: session.redraw()),
            "walk.continuations": self.continuations,
            "walk.search": self.search,
            "walk.write": self.write,
            "walk.chat": self.chat,
            "walk.system": self.system,
            "lens.next": lambda: self.turn(1),
            "lens.previous": lambda: self.turn(-1),
            "lens.index": self.index,
            "lens.branches": lambda: self.read("branches"),
            "question.target": lambda: self.ask(target=True),
            "question.against": lambda: self.ask(target=False),
            "question.corrupt": self.corrupt,
            "choose.model": self.model,
            "choose.details": self.details,
            "choose.twin": self.twin,
            "choose.device": self.device,
            "choose.seed": self.seed,
            "choose.preset": self.preset,
            "session.save": lambda: desk.submit(desk.autosave.save, interrupts=False),
            "session.open": self.open,
            "app.help": self.help,
            "app.quit": desk.end,
            **{
                f"knob.{letter}_{way}": lambda turn=turn, by=by: self.use(turn(desk.sampler, by))  # type: ignore[misc]
                for letter, turn in (
                    *(("t", knobs.temperature), ("k", knobs.top_k)),
                    *(("p", knobs.top_p), ("m", knobs.min_p)),
                )
                for way, by in (("down", -1), ("up", 1))
            },
        }

    # Reading ---------------------------------------------------------------------------------------------------------

    def panel(self, name: str) -> None:
        """Read a panel."""
        self._panel = list(PANELS).index(name)
        self._desk.say_all(PANELS[name](self._desk.frame))

    def next_panel(self, by: int) -> None:
        """Read the next panel."""
        self.panel(list(PANELS)[(self._panel + by) % len(PANELS)])

    def turn(self, by: int) -> None:
        """Read the next lens."""
        names = lenses.names()
        at = names.index(self._lens) if self._lens else -1 if by > 0 else 0
        self.read(names[(at + by) % len(names)])

    def read(self, name: str) -> None:
        """Read a lens, when it has its answer."""
        self._lens = name
        names = lenses.names()
        self._desk.say(
            _("lens {number} of {count}, {title}").format(
                number=names.index(name) + 1, count=len(names), title=lenses.title(name)
            )
        )
        self._desk.await_answer(lenses.question(name), lambda answer: lenses.answer_lines(name, answer))

    def index(self) -> None:
        """List the lenses, and read the one that is written."""
        self._desk.say_all(f"{name}: {lenses.title(name)}" for name in lenses.names())
        if name := self._desk.ask(_("a lens by its name")):
            self.command(name)

    def help(self) -> None:
        """List the keys."""
        hidden = {f"walk.take_{n}" for n in range(2, 10)}
        for binding in WALK:
            if binding.id in self.table.keys() - hidden:
                self._desk.say(f"{spoken(self._desk.key_of(binding.id))}: {_(binding.tooltip)}")
        names = ", ".join(PANELS)
        self._desk.say(_("f1 to f5, or tab: read a panel: {names}").format(names=names))
        self._desk.say(_("ctrl+p: write a command: a panel, a lens or a key by its name"))

    # Walking ---------------------------------------------------------------------------------------------------------

    def step(self) -> None:
        """Sample a token, or stop a run."""
        if self._desk.frame.activity == "generating":
            self.stop()
        else:
            self._desk.submit(lambda session: session.step())

    def generate(self) -> None:
        """Sample `count` tokens, or stop."""
        from tui.walk.walking import run_of  # noqa: PLC0415  # it brings the dialogs of the app

        if self._desk.frame.activity == "generating":
            self.stop()
        else:
            count = self._desk.count
            self._desk.submit(lambda session: run_of(session, count))

    def stop(self) -> None:
        """Stop what goes on."""
        if self._desk.frame.activity == "loading":
            self._desk.runner.cancel_loading()
        self._desk.runner.pause()

    def until(self) -> None:
        """Generate until a condition holds."""
        line = self._desk.ask(_("generate until one of these holds: {forms}").format(forms=stop_conditions.FORMS))
        if line:
            conditions = stop_conditions.parse(stop_conditions.parts(line))
            self._desk.submit(lambda session: session.generating(conditions.limit or 500, conditions))

    def pick(self, by: int) -> None:
        """Move to another candidate."""
        snapshot = self._desk.frame.snapshot
        if snapshot and snapshot.chart:
            self._pick = max(0, min(self._pick + by, len(snapshot.chart.candidates) - 1))
            self._desk.say(words.candidate_line(snapshot.chart.candidates[self._pick]))

    def take(self, number: int) -> None:
        """Take a candidate, counted from 1."""
        snapshot = self._desk.frame.snapshot
        if snapshot and snapshot.chart and number <= len(snapshot.chart.candidates):
            id = snapshot.chart.candidates[number - 1].id
            self._desk.submit(lambda session: session.take(id))

    def walked(self) -> None:
        """The chart is another one: the first candidate is picked."""
        self._pick = 0

    def continuations(self) -> None:
        """Sample several continuations, and read them."""
        count = self._desk.count
        self._desk.submit(lambda session: session.continuations.sample(SAMPLES, count))
        self._desk.then(lambda: self.read("continuations"))

    def search(self) -> None:
        """Search, and read the branches."""
        line = self._desk.ask(_("search for, such as: {forms}").format(forms=search_settings.FORMS))
        if line:
            plan = search_settings.parse(line)
            self._desk.submit(lambda session: session.searches.search(plan))
            self._desk.then(lambda: self.read("branches"))

    # Asking why ------------------------------------------------------------------------------------------------------

    def ask(self, *, target: bool) -> None:
        """Let experiments ask about the picked candidate, or compare with it."""
        snapshot = self._desk.frame.snapshot
        if not (snapshot and snapshot.chart):
            return
        each = snapshot.chart.candidates[self._pick]

        def change(session: "Session") -> None:
            asked = session.question
            session.ask(replace(asked, target=each.id) if target else replace(asked, against=each.id))

        self._desk.submit(change, interrupts=False)
        text = _("experiments ask why {token}") if target else _("experiments ask why not {token}")
        self._desk.say(text.format(token=label(each.piece)))

    def corrupt(self) -> None:
        """Write the corrupt prompt."""
        text, form = self._desk.ask(_("the corrupt prompt; an empty line removes it")), self._desk.form
        if text is not None:
            self._desk.submit(lambda session: session.compare_with(text, form, "left"), interrupts=False)

    # Writing and choosing --------------------------------------------------------------------------------------------

    def write(self) -> None:
        """Write the prompt, or after an answer the next message."""
        text = self._desk.ask(_("prompt"))
        if text is not None:
            self._desk.write(text)

    def chat(self) -> None:
        """Put the prompt into the chat template, or take it out."""
        self._desk.form = replace(self._desk.form, chat=not self._desk.form.chat)
        self._desk.say(_("chat template on") if self._desk.form.chat else _("chat template off"))
        self._rewrite()

    def system(self) -> None:
        """Write a system message."""
        text = self._desk.ask(_("the message of the system; an empty line removes it"))
        if text is not None:
            self._desk.form = replace(self._desk.form, system=text)
            self._rewrite()

    def _rewrite(self) -> None:
        snapshot = self._desk.frame.snapshot
        self._desk.write(snapshot.prompt if snapshot else "", turn=0)

    def model(self) -> None:
        """Choose a model by its name."""
        names = [offer.name for offer in catalog.offers() if not offer.problem]
        self._desk.say(", ".join(names))
        if name := self._desk.ask(_("a model by its name, a path or an address")):
            self._desk.load(catalog.applicable(self._desk.choice, name))

    def details(self) -> None:
        """Read what the model is."""
        found: list[ModelDetails] = []

        def operation(session: "Session") -> None:
            from core.loading.details import details  # noqa: PLC0415  # it needs torch

            found.extend([details(session.model)] if session.available else [])

        self._desk.submit(operation, interrupts=False)
        self._desk.then(lambda: self._desk.say_all(line for each in found for line in model_details_lines(each)))

    def twin(self) -> None:
        """Load the trained version of a rung, or the untrained one."""
        other = catalog.twin(self._desk.choice)
        if other is None:
            raise UserError(_("{name} has no trained or untrained version"), name=self._desk.choice.name)
        self._desk.load(other)

    def device(self) -> None:
        """Choose a device and a number format."""
        names = [each.name for each in self._desk.frame.devices if not each.problem]
        self._desk.say(", ".join(names))
        if line := self._desk.ask(_("a device and a number format, such as cpu fp32")):
            device, _space, dtype = line.partition(" ")
            self._desk.load(replace(self._desk.choice, device=device, dtype=dtype.strip() or "auto"))

    def seed(self) -> None:
        """Choose the seed."""
        if line := self._desk.ask(_("seed, now {seed}").format(seed=self._desk.sampler.seed)):
            if not line.isdecimal():
                raise UserError(_("the seed must be a whole number, not {line!r}"), line=line)
            self.use(replace(self._desk.sampler, seed=int(line)))

    def preset(self) -> None:
        """Choose a sampler by its name or its stages."""
        self._desk.say_all(f"{name}: {text}" for name, text in PRESETS.items())
        if line := self._desk.ask(_("a sampler by its name, or its stages")):
            self.use(Sampler.read(line, self._desk.sampler.seed))

    def use(self, sampler: Sampler) -> None:
        """Draw by another sampler."""
        self._desk.sampler = sampler
        self._desk.say(
            _("sampler {sampler}, seed {seed}").format(sampler=words.plain(sampler_text(sampler)), seed=sampler.seed)
        )
        self._desk.submit(lambda session: setattr(session, "sampler", sampler), interrupts=False, instead_of="sampler")

    def open(self) -> None:
        """Open a saved session."""
        if line := self._desk.ask(_("the path of a saved session")):
            self._desk.runner.open(Path(line).expanduser().absolute())

    # Commands --------------------------------------------------------------------------------------------------------

    def command(self, name: str) -> None:
        """Act on a key, or on a word: a panel, a lens, or an id. Raises `UserError` for another."""
        if name in ("ctrl+p", "colon"):
            line = self._desk.ask(_("a command"))
            if line:
                self.command(line)
            return
        if name.startswith("f") and name[1:] in map(str, range(1, len(PANELS) + 1)):
            self.panel(list(PANELS)[int(name[1:]) - 1])
        elif name in ("tab", "shift+tab"):
            self.next_panel(1 if name == "tab" else -1)
        elif name in PANELS:
            self.panel(name)
        elif name.replace("-", "_") in lenses.names():
            self.read(name.replace("-", "_"))
        elif action := self.table.get(self._desk.id_of(name) or name):
            action()
        else:
            raise UserError(
                _("{name!r} does nothing here; {help} lists keys and commands"), name=name, help=spoken("question_mark")
            )


def spoken(key: str) -> str:
    """The name of a key as it is said, and written in a line."""
    return _("space") if key == "space" else key if "ctrl+" in key or key in SPOKEN else key_name(key)
