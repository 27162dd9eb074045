"""Keeps the last answer of a lens whose question depends on little, such as on the model alone."""

from collections.abc import Callable, Iterable, Iterator


class AnswerCache:
    """The last answer and the key it was computed for."""

    def __init__(self) -> None:
        self._key: tuple[object, ...] = ()
        self._answer: object = None

    def answers(self, key: tuple[object, ...], compute: Callable[[], Iterable[object]]) -> Iterator[object]:
        """The kept answer where `key` is the last one; else all that `compute` gives, of which the last is kept."""
        if self._key != key:
            answer: object = None
            for answer in compute():
                yield answer
            self._key, self._answer = key, answer
        yield self._answer
