"""Small modal dialogs that know nothing of the walk: choose one of a list, a line of text, a number; show a source."""
