"""The terminal playground and the command line: draws what core tells it."""
