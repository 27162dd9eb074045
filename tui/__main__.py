"""`python -m tui` is `tokenwalk`."""

from tui.cli import main

if __name__ == "__main__":
    main()
