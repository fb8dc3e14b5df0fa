"""Predictions of many files into a folder: restartable, and split over processes and machines."""

import csv
import io
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import cv2
import numpy as np

from ..checkpoints.save import atomic_write, remove_unfinished
from ..datasets.masks import read_label_bands, read_mask
from ..errors import UserError
from ..progress import progress
from ..visualization.overlays import overlay
from .model import Segmentor
from .pipelines import bands_of
from .prediction import PNG_LEVELS, Prediction, count_labels
from .predictor import UnreadablePicturesError, predict, tiled
from .rasters import SLIDES, TIFFS, Raster, open_raster, shape_of
from .readers import VIDEOS, Picture, files_of
from .refine import has_several_labels
from .tiff_writer import label_bands, write_tiff, write_together

SUFFIXES = {'mask': '.png', 'overlay': '.png', 'probabilities': '.npz', 'confidence': '.png'}
"""What can be written for a picture, each kind in a folder of its name."""


Item = TypeVar('Item')


class Shard(NamedTuple):
    """The part of the files that one of `count` processes takes: every `count`-th, from `index` on."""

    index: int
    count: int

    def part(self, items: Sequence[Item]) -> Sequence[Item]:
        """The items of this part.

        Raises:
            UserError: If there is no such part.
        """
        if not 0 <= self.index < self.count:
            raise UserError(f'shard {self.index}/{self.count}: the first of n parts is 0/n, the last n-1/n')
        return items[self.index :: self.count]


@dataclass(frozen=True)
class Summary:
    """What became of the files of a shard."""

    written: int
    skipped: int
    areas: Path


LAUNCHERS = (
    ('SLURM_ARRAY_TASK_ID', 'SLURM_ARRAY_TASK_COUNT'),
    ('RANK', 'WORLD_SIZE'),
    ('SLURM_PROCID', 'SLURM_NTASKS'),
    ('OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE'),
)
"""Variables of slurm arrays, torchrun, slurm tasks and Open MPI that number a process; the first that are set count."""


def shard_of_environment() -> Shard:
    """The part of this process, as its launcher says.

    Raises:
        UserError: The variables of `LAUNCHERS` are no such numbers, or an array's numbers have gaps.
    """
    for index, count in LAUNCHERS:
        if index in os.environ and count in os.environ:
            return _numbered(index, count)
    return Shard(0, 1)


def _numbered(index: str, count: str) -> Shard:
    names = [index, count]
    if index.startswith('SLURM_ARRAY'):
        names += [name for name in ('SLURM_ARRAY_TASK_MIN', 'SLURM_ARRAY_TASK_STEP') if name in os.environ]
    said = ', '.join(f'{name}={os.environ[name]}' for name in names)
    if not all(os.environ[name].strip().isdecimal() for name in names):
        raise UserError(f'{said} in the environment is not what a launcher sets; give the part as --shard I/N')
    numbers = {name: int(os.environ[name]) for name in names}
    first, step = numbers.get('SLURM_ARRAY_TASK_MIN', 0), numbers.get('SLURM_ARRAY_TASK_STEP', 1)
    shard, gap = divmod(numbers[index] - first, max(step, 1))
    if gap or not 0 <= shard < numbers[count]:
        raise UserError(f'{said}: these are not the numbers of {numbers[count]} parts; give the part as --shard I/N')
    return Shard(shard, numbers[count])


