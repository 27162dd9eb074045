"""The prompt: what is typed goes to the runner, and a walk with another prompt comes back into the panel."""

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from core.errors import Action, UserError
from core.generation.token import Token
from core.language import _
from core.loading import catalog
from core.tokenizers.chat import encode
from core.tokenizers.tokenizer import Tokenizer
from core.walk.values import PromptForm, Snapshot
from tui.dialogs.line import LineScreen
from tui.drawing.text import short_name
from tui.runner import Frame
from tui.walk.group import ActionGroup
from tui.walk.panels import PanelsScreen

if TYPE_CHECKING:
    from core.walk.session import Session

PREVIEW_LIMIT = 20_000
"""Characters; a longer prompt is not tokenized on the screen's thread."""


class Writing(ActionGroup):
    """Keeps the prompt panel and the prompt of the walk equal."""

    def __init__(self, screen: PanelsScreen) -> None:
        super().__init__(screen)
        self._tokenizer: Tokenizer | None = None
        """For the preview, until the model is loaded."""
        self._seen = screen.prompt.text
        """The text of the panel when it was last looked at."""
        self._pending = bool(self._seen)
        """Whether the walk has not taken over that text yet."""
        self._edits = 0
        """How often a person changed the text."""
        self._inside = False
        """Whether the keys are in the panel."""
        self._turn: int | None = None
        """Where the message begins that is edited; None until something is typed."""
        self._new = False
        """Whether a further message of a conversation is begun, of which nothing is typed yet."""

    def write(self) -> None:
        """Give the keys to the prompt; after an answer, for a new message."""
        self.enter()
        self.screen.focus_panel(self.screen.prompt)

    def enter(self) -> None:
        """The keys go to the prompt."""
        if not self._inside:
            self._inside, self._turn = True, None
            self._clear_after_answer()

    def leave(self) -> None:
        """The keys went to another panel: a message of which nothing was typed is not begun."""
        self._inside, self._turn = False, None
        if self._new:
            self._new = False
            self.follow_walk(self.state.frame)

    def _clear_after_answer(self) -> None:
        """Show an empty message to write, where the cursor stands after an answer and nothing is typed yet."""
        snapshot = self.state.frame.snapshot
        if not (self._inside and self._turn is None and self.state.form.chat and snapshot):
            return
        after_answer = 0 < snapshot.turn == snapshot.cursor
        if after_answer != self._new:
            self.replace("" if after_answer else snapshot.prompt)
            self._new = after_answer

    def switch_chat(self) -> None:
        """Put the prompt into the chat template of the model, or take it out."""
        form, tokenizer = self.state.form, self.state.frame.tokenizer
        if not form.chat and (tokenizer is None or tokenizer.template is None):
            self._warn_of_no_template()
        else:
            self._begin(replace(form, chat=not form.chat))

    def system(self) -> None:
        """Ask for a system message, which stands before the conversation."""
        tokenizer = self.state.frame.tokenizer
        if tokenizer is None or tokenizer.template is None:
            self._warn_of_no_template()
            return
        text = _("What the model is told before the conversation. Empty leaves it to the chat template.")
        self.screen.app.push_screen(LineScreen(_("system message"), text, self.state.form.system), self._take_system)

    def _take_system(self, text: str | None) -> None:
        if text is not None:
            self._begin(replace(self.state.form, chat=True, system=text))

    def _warn_of_no_template(self) -> None:
        name = short_name(self.state.choice.name)
        self.notices.warn(
            UserError(
                _("{name} has no chat template; {key} chooses a model made for chat, such as smollm2"),
                name=name,
                key=Action("choose.model"),
            )
        )

    def _begin(self, form: PromptForm) -> None:
        """Write the first prompt in another form; what followed it in this one comes back with it."""
        self.state.form, self._edits = form, self._edits + 1
        edit = self._edits

        def prefill(session: "Session") -> object:
            session.typed = edit
            return session.rewrite(form)

        self.submit(prefill, instead_of="prompt")

    def load_tokenizer(self) -> None:
        """Load the tokenizer for the preview. For a worker thread."""
        with suppress(UserError):  # the runner reports it
            self._tokenizer = catalog.tokenizer_of(self.state.choice)

    def text_changed(self, text: str) -> None:
        """Send the text of the panel to the runner, unless the panel only follows the walk."""
        if text == self._seen:
            return
        self._seen, self._pending, self._edits = text, True, self._edits + 1
        if self._turn is None:
            snapshot = self.state.frame.snapshot
            self._turn = snapshot.turn if snapshot and self._inside else 0
        self._new = False
        edit, form, turn = self._edits, self.state.form, self._turn

        def prefill(session: "Session") -> object:
            session.typed = edit
            return session.write(text, form, turn)

        self._preview(text)
        self.submit(prefill, instead_of="prompt")

    def _preview(self, text: str) -> None:
        """Show the tokens before the model has read them; a chat template is too slow for that."""
        tokenizer = self.state.frame.tokenizer or self._tokenizer
        if tokenizer and len(text) <= PREVIEW_LIMIT and not self.state.form.chat:
            ids = encode(tokenizer, text, special=self.state.form.special) or [tokenizer.end_of_text]
            self.screen.tokens.preview(tuple(Token(id, tokenizer.piece(id)) for id in ids))

    def follow_walk(self, frame: Frame) -> None:
        """Show the prompt of the walk, unless a person's own edit has not reached the walk yet."""
        snapshot = frame.snapshot
        if snapshot is None:
            return
        if snapshot.prompt == self._seen or snapshot.typed == self._edits > 0:
            self._pending = False
            if frame.activity == "idle" and frame.tokenizer:
                self.state.form = replace(self.state.form, chat=bool(snapshot.spans))
        self._clear_after_answer()
        if self._new:
            return
        if not self._pending and self.screen.prompt.text == self._seen != snapshot.prompt:
            self.replace(snapshot.prompt)

    def open(self, snapshot: Snapshot) -> None:
        """Show the prompt of a session that was opened, and go on in its form."""
        said = [snapshot.tokens[span.start : span.end] for span in snapshot.spans if span.role == "system"]
        system = b"".join(token.piece for tokens in said for token in tokens).decode("utf-8", "backslashreplace")
        self.state.form = replace(self.state.form, chat=bool(snapshot.spans), system=system)
        self.replace(snapshot.prompt)

    def name_prompt(self) -> None:
        """Say in the border of the panel which message it shows, or that the model has a chat template."""
        snapshot, tokenizer = self.state.frame.snapshot, self.state.frame.tokenizer
        template = tokenizer is not None and tokenizer.template is not None
        key, title, chat = self.notices.key_of("walk.chat"), _("prompt"), False
        hint = _("{key} chat template").format(key=key) if template else ""
        if self.state.form.chat and snapshot and snapshot.spans:
            starts = [span.start for span in snapshot.spans if span.role == "user"]
            number = sum(start < snapshot.cursor for start in starts) or 1
            chat, title, hint = (
                True,
                _("message {number}").format(number=number + self._new),
                _("chat template · {key} plain text").format(key=key),
            )
        self.screen.prompt.describe(title, "" if self.screen.writing else hint, message=chat)

    def replace(self, prompt: str) -> None:
        """Show the prompt of another walk; unsent edits are dropped."""
        self._pending = self._new = False
        self.screen.prompt.follow(prompt)
        self._seen = self.screen.prompt.text
