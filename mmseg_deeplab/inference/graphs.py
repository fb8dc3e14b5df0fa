"""What is exported of a segmentor: its network alone, or everything from pictures to labels."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from ..models import DeepLab
from ..models.layers import resize


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
        bands = model.backbone.in_channels
        self.order = [*range(bands)] if bands != 3 or takes_rgb(preprocessor) else [2, 1, 0]
        for name, default in (('mean', 0.0), ('std', 1.0)):
            value = getattr(preprocessor, name, torch.full((bands, 1, 1), default))
            self.register_buffer(name, value.detach().clone().float().view(1, -1, 1, 1), persistent=False)
        self.size = tuple((preprocessor.test_cfg or {}).get('size') or ())
        with torch.no_grad():
            cells = model(self.mean.expand(1, bands, *[model.grid + 1] * 2), mode='tensor').shape[2] - 1
        self.cell = model.grid // cells if model.align_corners else None  # pixels from one logit to the next

    def normalise(self, pictures: Tensor) -> Tensor:
        """Pictures to images (N, 3, H, W), as the data preprocessor makes them; of other bands to as many."""
        return (pictures.permute(0, 3, 1, 2)[:, self.order].float() - self.mean) / self.std

    def _padded(self, pictures: Tensor) -> Tensor:
        """Normalised images (N, 3, H, W) at the size to which the preprocessor and the network pad them."""
        images = self.normalise(pictures)
        if self.size:  # as the preprocessor pads, below and right, with the mean
            below, right = (
                _at_least_zero(least - side) for least, side in zip(self.size, images.shape[2:], strict=True)
            )
            images = F.pad(images, (0, right, 0, below))
        return self.model._pad_to_grid(images)

    def logits(self, inputs: Tensor) -> Tensor:
        """Logits at the size of the pictures."""
        return _crop(self.model.padded_logits(self._padded(inputs)), inputs.shape[1:3])

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Labels and confidence, as those of a `Prediction`."""
        images = self._padded(inputs)
        logits, size = self.model(images), images.shape[2:]
        if self.cell is not None:  # the cells that the pictures reach are enough: corners stay on corners
            cells = [(side + self.cell - 2) // self.cell + 1 for side in inputs.shape[1:3]]
            logits, size = _crop(logits, cells), [(n - 1) * self.cell + 1 for n in cells]
        logits = upsampled(logits, size, self.model.align_corners)
        # Not the many maps of the logits are cropped; and runtimes are slow at a softmax over them.
        if logits.shape[3] == 1:
            p = logits[..., 0].sigmoid()
            label = p > self.model.decode_head.threshold
            confidence = torch.maximum(p, 1 - p)
        else:
            best, label = logits.max(3)
            confidence = 1 / (logits - best[..., None]).exp().sum(3)
        size = inputs.shape[1:3]
        return _crop(label.to(torch.uint8), size), _crop(confidence, size)


def upsampled(logits: Tensor, size: Sequence[Any], align_corners: bool) -> Tensor:
    """Logits (N, C, h, w) at the size (H, W), as (N, H, W, C).

    ONNX Runtime takes a third of the time to upsample the classes of a pixel and find the best where they lie together.
    """
    if torch.onnx.is_in_onnx_export():
        return _ClassesLast.apply(logits, torch.stack([torch.as_tensor(side) for side in size]), align_corners)
    return resize(logits, size, align_corners).permute(0, 2, 3, 1)


class _ClassesLast(torch.autograd.Function):
    """`upsampled` as a resize of (N, h, w, C), which PyTorch has no operator for."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, size: Tensor, align_corners: bool) -> Tensor:
        return resize(logits, size.tolist(), align_corners).permute(0, 2, 3, 1)

    @staticmethod
    def symbolic(g: Any, logits: Any, size: Any, align_corners: bool) -> Any:
        unused = g.op('Constant', value_t=torch.tensor([]))
        return g.op(
            'Resize',
            g.op('Transpose', logits, perm_i=[0, 2, 3, 1]),
            unused,
            unused,
            size,
            axes_i=[1, 2],
            mode_s='linear',
            coordinate_transformation_mode_s='align_corners' if align_corners else 'half_pixel',
        )


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
