"""The app in a browser: an HTTP server on this machine, and a process for each viewer."""

DRIVER = "tui.browser_driver:BrowserDriver"
"""The driver of Textual in a process whose terminal is a browser."""
