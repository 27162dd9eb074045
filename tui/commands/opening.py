"""What the app opens with: model, sampler and text of the command line, checked before anything is loaded."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import Option, UserError
from core.language import _
from core.loading.choice import ModelChoice
from core.sampling.sampler import Sampler
from tui.commands.common import read_argument
from tui.options import ModelOptions, SamplerOptions

if TYPE_CHECKING:
    from core.activations.patch import Patch

DEFAULT_MODEL = "model5-trained"
"""The model where no option chooses one: it is trained and comes with tokenwalk."""


@dataclass(frozen=True, slots=True)
class Opening:
    """The first walk."""

    choice: ModelChoice
    sampler: Sampler
    patches: "tuple[Patch, ...]" = ()
    text: str = ""
    saved: Path | None = None
    """The session to continue, in place of all else."""


def opening(model: ModelOptions, sampler: SamplerOptions, prompt: str, *, resume: bool = False) -> Opening:
    """What the options mean; a prompt of `-` is read from standard input. Raises `UserError` where they cannot hold."""
    from core.loading import catalog

    choice, drawn_by, patches = model.choice(), sampler.sampler(), model.patches()
    if resume and patches:
        raise UserError(
            _("a session has its own steering vectors; leave out {steer} beside {resume}"),
            steer=Option("steer"),
            resume=Option("resume"),
        )
    saved, text = (_saved(prompt, choice, drawn_by), "") if resume else (None, read_argument(prompt))
    if model.model is None and replace(choice, device="auto", dtype="auto") == ModelChoice():
        choice = replace(choice, name=DEFAULT_MODEL)
    catalog.check(choice)
    return Opening(choice, drawn_by, patches, text, saved)


def _saved(file: str, choice: ModelChoice, sampler: Sampler) -> Path:
    """The session to resume. Raises `UserError` where there is none or other options are given."""
    from core.sessions import reader, storage

    if choice != ModelChoice() or sampler != Sampler():
        raise UserError(
            _(
                "a session has its own model and sampler; leave out the options of model and sampler beside {resume} "
                "and change them in the app"
            ),
            resume=Option("resume"),
        )
    path = Path(file) if file else storage.newest(storage.default_folder())
    reader.read_record(path)
    return path.absolute()
