"""What lenses share: `Lens`, `LensPage` (lines of text), `HeatMapPage`, `LensHost` (the app), `AnswerCache`."""

from tui.lenses.base.cache import AnswerCache
from tui.lenses.base.experiment import ExperimentPage
from tui.lenses.base.exported import ExportedPage
from tui.lenses.base.heat import HeatMapPage
from tui.lenses.base.lens import KeyWords, Lens, LensHost
from tui.lenses.base.page import AXIS, COLUMN, ROW, LensPage

__all__ = [
    "AXIS",
    "COLUMN",
    "ROW",
    "AnswerCache",
    "ExperimentPage",
    "ExportedPage",
    "HeatMapPage",
    "KeyWords",
    "Lens",
    "LensHost",
    "LensPage",
]
