"""What is exported of a segmentor: its network alone, or everything from pictures to labels."""

from typing import Any

import torch
import torch.nn.functional as F
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from ..models import DeepLab


class CoarseNetwork(nn.Module):
    """Normalised images (N, 3, H, W), padded to the grid, to the head's logits (N, C, h, w)."""

    takes_pictures = False

    def __init__(self, model: DeepLab):
        super().__init__()
        self.model = model
        self.training = False  # as the segmentor, whose mode is not touched

    def prepare(self, images: Tensor) -> Tensor:
        """Normalised images as `forward` takes them."""
        return self.model._pad_to_grid(images)

    def logits(self, inputs: Tensor) -> Tensor:
        """Logits of what `forward` takes, a label of which is the best one of each cell."""
        return self.model(inputs, mode='tensor')

    def forward(self, inputs: Tensor) -> Any:
        """Logits before upsampling."""
        return self.logits(inputs)


class Network(CoarseNetwork):
    """Normalised images (N, 3, H, W) of any size to logits (N, C, H, W) at their size."""

    def prepare(self, images: Tensor) -> Tensor:
        """Nothing is to be done."""
        return images

    def logits(self, inputs: Tensor) -> Tensor:
        """Logits after padding, upsampling and cropping."""
        return _crop(self.model.padded_logits(inputs), inputs.shape[2:])


class Pictures(CoarseNetwork):
    """Pictures, uint8 RGB (N, H, W, 3), to labels (N, H, W) in uint8 and the largest probabilities in float32.

    Normalisation, padding, upsampling and the choice of the class are inside. The scaling of images that a config's
    test pipeline may have is not.
    """

    takes_pictures = True
    mean: Tensor
    std: Tensor

    def __init__(self, model: DeepLab):
        super().__init__(model)
        preprocessor: Any = model.data_preprocessor
        self.order = [0, 1, 2] if takes_rgb(preprocessor) else [2, 1, 0]
        for name, default in (('mean', 0.0), ('std', 1.0)):
            value = getattr(preprocessor, name, torch.full((3, 1, 1), default))
            self.register_buffer(name, value.detach().clone().float().view(1, -1, 1, 1), persistent=False)
        self.size = tuple((preprocessor.test_cfg or {}).get('size') or ())

    def normalise(self, pictures: Tensor) -> Tensor:
        """Pictures to images (N, 3, H, W), as the data preprocessor makes them."""
        return (pictures.permute(0, 3, 1, 2)[:, self.order].float() - self.mean) / self.std

    def padded_logits(self, inputs: Tensor) -> Tensor:
        """Logits of pictures at the size to which these are padded."""
        images = self.normalise(inputs)
        if self.size:  # as the preprocessor pads, below and right, with the mean
            below, right = (
                _at_least_zero(least - side) for least, side in zip(self.size, images.shape[2:], strict=True)
            )
            images = F.pad(images, (0, right, 0, below))
        return self.model.padded_logits(images)

    def logits(self, inputs: Tensor) -> Tensor:
        """Logits at the size of the pictures."""
        return _crop(self.padded_logits(inputs), inputs.shape[1:3])

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Labels and confidence, as those of a `Prediction`."""
        logits = self.padded_logits(inputs)
        # Not the many maps of the logits are cropped; and runtimes are slow at a softmax over them.
        if logits.shape[1] == 1:
            p = logits[:, 0].sigmoid()
            label = p > self.model.decode_head.threshold
            confidence = torch.maximum(p, 1 - p)
        else:
            best, label = logits.max(1)
            confidence = 1 / (logits - best[:, None]).exp().sum(1)
        size = inputs.shape[1:3]
        return _crop(label.to(torch.uint8), size), _crop(confidence, size)


def _crop(maps: Tensor, size: Any) -> Tensor:
    """Maps without what is below and right of `size`; by padding, as torch.export can't slice to free sizes."""
    return F.pad(maps, (0, size[1] - maps.shape[-1], 0, size[0] - maps.shape[-2]))


def _at_least_zero(number: Any) -> Any:
    """max(number, 0) of a size that stays free in what is exported; a traced one can't be compared."""
    return (number + abs(number)) // 2 if torch.jit.is_tracing() else torch.sym_max(number, 0)


def takes_rgb(preprocessor: Any) -> bool:
    """Whether a preprocessor turns the stack's BGR, for a network that wants RGB: a blue pixel tells."""
    device = getattr(preprocessor, 'mean', torch.zeros(1)).device
    blue = torch.tensor([200.0, 0, 0], device=device).view(3, 1, 1)
    batches = (dict(inputs=[pixel], data_samples=[SegDataSample()]) for pixel in (blue, 0 * blue))
    seen, black = (preprocessor(batch)['inputs'][0, :, 0, 0] for batch in batches)
    return int((seen - black).abs().argmax()) == 2
