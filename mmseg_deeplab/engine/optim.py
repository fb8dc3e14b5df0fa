"""Learning rates and weight decay by kind of parameter, as the DeepLab releases set them."""

from collections import defaultdict
from typing import Any

from mmengine.logging import print_log
from mmengine.optim import DefaultOptimWrapperConstructor
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from ..crf import DenseCRFLayer
from ..errors import UserError

MULTIPLIERS = (
    'classifier_lr_mult',
    'bias_lr_mult',
    'bias_decay_mult',
    'norm_decay_mult',
    'depthwise_decay_mult',
    'crf_lr_mult',
)
NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm)


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class DeepLabOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """Group parameters by learning rate and weight decay; the multipliers are `paramwise_cfg`, 1 where not given.

    `classifier_lr_mult`: learning rate of the classifiers (`DeepLabHead.classifier_names`, `conv_seg` in the heads of
    MMSegmentation), 10 in v1 and v2. `bias_lr_mult`, `bias_decay_mult`: biases of convolutions, 2 and 0 in v1 and v2;
    a classifier's bias takes the product, 20. `norm_decay_mult`: scales and shifts of normalisation layers.
    `depthwise_decay_mult`: weights of depthwise convolutions, 0 in v3+. `crf_lr_mult`: compatibilities of a CRF that is
    trained with the network; they have no weight decay, which would pull them to no CRF at all.

    Frozen parameters (`requires_grad=False`) are left out. Groups without a multiplier of the learning rate come
    first, so the rate in the log is that of the trunk.
    """

    def _validate_cfg(self) -> None:
        unknown = sorted(set(self.paramwise_cfg) - set(MULTIPLIERS))
        if unknown:
            raise UserError(
                f'optim_wrapper.paramwise_cfg: {unknown} unknown; DeepLabOptimWrapperConstructor reads {MULTIPLIERS}. '
                f"For custom_keys and the like use constructor='DefaultOptimWrapperConstructor'"
            )
        for name, value in (('lr', self.base_lr), ('weight_decay', self.base_wd)):
            if value is None and self.paramwise_cfg:
                raise UserError(f'optim_wrapper.optimizer.{name} must be given, as paramwise_cfg multiplies it')

    def add_params(self, params: list[dict], module: nn.Module, prefix: str = '', is_dcn_module: Any = None) -> None:
        """Append one group to `params` for each pair of learning rate and weight decay in `module`."""
        groups: dict[tuple[float, float], list[nn.Parameter]] = defaultdict(list)
        classifiers = classifier_modules(module)
        for layer in module.modules():
            for name, parameter in layer.named_parameters(recurse=False):
                if parameter.requires_grad:
                    groups[self._multipliers(layer, name, layer in classifiers)].append(parameter)
        if not groups:
            raise UserError('every parameter of the model is frozen: there is nothing to train')
        for (lr_mult, decay_mult), members in sorted(
            groups.items(), key=lambda item: (item[0][0] != 1, item[0][0], -item[0][1])
        ):
            lr, weight_decay = self.base_lr * lr_mult, self.base_wd * decay_mult
            params.append(dict(params=members, lr=lr, weight_decay=weight_decay))
            print_log(f'{len(members)} tensors with lr {lr:g}, weight decay {weight_decay:g}', logger='current')

    def _multipliers(self, layer: nn.Module, name: str, is_classifier: bool) -> tuple[float, float]:
        """Factors of learning rate and weight decay of a layer's parameter."""
        factor = {key: self.paramwise_cfg.get(key, 1) for key in MULTIPLIERS}
        if isinstance(layer, DenseCRFLayer):
            return factor['crf_lr_mult'], 0
        lr_mult = factor['classifier_lr_mult'] if is_classifier else 1
        if isinstance(layer, NORMS):
            return lr_mult, factor['norm_decay_mult']
        if name == 'bias':
            return lr_mult * factor['bias_lr_mult'], factor['bias_decay_mult']
        depthwise = isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels > 1
        return lr_mult, factor['depthwise_decay_mult'] if depthwise else 1


def classifier_modules(model: nn.Module) -> set[nn.Module]:
    """The layers that turn features into scores, of all heads of a model."""
    found = set()
    for head in model.modules():
        if isinstance(head, BaseDecodeHead):
            for name in getattr(head, 'classifier_names', ('conv_seg',)):
                classifier = getattr(head, name, None)  # some heads of MMSegmentation do without
                found.update(classifier.modules() if classifier is not None else ())
    return found
