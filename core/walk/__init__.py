"""A walk through one model, and the tree of everything that was tried in it.

`session.Session` is the way in. It is composed of `history.History` and `model_reader.ModelReader`.
`side_by_side.SideBySide` compares a walk with a second one.
"""
