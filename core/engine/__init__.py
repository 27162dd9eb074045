"""The model and what runs it."""
