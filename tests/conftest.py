"""What all tests share: code that is compiled once on a machine is compiled before the first of them."""

import subprocess
import sys

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Workers and commands under test find it on the disk then, and need not compile it all at the same time."""
    if not hasattr(config, "workerinput"):
        subprocess.run([sys.executable, "-c", "from core import compiled; compiled.available()"], check=True)
