"""`python -m tui` does what the command `tokenwalk` does."""

from tui.cli import main

if __name__ == "__main__":
    main()
