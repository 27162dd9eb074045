"""Which tokens a text may go on with so that it matches a regular expression, a schema or a grammar.

`source.compile` checks what a person writes, `matcher.Matcher` gives the mask after any ids. llguidance does the work.
"""
