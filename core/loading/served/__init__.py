"""A model that an engine elsewhere serves, in the place of one whose weights are here.

`model` loads it, `sequences` are ids that the engine reads, `requests` asks for distributions and keeps the answers.
"""
