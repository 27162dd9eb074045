"""Functions that numba compiles; `scheduler.step` is the one that Python calls. Import them only through `compiled`."""
