"""Label maps and pictures that are written by bands of rows, as tiled TIFFs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import Full, Queue
from typing import Any

import numpy as np

from ..checkpoints.save import atomic_write
from ..errors import UserError
from .rasters import Raster, TiffBlocks, needed_module

BLOCK = 256
"""Side of the blocks of a file, in pixels."""
NODATA = 42113
"""The tag in which GDAL states the value that means nothing."""
CLASSIC_LIMIT = 2**32 - 2**25  # bytes that a TIFF with 32-bit offsets surely holds


def write_tiff(
    path: str | Path,
    bands: Iterable[np.ndarray],
    dtype: Any,
    like: Raster,
    palette: Sequence[Sequence[int]] | None = None,
    void: int | None = None,
) -> None:
    """Write a map of one number a pixel or an RGB picture of a raster's size, whole or not at all, while it is made.

    The file is a tiled TIFF, compressed without loss (deflate), a BigTIFF above 4 GB, with the raster's resolution and
    place on earth.

    Args:
        path: .tif.
        bands: Rows, (h, W) numbers or (h, W, 3) pixels, from the top; together as many as the raster has.
        dtype: Theirs.
        like: The raster.
        palette: RGB colours of 8-bit labels.
        void: The number that means nothing, which GIS programs show as transparent; None for a picture.
    """
    tifffile = needed_module('tifffile', Path(path), "pip install 'mmseg_deeplab[large]'")
    dtype, rgb = np.dtype(dtype), void is None
    shape = (*like.shape, 3) if rgb else like.shape
    tags, options = list(like.tags), {}
    if not rgb:
        tags.append((NODATA, 's', 0, str(void), True))
    if palette is not None and dtype == np.uint8 and not rgb:
        colours = np.zeros((256, 3), np.uint16)
        colours[: len(palette)] = np.asarray(palette)
        options['colormap'] = colours.T * 257
    kind = 'rgb' if rgb else 'palette' if options else 'minisblack'
    big = int(np.prod(shape)) * dtype.itemsize > CLASSIC_LIMIT
    with atomic_write(path) as file, tifffile.TiffWriter(file, bigtiff=big) as tiff:
        tiff.write(
            _blocks(bands, shape, dtype), shape=shape, dtype=dtype, photometric=kind, tile=(BLOCK, BLOCK),
            compression='zlib', extratags=tags, metadata=None, maxworkers=1, **like.resolution, **options,
        )  # fmt: skip


def write_together(
    rows: Iterable[Sequence[np.ndarray]],
    writers: Sequence[Callable[[Iterator[np.ndarray]], None]],
    advance: Callable[[Sequence[np.ndarray]], None],
) -> None:
    """Hand bands to several writers, each in a thread of its own, while the next ones are made.

    Args:
        rows: A band for each writer, again and again.
        writers: Take an iterator of their bands, as `write_tiff` does.
        advance: Is told what was handed over.

    Raises:
        Exception: What a writer raises, and what `rows` does; in that case the writers' files do not appear.
    """
    queues: list[Queue] = [Queue(1) for _ in writers]
    failure: BaseException | None = None
    with ThreadPoolExecutor(len(writers), thread_name_prefix='write_bands') as pool:
        jobs = [pool.submit(write, _taken(queue)) for write, queue in zip(writers, queues, strict=True)]
        try:
            for bands in rows:
                for job, queue, band in zip(jobs, queues, bands, strict=True):
                    _hand_over(job, queue, band)
                    if job.done():
                        job.result()
                advance(bands)
        except BaseException as error:
            failure = error
            raise
        finally:
            for job, queue in zip(jobs, queues, strict=True):
                _hand_over(job, queue, failure)
    for job in jobs:
        job.result()


def _hand_over(job: Future, queue: Queue, item: Any) -> None:
    """Wait until a writer takes an item, unless it has ended."""
    while not job.done():
        try:
            return queue.put(item, timeout=0.1)
        except Full:
            pass


def _taken(queue: Queue) -> Iterator[np.ndarray]:
    """What is handed over, up to None; an exception is raised."""
    while (item := queue.get()) is not None:
        if isinstance(item, BaseException):
            raise item
        yield item


def _blocks(bands: Iterable[np.ndarray], shape: tuple[int, ...], dtype: np.dtype) -> Iterator[np.ndarray]:
    """Cut bands of any height into square blocks, row after row, filled up below and at the right."""
    columns = -(-shape[1] // BLOCK)
    row, filled, total = np.zeros((BLOCK, columns * BLOCK, *shape[2:]), dtype), 0, 0
    for band in bands:
        while len(band):
            part, band = band[: BLOCK - filled], band[BLOCK - filled :]
            row[filled : filled + len(part), : shape[1]] = part
            filled, total = filled + len(part), total + len(part)
            if filled == BLOCK or total == shape[0]:
                for x in range(0, columns * BLOCK, BLOCK):
                    yield np.ascontiguousarray(row[:, x : x + BLOCK])
                row[:], filled = 0, 0


def label_bands(path: str | Path) -> Iterator[np.ndarray]:
    """The rows of a label map that `write_tiff` has written, a block's height at a time."""
    blocks = TiffBlocks(Path(path))
    for top in range(0, blocks.shape[0], BLOCK):
        samples, broken = blocks.samples(top, min(top + BLOCK, blocks.shape[0]))
        if broken is not None:
            raise UserError(f'{path} cannot be read: {"; ".join(blocks.damage.values())}')
        yield samples[..., 0]
