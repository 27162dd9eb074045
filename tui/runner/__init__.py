"""The thread that runs the model. Operations go in through `Runner`, frames come out.

`frames` holds the values that cross threads, `jobs` the queue, `outbox` the hand-over of frames, `training` the job
that trains a rung in the idle time, `runner` the thread itself. Nothing here imports torch before the first model.
"""

from tui.runner.frames import Activity, Frame, Operation, Question, Refusal, WalkStart
from tui.runner.runner import Runner

__all__ = ["Activity", "Frame", "Operation", "Question", "Refusal", "Runner", "WalkStart"]
