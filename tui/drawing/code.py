"""Breaks lines of code that are longer than a panel."""

from collections.abc import Iterator

CONTINUED = "↪ "
"""Stands before the rest of a line of code that had no room, so that it is not read as a line of its own."""


def broken(line: str, width: int, mark: str = CONTINUED) -> Iterator[str]:
    """A line of code in parts of at most `width` characters, broken after a space or sign.

    A string stays whole where it has room. The parts after the first one are indented, with a mark before them.
    """
    lead = " " * min(width // 2, len(line) - len(line.lstrip()) + 2) + mark
    rest, before = line, ""
    while len(rest) > width - len(before):
        cut = _cut(rest, width - len(before))
        yield before + rest[:cut]
        rest, before = rest[cut:].lstrip(), lead
    yield before + rest


def _cut(line: str, room: int) -> int:
    """Where a line of code is broken that has no room: after a space or bracket, else after another sign."""
    start = len(line) - len(line.lstrip()) + 1
    string, strings = "", list[bool]()
    """The quote of the string at each character, and whether the character is within one."""
    for number, sign in enumerate(line):
        if string:
            strings.append(sign != string)
            string = "" if sign == string and line[number - 1] != "\\" else string
        else:
            strings.append(sign in "\"'")
            string = sign if sign in "\"'" else ""
    for signs, within in ((" ,([", False), ("=.", False), (" ", True)):
        ends = [
            at + 1
            for at in range(start, room)
            if line[at] in signs and (within or not strings[at]) and line[at + 1] not in ")]"
        ]
        if ends:
            return ends[-1]
    return room
