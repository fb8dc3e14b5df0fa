"""The Segment Anything Model on a network's regions."""

import importlib
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import UserError, UserFileNotFoundError, UserImportError
from .refiner import Refiner

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""Of the pixels, as SAM was trained."""
SMALLEST = 64
"""Pixels of a region below which it stays as it is: its box and point say too little."""


class SAMRefiner(Refiner):
    """Replace the network's regions by the Segment Anything Model's masks for them.

    Each connected region of a class prompts SAM with its bounding box and its innermost pixel, and SAM answers with
    one mask, as the paper has it for several prompts. In the mask and the region, where s is SAM's probability, the
    class gets s and the others share 1 - s as before: its edge becomes SAM's, and what SAM leaves goes to the next
    best class. Regions are done from the largest to the smallest. A mask that has less than `agreement` in common with
    its region is of another thing, and the network's region stays.

    Args:
        weights: Folder of a SAM as Hugging Face's transformers save it (config.json and model.safetensors).
        agreement: Least intersection over union of a mask and its region, from 0 to 1.
        background: Class whose regions are no things and do not prompt; None if there is none.

    Raises:
        UserImportError: If transformers is not installed.
        UserError: For a folder that holds no SAM, and for arguments that are none.

    Source: Kirillov et al., "Segment Anything", ICCV 2023, section 3 and appendix A.
    """

    reach = None

    def __init__(self, weights: str | Path, agreement: float = 0.5, background: int | None = 0):
        if isinstance(agreement, bool) or not isinstance(agreement, int | float) or not 0 <= agreement <= 1:
            raise UserError(f'SAMRefiner: agreement={agreement!r}: expected a number from 0 to 1')
        if background is not None and (isinstance(background, bool) or not isinstance(background, int)):
            raise UserError(f'SAMRefiner: background={background!r}: expected the number of a class, or None')
        self.agreement, self.background = agreement, background
        self.model = _load(Path(weights))
        self.side: int = self.model.config.vision_config.image_size

    def refine(self, image: np.ndarray, probabilities: Tensor) -> Tensor:
        """See `Refiner`."""
        regions = _regions(probabilities, self.background)
        if not regions:
            return probabilities
        probabilities = probabilities.clamp(min=1e-9)  # so that no pixel lacks a next best class
        self.model.to(probabilities.device)
        size, pixels = self._input(image)
        features = self.model.get_image_embeddings(pixels.to(probabilities.device))
        for label, region in regions:
            logits = self._mask(features, region, size)
            mask, inside = logits > 0, torch.from_numpy(region).to(logits.device)
            either = mask | inside
            if (mask & inside).sum() < self.agreement * either.sum():
                continue
            s = logits.sigmoid()
            changed = probabilities.clone()
            changed[label] = 0
            changed *= (1 - s) / changed.sum(0)
            changed[label] = s
            probabilities = torch.where(either, changed, probabilities)
        return probabilities / probabilities.sum(0)

    def _input(self, image: np.ndarray) -> tuple[tuple[int, int], Tensor]:
        """Size of the picture within SAM's square, and that square (1, 3, side, side)."""
        scale = self.side / max(image.shape[:2])
        height, width = (max(1, int(length * scale + 0.5)) for length in image.shape[:2])
        pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float()
        pixels = F.interpolate(pixels, (height, width), mode='bilinear', antialias=True)
        pixels = (pixels - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
        return (height, width), F.pad(pixels, (0, self.side - width, 0, self.side - height))

    def _mask(self, features: Tensor, region: np.ndarray, size: tuple[int, int]) -> Tensor:
        """SAM's mask logits (H, W) for a region (H, W), whose picture has `size` within SAM's square."""
        box, point = _prompts(region)
        scale = torch.tensor([size[1] / region.shape[1], size[0] / region.shape[0]], dtype=torch.float32)
        answer = self.model(
            image_embeddings=features,
            input_boxes=(torch.tensor(box) * scale.repeat(2)).to(features.device)[None, None],
            input_points=(torch.tensor(point) * scale).to(features.device)[None, None, None],
            multimask_output=False,
        )
        logits = F.interpolate(answer.pred_masks[:, 0], (self.side, self.side), mode='bilinear')
        return F.interpolate(logits[..., : size[0], : size[1]], region.shape, mode='bilinear')[0, 0]


def _regions(probabilities: Tensor, background: int | None) -> list[tuple[int, np.ndarray]]:
    """Class and mask (H, W) of each connected region that prompts, the largest first."""
    labels = probabilities.argmax(0).cpu().numpy()
    found = []
    for label in np.unique(labels):
        if label == background:
            continue
        _, parts, stats, _ = cv2.connectedComponentsWithStats((labels == label).astype(np.uint8))
        areas = stats[1:, cv2.CC_STAT_AREA]
        found += [(area, int(label), parts == i) for i, area in enumerate(areas, 1) if area >= SMALLEST]
    return [(label, region) for _, label, region in sorted(found, key=lambda each: -each[0])]


def _prompts(region: np.ndarray) -> tuple[list[float], list[float]]:
    """The box (x1, y1, x2, y2) around a region and its pixel (x, y) that is furthest from other ones."""
    x, y, width, height = cv2.boundingRect(region.astype(np.uint8))
    depth = cv2.distanceTransform(np.pad(region, 1).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    row, column = np.unravel_index(depth[1:-1, 1:-1].argmax(), region.shape)
    return [float(x), float(y), float(x + width), float(y + height)], [float(column) + 0.5, float(row) + 0.5]


def _load(folder: Path) -> Any:
    """The SamModel of a folder, in evaluation mode."""
    try:
        transformers: Any = importlib.import_module('transformers')
    except ImportError as error:
        raise UserImportError(
            f"SAMRefiner needs the package transformers, which can't be imported ({error}): "
            "pip install 'mmseg_deeplab[sam]'"
        ) from error
    config = folder / 'config.json'
    if not config.is_file():
        raise UserFileNotFoundError(f'{config} is not there: weights is the folder of a SAM, with config.json')
    try:
        kind = json.loads(config.read_text(encoding='utf-8')).get('model_type')
    except (ValueError, AttributeError) as error:
        raise UserError(f'{config} can not be read: {error}') from None
    if kind != 'sam':  # transformers would build a SAM of random weights
        raise UserError(f"{folder} holds a model of type {kind!r}, SAMRefiner takes 'sam'")
    try:
        model, report = transformers.SamModel.from_pretrained(folder, local_files_only=True, output_loading_info=True)
    except Exception as error:  # of many kinds, by what is wrong with the files
        raise UserError(f'{folder}: the SAM can not be loaded: {type(error).__name__}: {error}') from error
    if report['missing_keys']:
        raise UserError(f'{folder}: weights are missing: {", ".join(sorted(report["missing_keys"])[:5])}')
    return model.float().eval()