def predict_to_folder(
    model: Segmentor,
    inputs: Sequence[str | Path],
    out: str | Path,
    kinds: Sequence[str] = ('mask', 'overlay'),
    overwrite: bool = False,
    shard: Shard = Shard(0, 1),  # noqa: B008  a constant
    advance: Callable[[int], None] = lambda steps: None,
    **options: Any,
) -> Summary:
    """Segment files and write the answers below `out`, each file whole or not at all.

    A picture's files are KIND/PLACE.SUFFIX, where PLACE is its path below the folder that all inputs have in common; a
    video becomes overlay/PLACE.mp4 with the frames and the rate of the source, and a row or column more where a side is
    odd. With `tile`, TIFFs and whole slides are read and written by rows, never as a whole, to TIFFs with their place
    on earth; rows that can't be read are void. With several labels a pixel masks are .npy files (H, W, C).

    Files whose outputs are all there are skipped, so that an interrupted job goes on where it stopped; answers of an
    earlier run that lie in one of the folders are no inputs. The shares of the classes of all files of the shard,
    from an earlier run too, are in areas.csv (areas_INDEX_of_COUNT.csv for one of several shards).

    Args:
        model: From `init_model`.
        inputs: Files, folders, patterns and videos.
        out: Folder to write to.
        kinds: What to write, of `SUFFIXES`; a mask is always written, since areas are counted on it.
        overwrite: Whether files that are there are made anew.
        shard: Which part of the files to take.
        advance: Is told how many more files are done.
        options: Of `predict`.

    Raises:
        UserError: For an unknown kind, an impossible shard, and if no input has pictures.
        UnreadablePicturesError: After everything else is written, for files that could not be used.
    """
    kinds = list(dict.fromkeys(['mask', *kinds]))
    for kind in kinds:
        if kind not in SUFFIXES:
            raise UserError(f'there is no output {kind!r}; choose of {", ".join(SUFFIXES)}')
    several = has_several_labels(model)
    if several and 'confidence' in kinds:
        raise UserError("with several labels a pixel there is no one confidence; take 'probabilities' in its place")
    suffixes = {**SUFFIXES, 'mask': '.npy'} if several else SUFFIXES
    out = Path(out)
    errors: list[tuple[str, Exception]] = []
    places = places_of(_input_files([inputs] if isinstance(inputs, (str, os.PathLike)) else inputs, out, errors))
    mine = shard.part(list(places.items()))
    tile = options.get('tile')
    outputs = {path: _outputs(out, path, place, kinds, suffixes, tile is not None) for path, place in mine}
    todo = [path for path, files in outputs.items() if overwrite or not all(f.exists() for f in files.values())]
    for folder in {file.parent for path in todo for file in outputs[path].values()}:
        remove_unfinished(folder)
    advance(len(outputs) - len(todo))
    by_rows = [path for path in todo if tile is not None and _is_by_rows(path)]
    if several and by_rows:
        raise UserError(
            f'{by_rows[0]}: with tiles, TIFFs and slides are written by rows as masks of one label a pixel, and this '
            'model gives several: leave --tile out, or take predict(model, FILE, tile=...) in Python'
        )
    pictures = [path for path in todo if not _is_video(path) and path not in by_rows]
    for prediction in _collecting(predict(model, [Picture(str(p), p) for p in pictures], **options), errors):
        prediction.save(**outputs[Path(prediction.name)])
        advance(1)
    for path in filter(_is_video, todo):
        frames: Any = predict(model, [path], **options)  # one of a list, so that what is wrong with it is collected
        for _ in _collecting(_write_video(path, frames, outputs[path]['overlay']), errors):
            pass
        advance(1)
    for path in by_rows:
        try:
            errors += _write_by_rows(model, path, outputs[path], options)
        except (UserError, OSError) as error:
            errors.append((str(path), error))
        advance(1)
    name = 'areas.csv' if shard.count == 1 else f'areas_{shard.index}_of_{shard.count}.csv'
    _write_areas(out / name, model, {path: files['mask'] for path, files in outputs.items() if 'mask' in files})
    if errors:
        raise UnreadablePicturesError(errors)
    return Summary(len(todo), len(outputs) - len(todo), out / name)


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEOS


def _input_files(
    inputs: Iterable[str | os.PathLike[str]], out: Path, errors: list[tuple[str, Exception]]
) -> list[Path]:
    """The files of all inputs, each once; an input that has none is noted as an error if others have some."""
    answers = {Path(os.path.abspath(out / kind)) for kind in SUFFIXES}
    found: dict[Path, Path] = {}
    for source in inputs:
        try:
            files = files_of(source)
        except UserError as error:
            errors.append((str(source), error))
            continue
        for path in files:
            whole = Path(os.path.abspath(path))
            if answers.isdisjoint(whole.parents):
                found.setdefault(whole, path)
    if not found:
        raise errors[0][1] if errors else UserError(f'there are no pictures in {", ".join(map(str, inputs)) or "[]"}')
    return list(found.values())


def places_of(paths: list[Path]) -> dict[Path, str]:
    """Each file's path below the folder that all have in common, without its suffix unless two would be one."""
    whole = {path: Path(os.path.abspath(path)) for path in paths}
    root = Path(os.path.commonpath([path.parent for path in whole.values()]))
    below = {path: each.relative_to(root) for path, each in whole.items()}
    taken = Counter(place.with_suffix('') for place in below.values()) + Counter(below.values())
    return {
        path: str(place if taken[place.with_suffix('')] > 1 else place.with_suffix('')) for path, place in below.items()
    }


def _is_by_rows(path: Path) -> bool:
    return path.suffix.lower() in (*TIFFS, *SLIDES)


