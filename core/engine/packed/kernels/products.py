"""Rows of a linear map times vectors of activations, by machine code of `native`.

Two ways: four rows times one vector at a time, or tiles of 16 rows, unpacked once, times blocks of 8 vectors.
"""

import numpy as np
from numba import carray

from core.engine.packed.kernels.descriptors import GROUP, TILE_GROUPS, TILES_AT_ONCE
from core.engine.packed.kernels.emit import call, compiled, floats, pointer, prefetch, stack_floats
from core.engine.packed.kernels.native.rows import ROWS
from core.engine.packed.kernels.native.tiles import TILE, VECTORS

PAIR = 2 * TILE
"""Rows of a unit of work: two tiles."""
PAIRS_AT_ONCE = TILES_AT_ONCE // 2
AHEAD = 1 << 13
"""Bytes between what is multiplied and what is prefetched, at least: processors do not prefetch beyond a page.

The distance is that of whole calls, so that each call prefetches just what a later one multiplies.
"""
LINE = 64
"""Bytes; what machine code reads and writes in rows of work space begins at multiples of it."""


@compiled
def groups_of(columns):
    """How many groups of 32 a row has; the last one may be partial."""
    return (columns + GROUP - 1) // GROUP


@compiled
def row_address(matrix, row):
    """Of our row, in the file's order."""
    if matrix.order:
        row = carray(pointer(matrix.order), (matrix.rows,), np.int64)[row]
    return matrix.weights + row * matrix.stride


@compiled
def quantize(code, x, columns, near, into, first, offset):
    """`columns` float32 numbers from the address `x` to the groups of the `ACTIVATIONS` `into` from `first` on.

    A last group of fewer than 32 numbers is filled up with zeros. `code`, `near`: see `native.tiles.quantize`;
    `offset` in bytes is that of the vector in its block.
    """
    groups, whole = groups_of(columns), columns // GROUP
    first_plane, second_plane = into.first + offset, into.second + offset
    scales, sums, sums16 = into.scales + offset, into.sums + offset, into.sums16 + offset
    for start, count in ((0, whole), (whole, groups - whole)):
        if count:
            source = x + 4 * GROUP * start
            if start or not whole:
                partial, padded = floats(source, columns - start * GROUP), floats(stack_floats(), GROUP)
                padded[:] = 0
                for n in range(len(partial)):
                    padded[n] = partial[n]
                source = padded.ctypes.data
            at = first + start
            planes = 8 * at * near
            call(
                code,
                (
                    source,
                    count,
                    near,
                    first_plane + planes,
                    second_plane + planes,
                    scales + at * near,
                    sums + at * near,
                    sums16 + 2 * at * near,
                ),
            )


@compiled
def _rows_ahead(matrix):
    """How many rows lie between what is multiplied and what is prefetched."""
    size = ROWS * matrix.stride
    return (AHEAD + size - 1) // size * ROWS


@compiled
def _multiply_part(matrix, columns, plain, x, group, first, last, out):
    """Rows `first` to `last` of a matrix times one vector; row n goes to the float32 number n at `out`."""
    groups, buffer = groups_of(columns), stack_floats()
    first_plane, second_plane = x.first + GROUP * group, x.second + GROUP * group
    scales, sums, sums16 = x.scales + 4 * group, x.sums + 4 * group, x.sums16 + 8 * group
    if matrix.group == 0:
        first_plane, groups = plain, columns
    rows_ahead = _rows_ahead(matrix)
    ahead = rows_ahead * matrix.stride
    for row in range(first, last, ROWS):
        a = row_address(matrix, row)
        if matrix.order:
            ahead = row_address(matrix, min(row + rows_ahead, matrix.rows - 1)) - a
        b = row_address(matrix, min(row + 1, last - 1))
        c = row_address(matrix, min(row + 2, last - 1))
        d = row_address(matrix, min(row + 3, last - 1))
        whole = row + ROWS <= last
        to = out + 4 * row if whole else buffer
        planes = first_plane, second_plane
        call(matrix.multiply, (a, b, c, d, groups, *planes, scales, sums, sums16, ahead, to))
        if not whole:
            numbers, result = floats(buffer, ROWS), floats(out + 4 * row, last - row)
            for n in range(last - row):
                result[n] = numbers[n]


@compiled
def begin(linear, matrices, first, last):
    """Prefetch the first of the rows `first` to `last`, before which `multiply` has not prefetched them."""
    start = 0
    for n in range(linear.first, linear.first + linear.count):
        matrix = matrices[n]
        if start <= first < start + matrix.rows:
            count = min(_rows_ahead(matrix), last - first)
            for row in range(first - start, min(first - start + count, matrix.rows)):
                near = row_address(matrix, row)
                for line in range(near - near % LINE, near + matrix.stride, LINE):
                    prefetch(line)
        start += matrix.rows


