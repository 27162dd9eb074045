"""The app in a browser: an HTTP server on this machine, and a process for each viewer."""
