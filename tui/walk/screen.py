"""The walk screen: a key's binding names an action, the action asks the runner, the runner's frame is drawn."""

from collections.abc import Callable, Mapping

from textual.actions import parse
from textual.binding import Binding, BindingType
from textual.widgets import OptionList, TextArea

from core.language import _
from tui import lenses
from tui.course.keys import ids
from tui.course.panel import LessonPanel
from tui.keys import LEAVE, WALK
from tui.notices import Notices
from tui.panels.generation import GenerationPanel
from tui.panels.prompt import PromptPanel
from tui.panels.tokens import TokensPanel
from tui.runner import Frame
from tui.walk.asking import Asking
from tui.walk.choosing import Choosing
from tui.walk.course import CourseSource, Lessons
from tui.walk.group import ActionGroup
from tui.walk.lens_keys import LensKeys
from tui.walk.lesson_code import copy
from tui.walk.overlays import Overlays
from tui.walk.panels import PanelsScreen
from tui.walk.sampling import Sampling
from tui.walk.sessions import Sessions
from tui.walk.state import WalkState
from tui.walk.walking import Walking
from tui.walk.writing import Writing


class WalkScreen(PanelsScreen):
    """The panels with their keys."""

    BINDINGS = list[BindingType](
        (
            *WALK,
            LEAVE,
            Binding("tab", "focus_neighbour(1)", "Next panel", show=False),
            Binding("shift+tab", "focus_neighbour(-1)", "Previous panel", show=False),
        )
    )

    def __init__(self, state: WalkState, notices: Notices, text: str, course: CourseSource = CourseSource()) -> None:
        super().__init__(state, notices, text)
        self._opened = 0
        self.told_of_branch = False
        """Whether a person was told where tokens are that the walk has left."""
        self.writing_actions = Writing(self)
        self.choosing = Choosing(self)
        self.sampling = Sampling(self, self.ask)
        self.sessions = Sessions(self)
        self.lens_keys = LensKeys(self, self.ask)
        self.overlays = Overlays(self, self.ask, self.lens_keys, self.choosing)
        self.lessons = Lessons(self, self.lens_keys, self.sampling.use, self.action_do, course)
        self._groups: Mapping[str, ActionGroup] = {
            "walking": Walking(self, lambda name: self.lens_keys.turn_to(lenses.named(name))),
            "writing": self.writing_actions,
            "choosing": self.choosing,
            "sampling": self.sampling,
            "sessions": self.sessions,
            "lens": self.lens_keys,
            "asking": Asking(self),
            "overlays": self.overlays,
            "course": self.lessons,
        }

    # Actions ---------------------------------------------------------------------------------------------------------

    def command(self, name: str) -> Callable[..., None]:
        """An action by its name, `group.action`."""
        group, _, action = name.partition(".")
        method: Callable[..., None] = getattr(self._groups[group], action)
        return method

    def run_command(self, action: str) -> None:
        """Run the action of a binding, whether or not its key acts now."""
        _, name, arguments = parse(action)
        getattr(self, f"action_{name}")(*arguments)

    def action_do(self, name: str, arguments: tuple[object, ...] = ()) -> None:
        if not self.lessons.takes(name, arguments):
            self.command(name)(*arguments)
            self.lessons.pressed(ids().get(f"do({name!r}, {_written(arguments)})"))

    def action_leave(self) -> None:
        self.focus_panel(self.lessons.panel or self.lens)
        self.lessons.pressed(LEAVE.id)

    def action_focus_neighbour(self, by: int) -> None:
        self.focus_neighbour(by)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Whether a key acts, and is named in the footer: not under another screen, nor while the prompt is written."""
        if action == "leave":
            return self.writing
        if action == "do" and str(parameters[0]).startswith("course.") and parameters[0] != "course.toggle":
            return self.lessons.playing and self.app.screen_stack[-1:] == [self] and not self.writing
        return action != "do" or (self.app.screen_stack[-1:] == [self] and not self.writing)

    # Messages --------------------------------------------------------------------------------------------------------

    def on_text_area_changed(self, event: TextArea.Changed) -> None:
        if not self.lessons.begins:  # the walk to come has a prompt of its own
            self.writing_actions.text_changed(event.text_area.text)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """An entry of the index beside the chart was clicked."""
        self.lens_keys.turn_to(lenses.named(event.option.id or ""))

    def on_tokens_panel_chosen(self, event: TokensPanel.Chosen) -> None:
        self.action_do("walking.travel_to", (event.position,))

    def on_generation_panel_chosen(self, event: GenerationPanel.Chosen) -> None:
        self.action_do("walking.travel_to", (event.position,))

    def on_prompt_panel_refused(self, event: PromptPanel.Refused) -> None:
        self.notices.warn(
            _("the pasted text has {length:,} characters, more than a prompt may have; paste a part of it").format(
                length=event.length
            )
        )

    def on_descendant_focus(self) -> None:
        super().on_descendant_focus()
        if self.writing:
            self.writing_actions.enter()
        else:
            self.writing_actions.leave()
        self.writing_actions.name_prompt()
        self.lessons.follow_focus()

    def on_lesson_panel_answered(self, event: LessonPanel.Answered) -> None:
        self.lessons.answer(event.answer, event.block)

    def on_lesson_panel_copied(self, event: LessonPanel.Copied) -> None:
        copy(self, self.notices, event.source)

    # Runner ----------------------------------------------------------------------------------------------------------

    def ask(self) -> None:
        """Put the question of the lens, or of the screen over it, to the runner."""
        self.state.runner.ask((self.overlays.top() or self.lens).question())

    def show(self, frame: Frame) -> None:
        """Draw a frame, on the panels and on a screen over them."""
        before, self.state.frame = self.state.frame, frame
        known, now = (each.snapshot.left_behind if each.snapshot else 0 for each in (before, frame))
        if not self.told_of_branch and now > known:
            self.told_of_branch = True
            self.notices.inform(
                _("the tokens that stood there stay as a branch: {key} shows the branches").format(
                    key=self.notices.key_of("lens.branches")
                )
            )
        if frame.choice:
            self.state.choice = frame.choice
        if frame.opened != self._opened and frame.snapshot:
            self._opened = frame.opened
            self.state.sampler = frame.snapshot.sampler
            self.writing_actions.open(frame.snapshot)
            if self.writing:
                self.action_leave()
        super().show(frame)
        if overlay := self.overlays.top():
            overlay.show(frame)
        self.lessons.follow_frame(frame)
        self.writing_actions.follow_walk(frame)
        self.writing_actions.name_prompt()


def _written(arguments: tuple[object, ...]) -> str:
    """The arguments as `keys.action` writes them."""
    return f"({', '.join(map(repr, arguments))}{',' if arguments else ''})"
