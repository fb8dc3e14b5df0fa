"""A trained model on new pictures.

model = init_model('configs/deeplabv3plus_r101_voc.py', 'iter_30000.pth')
prediction = predict(model, 'cat.jpg', crf='v2_r101')
for prediction in predict(model, 'folder', batch_size=4): ...
"""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from mmengine.logging import print_log
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor

from ..checkpoints.strict import unwrap
from ..crf import CRFPool, DenseCRF
from ..datasets.bands import Bands, read_shown
from ..datasets.palette import voc_palette
from ..errors import UserError
from ..models import DeepLab
from ..models.segmentor import CoarseLogits, check_finite, is_upright, keeping_logits
from .model import Segmentor
from .pipelines import pipeline_without_truth, test_pipeline
from .pooling import Pooled
from .prediction import Prediction
from .rasters import Raster, raster_of, shape_of
from .readers import Picture, is_one, pictures_of
from .refine import check_one_label, has_several_labels, keep_logits, make_crf, set_refined, take_logits
from .refiner import Refiner
from .tiles import TiledPicture, is_larger, tile_size

AHEAD = 4
"""Pictures that are loaded before the network wants them."""


class UnreadablePicturesError(UserError):
    """Some pictures of a source could not be used; the others were answered before this is raised.

    Attributes:
        errors: Name of each picture and what was wrong with it.
    """

    def __init__(self, errors: list[tuple[str, Exception]]):
        self.errors = errors
        lines = ''.join(f'\n  {name}: {error}' for name, error in errors)
        super().__init__(f'{len(errors)} pictures could not be used:{lines}')


def predict(
    model: Segmentor,
    source: Any,
    crf: DenseCRF | Refiner | str | dict | None = None,
    tta: bool = False,
    batch_size: int = 1,
    workers: int | None = None,
    tile: int | Sequence[int] | None = None,
) -> Prediction | Iterator[Prediction]:
    """Segment pictures at their original sizes, as tools/test.py does.

    Neither the model nor its config is changed, so that threads may share a model. Loading, the network and the CRF
    work side by side.

    Args:
        model: From `init_model`, or any segmentor of MMSegmentation with its `cfg`.
        source: One picture or many, see `readers.pictures_of`. Where the config's LoadImage takes `bands`, an array
            (H, W) or (H, W, bands) is what it would be in a .npy file: its bands are chosen and its range is checked.
        crf: Refines the answers: a preset or file by name, such as 'v2_r101', arguments of `refine.make_crf`, a
            `DenseCRF` made with `input='logits'`, or another refiner, such as a `GuidedFilter`.
        tta: Whether the probabilities of the scales and flips of the config's `tta_pipeline` are averaged.
        batch_size: Pictures that go through the network together, where their sizes allow it.
        workers: Threads that refine; None takes the CPUs that this process may use, 0 refines between the network's
            passes.
        tile: Side, or (height, width), in pixels, of the tiles of larger pictures, which the network sees with 128 more
            on every side, where neighbours' scores are blended: see docs/large_images.md. None takes every picture
            whole.

    Returns:
        One `Prediction` for one picture; for a folder, pattern, video, list or iterator an iterator of them, in order.

    Raises:
        UserError: For what is no source of pictures, and for a picture that can't be read. With several pictures, the
            others are answered first, then `UnreadablePicturesError` names those that could not be. With `tile`, blocks
            of a TIFF that can't be read become void, 255 (65535 for more than 255 classes), and are named there; for a
            single picture in a warning.
    """
    session = _session(model, crf, tta, batch_size, workers, tile)
    return session.one(source) if is_one(source) else session.answers(session.pictures_of(source))


def tiled(model: Segmentor, raster: Raster, tile: int | Sequence[int], **options: Any) -> TiledPicture:
    """One picture by tiles, to be read and written by parts.

    Args:
        raster: The picture, also one that is smaller than a tile.
        options: Of `predict`.
    """
    return _session(model, tile=tile, **options).tiled(raster)


def _session(
    model: Segmentor,
    crf: DenseCRF | Refiner | str | dict | None = None,
    tta: bool = False,
    batch_size: int = 1,
    workers: int | None = None,
    tile: int | Sequence[int] | None = None,
) -> '_Session':
    if isinstance(crf, str):
        crf = make_crf(crf)
    elif isinstance(crf, dict):
        crf = make_crf(**crf)
    if crf is not None:
        check_one_label(model)
    if crf is not None and crf.input != 'logits':
        raise UserError(f"crf.input={crf.input!r}: a segmentor gives logits, use DenseCRF(input='logits')")
    if not isinstance(batch_size, int) or batch_size < 1:
        raise UserError(f'batch_size={batch_size!r}: expected a whole number from 1 on')
    return _Session(model, crf, tta, batch_size, workers, None if tile is None else tile_size(tile))


