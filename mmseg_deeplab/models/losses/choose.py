"""Which loss a config's name means under a DeepLab head, and which can't be one."""

import copy
import inspect

import torch
from mmseg.models.losses import (
    CrossEntropyLoss,
    DiceLoss,
    FocalLoss,
    HuasdorffDisstanceLoss,
    LovaszLoss,
    OhemCrossEntropy,
    TverskyLoss,
)
from mmseg.registry import MODELS
from torch import nn

from ...errors import UserError
from .base import SegLoss
from .cross_entropy import SegCrossEntropy, SegFocal, SegOhemCrossEntropy
from .overlap import SegDice, SegHausdorff, SegLovasz, SegTversky

FORMS: dict[type, type[SegLoss]] = {
    CrossEntropyLoss: SegCrossEntropy,
    OhemCrossEntropy: SegOhemCrossEntropy,
    FocalLoss: SegFocal,
    DiceLoss: SegDice,
    TverskyLoss: SegTversky,
    LovaszLoss: SegLovasz,
    HuasdorffDisstanceLoss: SegHausdorff,
}
"""MMSegmentation's losses, which count pixels without a label or fail on them, and the ones that stand for them."""

# What those take besides, and which values leave the loss what it is.
FIXED = {'reduction': ('mean', 'none'), 'use_mask': (False,), 'activate': (True,), 'avg_non_ignore': (True, False)}


def own_form(cfg: dict | list, ignore_index: int | None) -> dict | list:
    """The config of one or several losses, with MMSegmentation's replaced by this package's form of the same loss.

    Raises:
        UserError: If it asks for what that form can't do.
    """
    if isinstance(cfg, (list, tuple)):
        return [own_form(one, ignore_index) for one in cfg]
    kind = cfg.get('type') if isinstance(cfg, dict) else None
    kind = MODELS.get(kind) if isinstance(kind, str) else kind
    if kind not in FORMS:
        return cfg  # the registry says what is wrong with it, if anything
    own = dict(cfg, type=FORMS[kind])
    for key, allowed in FIXED.items():
        if key in inspect.signature(kind).parameters and (value := own.pop(key, allowed[0])) not in allowed:
            raise UserError(f'loss_decode.{key}={value!r} of {kind.__name__} is not possible here; leave it out')
    for key in ('ignore_index', 'ignore_label'):
        if own.pop(key, ignore_index) not in (ignore_index, None):
            raise UserError(
                f"loss_decode.{key}={cfg[key]} of {kind.__name__} differs from the head's ignore_index="
                f'{ignore_index}, which is the one that counts; leave it out'
            )
    return own


def check_loss(loss: nn.Module, channels: int, ignore_index: int | None) -> None:
    """Check that a loss can be the one of a head: on its channels, and without pixels that have no label.

    A loss of the user's own is tried on a few pixels.

    Raises:
        UserError: With what is wrong.
    """
    if isinstance(loss, SegLoss):
        loss.check(channels)
        return
    name = type(loss).__name__
    if ignore_index is None or any(tensor.is_meta for tensor in (*loss.parameters(), *loss.buffers())):
        return  # nothing is left out, or nothing can be computed
    trial = copy.deepcopy(loss).cpu()
    with torch.random.fork_rng(devices=[]), torch.device('cpu'), torch.enable_grad():
        for labelled in (3, 0):  # columns of 6
            logits = torch.randn(2, channels, 4, 6, requires_grad=True)
            label = torch.randint(max(channels, 2), (2, 4, 6))
            label[..., labelled:] = ignore_index
            try:
                value = trial(logits, label, weight=None, ignore_index=ignore_index).sum()
                (gradient,) = torch.autograd.grad(value, logits)
            except Exception as error:  # whatever it is, it would come in the first step
                raise UserError(
                    f'{name} can not be a loss_decode: on logits of {channels} channels and labels with pixels of '
                    f'ignore_index={ignore_index} among them it ends in {type(error).__name__}: {error}. Choose one of '
                    f'{sorted(form.__name__ for form in FORMS.values())}'
                ) from error
            if not value.isfinite() or gradient[..., labelled:].any() or (not labelled and value):
                raise UserError(
                    f'{name} counts pixels without a label (ignore_index={ignore_index}): '
                    f'{"they have a gradient" if labelled else "a batch of nothing else has a loss"}. Leave them '
                    f'out in its forward, or choose one of {sorted(form.__name__ for form in FORMS.values())}'
                )
