"""Owns the one exception that means "the person asked for something impossible"."""


class Mistake(ValueError):
    """A user's mistake: its text is one line that says what is wrong and how to mend it."""
