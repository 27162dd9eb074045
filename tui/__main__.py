"""`python -m tui` does what the command `tokenwalk` does."""

from tui.start import main

if __name__ == "__main__":
    main()
