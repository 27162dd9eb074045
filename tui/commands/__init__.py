"""The commands, one file each; a new one is a file and a line in `tui/cli.py`. Each imports heavy things as it runs."""
