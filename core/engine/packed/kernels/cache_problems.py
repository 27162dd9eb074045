"""What was wrong with the cache of compiled code in this process; `bench` prints it. Needs no numba."""

import logging

_log = logging.getLogger(__name__)
problems: list[str] = []


def report(problem: str) -> None:
    """Log what is wrong with the cache, and keep it in `problems`."""
    _log.info(problem)
    problems.append(problem)
