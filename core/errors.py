"""Owns the exception that means "the person asked for something impossible", and how allocators say that they did."""

import re


class UserError(ValueError):
    """A user's mistake: its text is one line that says what is wrong and how to mend it."""


_ALLOCATORS = re.compile(r"out of memory|can't allocate memory|not enough memory|tried to allocate", re.IGNORECASE)
_SIZE = re.compile(r"allocate (?:memory: )?(?:you tried to allocate )?(\d[\d.]*) ?(bytes|[KMGT]i?B)", re.IGNORECASE)


def out_of_memory(error: BaseException) -> str | None:
    """What is to be said of an error of an allocator, with the size it gives; None for any other error."""
    if not (isinstance(error, MemoryError) or _ALLOCATORS.search(str(error))):
        return None
    size = _SIZE.search(str(error).replace("DefaultCPUAllocator: ", ""))
    if not size:
        return "there is not enough memory"
    number, unit = size.groups()
    return f"there is no memory for {f'{float(number) / 1e9:,.2f} GB' if unit == 'bytes' else f'{number} {unit}'} more"
