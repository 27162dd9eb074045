"""The commands of the command line: one module per command, each with a function of the command's name.

`tui.cli` registers them. `common` holds what they share, `examples` one example per command for `--help`.
"""