def segment(
    model: Segmentor, image: str | Path | np.ndarray, crf: DenseCRF | Refiner | str | None = None
) -> np.ndarray:
    """Segment one image: the labels (H, W) of `predict`, uint8 (uint16 for more than 256 classes)."""
    prediction = predict(model, image, crf)
    assert isinstance(prediction, Prediction)
    return prediction.labels


@dataclass
class _Loaded:
    picture: Picture
    data: dict
    image: Callable[[], np.ndarray]


class _Session:
    """One call of `predict`."""

    def __init__(
        self,
        model: Segmentor,
        crf: DenseCRF | Refiner | None,
        tta: bool,
        batch_size: int,
        workers: int | None,
        tile: tuple[int, int] | None,
    ):
        self.tile, self.tta = tile, tta
        self.model, self.crf, self.batch_size, self.workers = model, crf, batch_size, workers
        if tta and not (model.cfg.get('tta_model') and model.cfg.get('tta_pipeline')):
            raise UserError(
                'tta=True needs tta_model and tta_pipeline in the config; configs/_base_ shows how they look'
            )
        self.network: Any = MODELS.build({**model.cfg.tta_model, 'module': model}) if tta else model
        steps = model.cfg.tta_pipeline if tta else test_pipeline(model.cfg)
        self.bands = Bands.of_step(steps[0])
        self.pipelines = {given: pipeline_without_truth(steps, given) for given in (False, True)}
        self.dtype = getattr(model, 'inference_dtype', None)
        meta = getattr(model, 'dataset_meta', None) or {}
        self.classes: Sequence[str] = list(meta.get('classes') or map(str, range(model.num_classes)))
        self.palette = [tuple(c) for c in meta.get('palette') or voc_palette(len(self.classes))]

    def pictures_of(self, source: Any) -> Iterator[Picture]:
        """The pictures of a source, see `readers.pictures_of`."""
        return pictures_of(source, bands=self.bands is not None)

    def one(self, source: Any) -> Prediction:
        """Answer a source of one picture; what is wrong with it is raised as it is, or said if it has an answer."""
        found: list[Prediction] = []
        try:
            for prediction in self.answers(self.pictures_of(source)):
                found.append(prediction)
        except UnreadablePicturesError as error:
            if not found:
                raise error.errors[0][1] from None
            print_log(str(error), logger='current', level=logging.WARNING)
        return found[0]

    def answers(self, pictures: Iterator[Picture]) -> Iterator[Prediction]:
        """Answer pictures in order, those that are larger than a tile by tiles."""
        errors: list[tuple[str, Exception]] = []
        for by_tiles, group in groupby(pictures, self._by_tiles):
            answer = self._tiled_answers if by_tiles else self._whole_answers
            try:
                yield from answer(group)
            except UnreadablePicturesError as error:
                errors += error.errors
        if errors:
            raise UnreadablePicturesError(errors)

    def _by_tiles(self, picture: Picture) -> bool:
        return self.tile is not None and not picture.error and is_larger(shape_of(picture), self.tile)

    def _tiled_answers(self, pictures: Iterator[Picture]) -> Iterator[Prediction]:
        errors: list[tuple[str, Exception]] = []
        for picture in pictures:
            name = picture.name
            try:
                raster = raster_of(picture, self.bands)
                tiled = self.tiled(raster)
                labels = np.concatenate(list(tiled.strips()), axis=-2)
            except (UserError, OSError) as error:
                errors.append((name, error))
                continue
            yield Prediction(
                name,
                labels,
                self.classes,
                self.palette,
                tiled.probabilities,
                lambda raster=raster: raster.shown(0, raster.shape[0]),
                tiled.confidence,
            )
            errors += [(name, UserError(f'{damage}; these pixels are void')) for damage in raster.damage.values()]
        if errors:
            raise UnreadablePicturesError(errors)

    def tiled(self, raster: Raster) -> TiledPicture:
        """One picture by tiles."""
        assert self.tile is not None
        return TiledPicture(raster, self.tile, self)

    def _tile_batches(self, tiles: Iterable[np.ndarray]) -> Iterator[list[_Loaded]]:
        return self._batches(self._load(Picture('a tile', pixels=pixels)) for pixels in tiles)

    @torch.no_grad()
    def tile_features(self, tiles: Iterable[np.ndarray]) -> Iterator[tuple[tuple[Tensor, ...], Tensor]]:
        """`DeepLab.pooled_features` of tiles, batch by batch."""
        for batch in self._tile_batches(tiles):
            data: Any = self.model.data_preprocessor(pseudo_collate([each.data for each in batch]), False)
            with self._precise():
                model: Any = unwrap(self.model)
                features = model.pooled_features(data['inputs'])
            yield features

    def tile_scores(
        self, name: str, tiles: Iterable[np.ndarray], pooled: Pooled | None
    ) -> Iterator[Tensor | CoarseLogits]:
        """Scores of tiles: logits, or what the CRF makes of them; two classes for a single channel."""
        waiting: deque[Callable[[], Any]] = deque()
        with ExitStack() as stack:
            pool = self._pool(stack)
            said = False
            for number, batch in enumerate(self._tile_batches(tiles)):
                said = said or _warn_of_resizing(batch[0].data['data_samples'], name)
                keep = keep_logits(self.network) if self.tta else keeping_logits('coarse alone')
                with pooled.batch(number) if pooled else nullcontext():
                    samples = self._samples(batch, keep)
                for each, sample in zip(batch, samples, strict=True):
                    scores = self._tile_logits(sample, name)
                    waiting.append(
                        partial(lambda x: x, scores)
                        if isinstance(scores, CoarseLogits) or self.crf is None
                        else self._refined(each, scores, pool)
                    )
                while len(waiting) > (2 * pool.workers if pool else 0):
                    yield waiting.popleft()()
            while waiting:
                yield waiting.popleft()()

    def _tile_logits(self, sample: SegDataSample, name: str) -> Tensor | CoarseLogits:
        """A tile's logits: the network's own, or (C, h, w) for a CRF and where the pipeline has changed its size."""
        model: Any = unwrap(self.model)
        coarse, meta = sample.get('coarse_logits'), sample.metainfo
        logits = take_logits(model, sample) if coarse is None else coarse.data
        check_finite(logits, name)
        if coarse is None:
            return logits
        size = tuple(meta['ori_shape'][:2])
        if self.crf is None and is_upright(meta) and tuple(meta['img_shape'][:2]) == size:
            return replace(coarse, size=size)
        return model.full_logits(coarse, meta)

    def _whole_answers(self, pictures: Iterator[Picture]) -> Iterator[Prediction]:
        """Answer pictures in order, as many ahead of the one that is handed out as keeps everyone at work."""
        errors: list[tuple[str, Exception]] = []
        waiting: deque[Callable[[], Prediction]] = deque()
        with ExitStack() as stack:
            loader = ThreadPoolExecutor(1, thread_name_prefix='load_pictures')
            stack.callback(loader.shutdown, cancel_futures=True)
            pool = self._pool(stack)
            ahead = 2 * pool.workers if pool else 0
            for batch in self._batches(self._load_ahead(loader, pictures, errors)):
                waiting += self._through_network(batch, pool)
                while len(waiting) > ahead:
                    yield waiting.popleft()()
            while waiting:
                yield waiting.popleft()()
        if errors:
            raise UnreadablePicturesError(errors)

    def _pool(self, stack: ExitStack) -> CRFPool | None:
        on_gpu = next(self.model.parameters()).is_cuda
        if self.crf is None or self.workers == 0 or (on_gpu and self.crf.backend != 'pydensecrf'):
            return None
        return stack.enter_context(CRFPool(self.crf, self.workers))

    def _load_ahead(
        self, loader: ThreadPoolExecutor, pictures: Iterator[Picture], errors: list[tuple[str, Exception]]
    ) -> Iterator[_Loaded]:
        pending: deque[tuple[Picture, Future]] = deque()
        pictures = iter(pictures)
        while True:
            for picture in islice(pictures, AHEAD + self.batch_size - len(pending)):
                pending.append((picture, loader.submit(self._load, picture)))
            if not pending:
                return
            picture, future = pending.popleft()
            try:
                yield future.result()
            except (UserError, OSError) as error:
                errors.append((picture.name, error))

    def _load(self, picture: Picture) -> _Loaded:
        if picture.error:
            raise picture.error
        pixels = picture.pixels
        if pixels is not None and self.bands:
            chosen = self.bands.choose(pixels, picture.name)
            source = self.bands.loaded(chosen)
            pixels = self.bands.picture(chosen)
        elif pixels is not None:
            source = dict(img=np.ascontiguousarray(pixels[..., ::-1]))  # BGR, as the stack's loader gives it
        else:
            source = dict(img_path=str(picture.path))
        data: Any = self.pipelines[pixels is not None](source)
        if pixels is None and self.crf is None:
            return _Loaded(picture, data, lambda: read_shown(str(picture.path), self.bands))
        pixels = read_shown(str(picture.path), self.bands) if pixels is None else pixels
        return _Loaded(picture, data, lambda: pixels)

    def _batches(self, loaded: Iterator[_Loaded]) -> Iterator[list[_Loaded]]:
        """Neighbours of one size; MMSegmentation's preprocessor stacks no others."""
        batch: list[_Loaded] = []
        for each in loaded:
            if batch and (len(batch) == self.batch_size or _sizes(each.data) != _sizes(batch[0].data)):
                yield batch
                batch = []
            batch.append(each)
        if batch:
            yield batch

    def _through_network(self, batch: list[_Loaded], pool: CRFPool | None) -> list[Callable[[], Prediction]]:
        model = unwrap(self.model)
        whole = not isinstance(model, DeepLab) or (model.test_cfg or {}).get('mode', 'whole') == 'whole'
        if not whole and self.crf is None and not self.tta:
            return [self._slid(*each) for each in zip(batch, self._samples(batch, nullcontext()), strict=True)]
        keep = keeping_logits('coarse') if self.crf is None else keep_logits(self.network)
        return [self._answer(*each, pool) for each in zip(batch, self._samples(batch, keep), strict=True)]

    def _slid(self, loaded: _Loaded, sample: SegDataSample) -> Callable[[], Prediction]:
        """By windows no logits are kept, which would be of full size: probabilities take a second way through them."""

        def probabilities() -> np.ndarray:
            (again,) = self._samples([loaded], keeping_logits('full'))
            return _probabilities(unwrap(self.model), again, loaded.picture.name)()

        return lambda: self._prediction(loaded, sample, probabilities)

    @torch.no_grad()
    def _samples(self, batch: list[_Loaded], keep: AbstractContextManager[None]) -> list[SegDataSample]:
        with keep, self._precise():
            return self.network.test_step(pseudo_collate([each.data for each in batch]))

    def _precise(self) -> AbstractContextManager[Any]:
        device = next(self.model.parameters()).device.type
        return torch.autocast(device, self.dtype) if self.dtype else nullcontext()

    def _refined(self, loaded: _Loaded, logits: Tensor, pool: CRFPool | None) -> Callable[[], Tensor]:
        crf = self.crf
        assert crf is not None
        image = loaded.image()
        return pool.submit(image, logits, loaded.picture.name).result if pool else lambda: crf(image, logits)

    def _answer(self, loaded: _Loaded, sample: SegDataSample, pool: CRFPool | None) -> Callable[[], Prediction]:
        if self.crf is None:
            probabilities = _probabilities(unwrap(self.model), sample, loaded.picture.name)
            return lambda: self._prediction(loaded, sample, probabilities)
        result = self._refined(loaded, take_logits(self.model, sample), pool)

        def refined() -> Prediction:
            q = result()
            set_refined(self.model, sample, q)
            return self._prediction(loaded, sample, lambda: q.cpu().numpy())

        return refined

    def _prediction(self, loaded: _Loaded, sample: Any, probabilities: Callable[[], np.ndarray]) -> Prediction:
        labels = sample.pred_sem_seg.data.cpu().numpy()
        labels = labels if has_several_labels(self.model) else labels[0]
        labels = labels.astype(np.uint8 if len(self.classes) <= 256 else np.uint16, copy=False)
        return Prediction(loaded.picture.name, labels, self.classes, self.palette, probabilities, loaded.image)


