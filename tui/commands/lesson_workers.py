"""Plays lessons in several processes, each with an app of its own; each takes the next lesson after the one before."""

import asyncio
import multiprocessing
import os
import queue
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from core import cores, language
from core.engine import threads
from core.errors import UserError
from core.language import _
from tui.course.lesson import Lesson, Mistake

MOST = 4
"""Processes at most: each holds torch and the models of a lesson, about 1 GB."""
LOOK_SECONDS = 1.0
"""How often the processes are looked after while no lesson ends."""
Done = Callable[[Lesson, float, Sequence[Mistake]], None]
"""Called with each lesson that was played, its seconds, and what does not hold."""


def play(folder: Path, lessons: Sequence[Lesson], done: Done) -> None:
    """Play lessons of the course in a folder. Raises `UserError` where that cannot go on."""
    count = min(cores.usable(), MOST, len(lessons))
    if count < 2:
        _play_here(folder, iter(lessons), done)
        return
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    context = multiprocessing.get_context("spawn")
    waiting, told = context.SimpleQueue(), context.Queue()
    for lesson in (*lessons, *[None] * count):
        waiting.put(lesson and lesson.file)
    arguments = (folder, language.spoken(), waiting, told)
    processes = [context.Process(target=_work, args=arguments, daemon=True) for _number in range(count)]
    for process in processes:
        process.start()
    by_file, missing = {lesson.file: lesson for lesson in lessons}, len(lessons)
    while missing:
        try:
            file, seconds, mistakes = told.get(timeout=LOOK_SECONDS)
        except queue.Empty:
            if ended := next((each.exitcode for each in processes if each.exitcode), None):
                raise UserError(_("a process that plays lessons has ended with exit code {code}"), code=ended) from None
            continue
        if file is None:
            raise UserError(mistakes)
        missing -= 1
        done(by_file[file], seconds, mistakes)


def _work(folder: Path, spoken: str, waiting: Any, told: Any) -> None:
    """Play the lessons whose files come from `waiting`, in a process of its own."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command ends its processes
    language.speak(spoken)
    from tui.course import library

    lessons = {lesson.file: lesson for lesson in library.course(folder, spoken).lessons}
    try:
        files: Iterator[Path] = iter(waiting.get, None)
        _play_here(folder, map(lessons.__getitem__, files), lambda lesson, *rest: told.put((lesson.file, *rest)))
    except UserError as error:
        told.put((None, 0.0, str(error)))


def _play_here(folder: Path, lessons: Iterator[Lesson], done: Done) -> None:
    threads.prepare(beside_screen=False)
    from core.loading.choice import ModelChoice
    from tui.app import TokenwalkApp
    from tui.commands.lesson_check import LessonCheck
    from tui.commands.opening import DEFAULT_MODEL
    from tui.settings import Settings
    from tui.walk.course import CourseSource

    app = TokenwalkApp(
        ModelChoice(name=DEFAULT_MODEL, device="cpu"),
        settings=Settings(fps=60),
        course=CourseSource(folder, language.spoken()),
    )
    asyncio.run(LessonCheck(app).play(lessons, done))
