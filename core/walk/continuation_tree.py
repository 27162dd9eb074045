"""Several continuations of one prefix, one by one and merged where they begin alike."""

from collections.abc import Sequence

from core.sampling.bounds import total
from core.walk.tree import Node
from core.walk.values import Continuation, ContinuationTree, Strand


def merged(start: Node, ends: Sequence[Node]) -> ContinuationTree:
    """The paths from `start`, which they do not contain, to each of `ends`, and the same paths merged."""
    paths = [_between(start, end) for end in ends]
    continuations = tuple(
        Continuation(
            end.serial,
            tuple(node.token.piece for node in path),
            total(node.token.score.surprisal_bits for node in path if node.token.score),
        )
        for end, path in zip(ends, paths, strict=True)
    )
    strands: list[Strand] = []
    stack: list[tuple[list[list[Node]], int]] = [(paths, 0)]
    while stack:
        group, depth = stack.pop()
        shared = 0
        while all(len(path) > shared and path[shared] is group[0][shared] for path in group):
            shared += 1
        rest: dict[int, list[list[Node]]] = {}
        """The paths after the shared nodes, by the serial number of their next node."""
        for path in group:
            if len(path) > shared:
                rest.setdefault(path[shared].serial, []).append(path[shared:])
        entropy = None
        if len(rest) > 1:
            score = next(iter(rest.values()))[0][0].token.score
            entropy = score.entropy_bits if score else None
        if shared or entropy is not None:
            run = group[0][:shared]
            pieces = tuple(node.token.piece for node in run)
            strands.append(Strand(depth, pieces, len(group), entropy, run[-1].serial if run else start.serial))
        stack += [(below, depth + 1) for below in reversed(rest.values())]
    return ContinuationTree(continuations, tuple(strands))


def _between(start: Node, end: Node) -> list[Node]:
    path = []
    at: Node | None = end
    while at is not None and at is not start:
        path.append(at)
        at = at.parent
    return path[::-1]
