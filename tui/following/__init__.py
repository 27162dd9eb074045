"""The app of those who follow a walk: its screen, which changes nothing, and where its frames come from."""
