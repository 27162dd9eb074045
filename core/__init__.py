"""Runs language models one token at a time; knows no screen.

Start with `core.models.load`, hand the result to `core.session.Session`, and read what it says as `core.events`.
"""
