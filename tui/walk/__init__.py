"""The walk screen: the panels, and what each key does.

`screen.WalkScreen` is the way in. `panels` lays the panels out and gives the focus, `state` holds what they share; the
other modules are groups of actions that the keys of `tui.keys` name, such as `walking.step`.
"""
