"""A trained model in two calls, for notebooks and scripts.

model = init_model('configs/deeplabv3plus_r101_voc.py', 'iter_30000.pth')
labels = segment(model, 'cat.jpg', crf='v2_r101')
"""

import copy
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS, MODELS
from torch import nn

from ..checkpoints import load_file, load_state_dict
from ..crf import DenseCRF
from ..datasets import iter_datasets
from ..errors import UserError, UserFileNotFoundError
from .fast import prepare_for_inference
from .refine import keep_logits, make_crf, refine

__all__ = ['init_model', 'segment']


def init_model(config: str | Path | Config, checkpoint: str | Path, device: str = 'auto') -> nn.Module:
    """Build a config's segmentor for inference and load its weights, all of them.

    Args:
        config: Config file or loaded config.
        checkpoint: Checkpoint file of this model.
        device: 'auto' takes a GPU if there is one; else a PyTorch device, such as 'cpu' or 'cuda:1'.

    Returns:
        The model in eval mode, batch norm folded into the convolutions, with `dataset_meta` (class names, palette).

    Raises:
        FileNotFoundError: config or checkpoint do not exist.
        ValueError: neither the checkpoint nor the config's test dataset tells the classes.
        CheckpointMismatchError: the checkpoint is of another model; the message lists the differences.
    """
    if not isinstance(config, Config):
        if not Path(config).is_file():
            raise UserFileNotFoundError(f'config {config} does not exist')
        config = Config.fromfile(config)
    init_default_scope(config.get('default_scope', 'mmseg'))
    weights = load_file(checkpoint)
    model = revert_sync_batchnorm(MODELS.build(config.model))
    load_state_dict(model, weights, source=str(checkpoint))
    meta = weights.get('meta', {}).get('dataset_meta') if isinstance(weights.get('meta'), dict) else None
    model.dataset_meta = meta or _dataset_meta(config)
    model.cfg = config
    if device == 'auto':
        device = 'cuda' if torch.cuda.is_available() else 'cpu'
    model.to(device)
    prepare_for_inference(model)
    return model


def segment(model: nn.Module, image: str | Path | np.ndarray, crf: DenseCRF | str | None = None) -> np.ndarray:
    """Segment one image at its original size.

    Args:
        model: From `init_model`.
        image: Image file, or pixels (H, W, 3), uint8, RGB.
        crf: Refines the answer: a preset, such as 'v2_r101', or a `DenseCRF` made
            with `input='logits'`.

    Returns:
        Class indices (H, W), uint8 (uint16 for more than 256 classes).
    """
    if isinstance(crf, str):
        crf = make_crf(crf)
    if crf is not None and crf.input != 'logits':
        raise UserError(f"crf.input={crf.input!r}: a segmentor gives logits, use DenseCRF(input='logits')")
    batch = load_image(model.cfg, image)
    with torch.no_grad(), keep_logits(model) if crf else nullcontext():
        sample = model.test_step(batch)[0]
    if crf is not None:
        refine(model, sample, crf, batch['inputs'][0])
    labels = sample.pred_sem_seg.data[0]
    return labels.cpu().numpy().astype(np.uint8 if model.out_channels <= 256 else np.uint16)


def load_image(cfg: Config, image: str | Path | np.ndarray) -> dict:
    """Return the batch that a test loader would make of one image.

    MMSegmentation's `inference_model` does this too, but after a first array it rewrites the model's pipeline, so that
    files fail from then on.
    """
    pipeline = copy.deepcopy(next(iter_datasets(cfg.test_dataloader)).pipeline)
    pipeline = [step for step in pipeline if step['type'] != 'LoadAnnotations']  # there is no truth to load
    if isinstance(image, (str, Path)):
        if not Path(image).is_file():
            raise UserFileNotFoundError(f'image {image} does not exist')
        source = dict(img_path=str(image))
    elif image.ndim == 3 and image.shape[2] == 3 and image.dtype == np.uint8:
        source = dict(img=np.ascontiguousarray(image[..., ::-1]))  # pipelines of the stack take BGR
        pipeline[0]['type'] = 'LoadImageFromNDArray'
    else:
        raise UserError(f'image is {image.dtype} {image.shape}; give uint8 pixels (H, W, 3) in RGB order')
    data = Compose(pipeline)(source)
    return dict(inputs=[data['inputs']], data_samples=[data['data_samples']])


def _dataset_meta(cfg: Config) -> dict:
    """Class names and palette of the test dataset: its class has them, or the files that its arguments name."""
    dataset = next(iter_datasets(cfg.test_dataloader))
    kind = DATASETS.get(dataset.type) if isinstance(dataset.type, str) else dataset.type
    if 'classes' in kind.METAINFO:
        return kind.METAINFO
    try:
        return DATASETS.build({**dataset, 'lazy_init': True, 'pipeline': []}).metainfo
    except (OSError, ValueError, AssertionError) as error:
        raise UserError(
            f'the checkpoint names no classes, and test_dataloader.dataset, {kind.__name__}, does not either: {error}. '
            f"Set its data_root, or put dict(dataset_meta=dict(classes=..., palette=...)) into the checkpoint's 'meta'"
        ) from error
