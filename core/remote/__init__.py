"""Models that an engine elsewhere serves over HTTP."""
