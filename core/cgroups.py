"""The control groups of this process: what a container may use of its machine (Linux, cgroups 1 and 2)."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def folders(controller: str, root: Path = Path("/")) -> Iterator[tuple[Path, int]]:
    """Of a controller, `cpu` or `memory`: each group of this process and those around it, and the version of cgroups.

    `root` is the root of the file system. A container sees its own group where the file system of its machine has the
    outermost one, so folders may not exist.
    """
    with suppress(OSError, ValueError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers or controller in controllers.split(","):
                top = root / "sys/fs/cgroup" / controllers
                inner = top / path.lstrip("/")
                for each in (top, *(each for each in (inner, *inner.parents) if top in each.parents)):
                    yield each, 1 if controllers else 2
