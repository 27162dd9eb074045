"""The prompt: what is typed goes to the runner, and a walk with another prompt comes back into the panel."""

from contextlib import suppress
from typing import TYPE_CHECKING

from core.errors import UserError
from core.generation.token import Token
from core.loading import catalog
from core.tokenizers.chat import encode
from core.tokenizers.tokenizer import Tokenizer
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

    def write(self) -> None:
        """Give the keys to the prompt."""
        self.screen.focus_panel(self.screen.prompt)

    def load_tokenizer(self) -> None:
        """Load the tokenizer for the preview. For a worker thread."""
        with suppress(UserError):  # the runner reports it
            self._tokenizer = catalog.tokenizer_of(self.state.choice)

    def text_changed(self, text: str) -> None:
        """Send the text of the panel to the runner, unless the panel only follows the walk."""
        if text == self._seen:
            return
        self._seen, self._pending, self._edits = text, True, self._edits + 1
        edit, special, chat = self._edits, self.state.special, self.state.chat

        def prefill(session: "Session") -> object:
            session.typed = edit
            ids = encode(session.model.tokenizer, text, special=special, chat=chat)
            return session.prefill(ids, text)

        self._preview(text)
        self.submit(prefill, instead_of="prompt")

    def _preview(self, text: str) -> None:
        """Show the tokens before the model has read them; a chat template is too slow for that."""
        tokenizer = self.state.frame.tokenizer or self._tokenizer
        if tokenizer and len(text) <= PREVIEW_LIMIT and not self.state.chat:
            ids = encode(tokenizer, text, special=self.state.special) or [tokenizer.end_of_text]
            self.screen.tokens.preview(tuple(Token(id, tokenizer.piece(id)) for id in ids))

    def follow_walk(self, frame: Frame) -> None:
        """Show the prompt of the walk, unless a person's own edit has not reached the walk yet."""
        snapshot = frame.snapshot
        if snapshot is None:
            return
        if snapshot.prompt == self._seen or snapshot.typed == self._edits > 0:
            self._pending = False
        if not self._pending and self.screen.prompt.text == self._seen != snapshot.prompt:
            self.replace(snapshot.prompt)

    def replace(self, prompt: str) -> None:
        """Show the prompt of another walk; unsent edits are dropped."""
        self._pending = False
        self.screen.prompt.follow(prompt)
        self._seen = self.screen.prompt.text