def _outputs(
    out: Path, path: Path, place: str, kinds: Sequence[str], suffixes: Mapping[str, str], tiled: bool
) -> dict[str, Path]:
    if _is_video(path):
        return {'overlay': out / 'overlay' / f'{place}.mp4'}
    if tiled and _is_by_rows(path):
        for kind in kinds:
            if kind == 'probabilities':
                raise UserError(
                    f'{path}: with tiles, TIFFs and slides get mask, overlay and confidence; probabilities of all '
                    f'classes of a picture of any size are more than memory holds: leave them out'
                )
        return {kind: out / kind / f'{place}.tif' for kind in kinds}
    return {kind: out / kind / f'{place}{suffixes[kind]}' for kind in kinds}


def _collecting(items: Any, errors: list[tuple[str, Exception]]) -> Iterator[Any]:
    """The items of an iterator that names what it could not use when it ends."""
    try:
        yield from items
    except UnreadablePicturesError as error:
        errors += error.errors


def _write_by_rows(model: Segmentor, path: Path, files: dict[str, Path], options: dict) -> list[tuple[str, Exception]]:
    """Write mask and overlay of a picture that is never in memory as a whole; what could not be read is returned."""
    raster = open_raster(path, bands_of(model))
    picture = tiled(model, raster, **options)
    palette = model.dataset_meta['palette']
    dtype, void = picture.dtype, picture.void
    writers = [lambda bands: write_tiff(files['mask'], bands, dtype, raster, palette, void)]
    if 'confidence' in files:
        writers.append(lambda bands: write_tiff(files['confidence'], bands, np.uint16, raster, void=0))
    with progress(f'segmenting rows of {path}', raster.shape[0]) as advance:

        def strips() -> Iterator[Sequence[np.ndarray]]:
            if 'confidence' not in files:
                yield from ([labels] for labels in picture.strips())
                return
            for labels, confidence in picture.strips_with_confidence():
                yield labels, np.rint(confidence * PNG_LEVELS).astype(np.uint16)

        write_together(strips(), writers, lambda bands: advance(len(bands[0])))
    if 'overlay' in files:
        write_tiff(files['overlay'], _overlays(raster, files['mask'], palette, picture.void), np.uint8, raster)
    return [(str(path), UserError(f'{damage}; these pixels are void')) for damage in raster.damage.values()]


def _overlays(raster: Raster, mask: Path, palette: Sequence[Sequence[int]], void: int) -> Iterator[np.ndarray]:
    top = 0
    for labels in label_bands(mask):
        yield overlay(raster.shown(top, top + len(labels)), labels, palette, ignore_index=void)
        top += len(labels)


def _write_video(path: Path, frames: Iterator[Prediction], target: Path) -> Iterator[None]:
    """Write overlays as a video of the source's rate; it appears when it is whole."""
    source = cv2.VideoCapture(str(path))
    rate = source.get(cv2.CAP_PROP_FPS) or 25.0
    source.release()
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f'.{target.stem}.{os.getpid()}.mp4')
    writer = None
    try:
        for frame in frames:
            picture = np.array(frame.overlay())[..., ::-1]
            height, width = picture.shape[:2]  # encoders cut sides to even numbers
            picture = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), 'edge')
            if writer is None:
                size = picture.shape[1], picture.shape[0]
                writer = cv2.VideoWriter(str(unfinished), cv2.VideoWriter.fourcc(*'mp4v'), rate, size)
                if not writer.isOpened():
                    raise UserError(f'{target} can not be written: this OpenCV has no encoder for .mp4')
            writer.write(np.ascontiguousarray(picture))
            yield
        if writer is not None:
            writer.release()
            os.replace(unfinished, target)
    finally:
        if writer is not None:
            writer.release()
        unfinished.unlink(missing_ok=True)


def _write_areas(path: Path, model: Segmentor, masks: dict[Path, Path]) -> None:
    """One row a picture: its size and the share of each class."""
    classes = list(model.dataset_meta['classes'])
    text = io.StringIO(newline='')
    table = csv.writer(text)
    table.writerow(['picture', 'height', 'width', *classes])
    for picture, mask in masks.items():
        if mask.exists():
            if several := mask.suffix == '.npy':
                bands = [read_label_bands(mask)]
                height, width = bands[0].shape[1:]
            else:
                height, width = shape_of(Picture(str(mask), mask))
                bands = label_bands(mask) if mask.suffix == '.tif' else [read_mask(mask)]
            shares = count_labels(bands, len(classes), several) / (height * width)
            table.writerow([str(picture), height, width, *(f'{share:.6f}' for share in shares)])
    with atomic_write(path) as file:
        file.write(text.getvalue().encode())
