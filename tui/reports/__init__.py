"""What the command line prints: one module per subject, each with `…_json` for programs and `…_lines` for people.

Import the module you need, for example `from tui.reports.next_token import next_lines`.
"""
