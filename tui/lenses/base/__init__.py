"""What lenses share: `Lens` (the interface), `LensPage` (lines of text), `LensHost` (the app), `AnswerCache`."""

from tui.lenses.base.cache import AnswerCache
from tui.lenses.base.lens import Lens, LensHost
from tui.lenses.base.page import AXIS, LensPage

__all__ = ["AXIS", "AnswerCache", "Lens", "LensHost", "LensPage"]