def _sizes(data: dict) -> list[tuple[int, ...]]:
    inputs = data['inputs']
    return [tuple(view.shape) for view in (inputs if isinstance(inputs, list) else [inputs])]


def _probabilities(model: Any, sample: Any, name: str) -> Callable[[], np.ndarray]:
    """What makes the probabilities (C, H, W) of a sample, of the network's small logits where it has kept those."""
    coarse = sample.get('coarse_logits')
    logits = sample.seg_logits.data if coarse is None else coarse.data
    check_finite(logits, name)

    def make() -> np.ndarray:
        full = logits if coarse is None else model.full_logits(coarse, sample.metainfo)
        if has_several_labels(model):
            return full.float().sigmoid().cpu().numpy()
        p = torch.cat([1 - full, full]) if len(full) == 1 else full.float().softmax(0)
        return p.float().cpu().numpy()

    return make


def _warn_of_resizing(sample: Any, name: str) -> bool:
    """Whether a tile was resized, which is said."""
    resized = isinstance(sample, SegDataSample) and tuple(sample.img_shape[:2]) != tuple(sample.ori_shape[:2])
    if resized:
        print_log(
            f'{name}: the test pipeline of the config resizes what it is given, here a tile of '
            f'{sample.ori_shape[:2]} to {sample.img_shape[:2]} pixels: labels depend on the size of the tiles',
            logger='current',
            level=logging.WARNING,
        )
    return resized