@compiled
def multiply(linear, matrices, plain, x, group, first, last, out):
    """Rows `first` to `last` of the `LINEAR` times the vector that begins at a group of `x`; row n goes to `out[n]`.

    `plain` is the address of the same vector in float32.
    """
    start = 0
    for n in range(linear.first, linear.first + linear.count):
        matrix = matrices[n]
        low, high = max(first - start, 0), min(last - start, matrix.rows)
        if low < high:
            _multiply_part(matrix, linear.columns, plain, x, group, low, high, out + 4 * start)
        start += matrix.rows
    if linear.bias:
        bias, result = floats(linear.bias, linear.rows), floats(out, linear.rows)
        for row in range(first, last):
            result[row] += bias[row]


# Tiles ---------------------------------------------------------------------------------------------------------------


@compiled
def lines(size):
    """`size` bytes rounded up to whole lines of the cache."""
    return (size + LINE - 1) // LINE * LINE


@compiled
def tile_units(linear, matrices):
    """How many pairs of tiles a linear map has; each matrix begins a new one."""
    units = 0
    for n in range(linear.first, linear.first + linear.count):
        units += (matrices[n].rows + PAIR - 1) // PAIR
    return units


@compiled
def _tile_sizes(matrix, count):
    """Bytes of `count` groups of an expanded row: its numbers, its scales and its minimums, in whole lines."""
    if matrix.group == 0:
        return 4 * GROUP * count, 0, 0
    return 2 * GROUP * count, lines(4 * count), lines(4 * count * matrix.minimums)


@compiled
def _counted(matrix, columns, group, count):
    """What the code of a matrix counts in `count` groups from number `group` on: these, or of plain rows numbers."""
    return count if matrix.group else min(GROUP * count, columns - GROUP * group)


@compiled
def _expand_tile(transpose, matrix, columns, group, row, count, space, tile):
    """`count` groups from number `group` on of 16 rows from `row` on, for `tile` of `native.tiles` or `native.floats`.

    Rows past the end repeat the last one.
    """
    width, scale_width, minimum_width = _tile_sizes(matrix, count)
    start = matrix.stride * group // groups_of(columns)
    if matrix.group == 0:
        start = matrix.stride // columns * GROUP * group
    counted = _counted(matrix, columns, group, count)
    scales = space + TILE * width
    minimums = scales + TILE * scale_width
    for n in range(TILE):
        source = row_address(matrix, min(row + n, matrix.rows - 1)) + start
        to = space + n * width, scales + n * scale_width, minimums + n * minimum_width
        call(matrix.expand, (source, counted, *to))
    call(transpose, (space, width, width // 4, tile))
    if matrix.group:
        call(transpose, (scales, scale_width, count, tile + TILE * width))
    if matrix.minimums:
        call(transpose, (minimums, minimum_width, count * matrix.minimums, tile + TILE * (width + scale_width)))


@compiled
def multiply_tiles(stage, model, matrices, first, last, thread):
    """Pairs of tiles `first` to `last` of the head times all states.

    These are at `stage.source`, and quantized in `model.x` unless all matrices are plain numbers.
    """
    head, start, unit = model.head, 0, 0
    groups = groups_of(head.columns)
    for n in range(head.first, head.first + head.count):
        matrix = matrices[n]
        pairs, tiles = (matrix.rows + PAIR - 1) // PAIR, (matrix.rows + TILE - 1) // TILE
        low, high = max(first - unit, 0), min(last - unit, pairs)
        most = TILE_GROUPS if matrix.group else TILE_GROUPS // 2
        for some in range(low, high, PAIRS_AT_ONCE):
            end = min(2 * min(some + PAIRS_AT_ONCE, high), tiles)
            for group in range(0, groups, most):
                _multiply_some(stage, model, matrix, group, min(most, groups - group), start, 2 * some, end, thread)
        start, unit = start + matrix.rows, unit + pairs


@compiled
def _multiply_some(stage, model, matrix, group, count, start, first, last, thread):
    """`count` groups from `group` on of tiles `first` to `last` of a matrix times all states."""
    x, rows, columns = model.x, model.head.rows, model.head.columns
    width, scale_width, minimum_width = _tile_sizes(matrix, count)
    size = TILE * (width + scale_width + minimum_width)
    space, counted = model.tiles + thread * model.tile_size, _counted(matrix, columns, group, count)
    for n in range(first, last):
        _expand_tile(model.transpose, matrix, columns, group, TILE * n, count, space, space + size * (1 + n - first))
    for block in range((model.states + VECTORS - 1) // VECTORS):
        if matrix.group:
            at = VECTORS * (block * groups_of(columns) + group)
            sums = x.sums16 + 8 * at if matrix.minimums == 2 else x.sums + 4 * at
            vectors = (x.first + GROUP * at, x.second + GROUP * at, x.scales + 4 * at, sums)
        else:
            state = VECTORS * block
            source = stage.source + state * stage.source_apart + 4 * GROUP * group
            vectors = (source, stage.source_apart, min(VECTORS, model.states - state) - 1, 0)
        for n in range(first, last, 2):
            tile = space + size * (1 + n - first)
            out = model.logits + 4 * (block * VECTORS * rows + start + TILE * n)
            valid = min(TILE * min(2, last - n), matrix.rows - TILE * n)
            weights = (tile, tile + TILE * width, tile + TILE * (width + scale_width), size, counted)
            call(matrix.tile, weights + vectors + (out, 4 * rows, valid, 1 if group else 0))
