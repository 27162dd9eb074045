"""Actions that save, export, copy and open the walk."""

import os
from collections.abc import Sequence
from pathlib import Path

from core.bounded import expanded
from core.errors import Action, UserError
from core.language import _
from core.sessions import storage
from core.sessions.export import FORMATS, generated
from tui.dialogs.choose import ChooseScreen, Entry
from tui.dialogs.line import LineScreen
from tui.reports.sessions import session_description
from tui.walk.group import ActionGroup

OTHER = "other"
"""The entry for a session that is not in the folder of saved ones."""


class Sessions(ActionGroup):
    """Files are written by `Autosave` on its own thread, which reports them."""

    def save(self) -> None:
        """Choose how to save or export the walk."""
        entries = [
            Entry("save", _("save"), _("The whole tree as a session, to go on with it later")),
            Entry("save as", _("save as …"), _("The same, to a file of your choice")),
            *(
                Entry(key, name, _("The tokens of this path, with their numbers"))
                for key, (name, *_others) in FORMATS.items()
            ),
            Entry("picture", _("picture"), _("The screen as an SVG file")),
        ]
        if self.notices.can_copy:
            entries.append(Entry("copy", _("copy"), _("The generated text, to the clipboard")))
        self.open_dialog(ChooseScreen(_("save or export"), entries, ""), self._save_as)

    def _save_as(self, chosen: str | None) -> None:
        autosave = self.state.autosave
        if chosen == "picture":
            self.screen.call_after_refresh(self.picture)  # without the dialog
        elif chosen == "copy":
            self.copy()
        elif chosen == "save":
            self.submit(autosave.save, interrupts=False)
        elif chosen == "save as":
            text = _("The path of a new file. Open it again with {key}, or as tokenwalk --resume FILE.")
            text = text.format(key=self.notices.key_of("session.open"))
            present = str(Path.cwd() / "walk.json")
            self.open_dialog(LineScreen(_("save as"), text, present, check=new_file), self._save_copy)
        elif chosen is not None:
            self.submit(lambda session: autosave.export(session, chosen, Path.cwd()), interrupts=False)

    def _save_copy(self, line: str | None) -> None:
        if line is not None:
            path, autosave = new_file(line), self.state.autosave
            self.submit(lambda session: autosave.save_copy(session, path), interrupts=False)

    def copy(self) -> None:
        """Copy the generated text to the clipboard."""
        snapshot = self.state.frame.snapshot
        text = generated(snapshot.tokens) if snapshot else ""
        if text:
            self.notices.copy(text, _("copied {count:,} characters").format(count=len(text)))
        else:
            self.notices.warn(UserError(_("nothing is generated yet; {key} samples a token"), key=Action("walk.step")))

    def picture(self) -> None:
        """Write the screen as an SVG file into the current folder."""
        try:
            path = self.screen.app.save_screenshot(path=str(Path.cwd()))
        except OSError as error:
            self.notices.warn(
                _("the picture cannot be written here: {reason}; start in another folder").format(reason=error.strerror)
            )
        else:
            self.notices.inform(_("written to {path}").format(path=path))

    def open(self) -> None:
        """Choose a saved session; the folder is read in the background."""
        self.screen.run_worker(self._list, thread=True, exclusive=True, group="sessions")

    def _list(self) -> None:
        self.screen.app.call_from_thread(self._offer, storage.saved_sessions(self.state.autosave.folder))

    def _offer(self, found: Sequence[storage.SavedSession]) -> None:
        entries = [Entry(str(each.path), *session_description(each), not each.problem) for each in found]
        entries.append(Entry(OTHER, _("another file …"), _("A session at a path of your choice")))
        self.open_dialog(ChooseScreen(_("sessions"), entries, str(self.state.autosave.path)), self._open)

    def _open(self, chosen: str | None) -> None:
        if chosen == OTHER:
            text = _("The path of a session file.")
            self.open_dialog(LineScreen(_("open"), text, str(Path.cwd()) + os.sep), self._open_path)
        elif chosen is not None:
            self.state.runner.open(Path(chosen))

    def _open_path(self, line: str | None) -> None:
        if line is not None:
            self.state.runner.open(expanded(line.strip()))


def new_file(line: str) -> Path:
    """The path that a person has written for a new file. Raises `UserError` where it cannot be one."""
    path = expanded(line.strip()).absolute()
    if path.exists():
        raise UserError(_("there is already a file {path}; give another name"), path=path)
    if not path.parent.is_dir():
        raise UserError(_("there is no folder {folder}; give a path in one that is there"), folder=path.parent)
    return path
