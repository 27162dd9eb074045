"""Runs language models one token at a time; knows no screen.

Start with `core.loading.models.load_model` and hand the result to `core.walk.session.Session`.
"""
