"""The compiled step, which numba makes once: `scheduler.step` and what it calls. Import it only through `compiled`."""
