"""What every DeepLab backbone has in common."""

from mmengine.logging import print_log
from mmengine.model import BaseModule
from mmengine.runner import CheckpointLoader

from ...errors import UserError

FROM_SCRATCH = [
    dict(type='Kaiming', layer='Conv2d'),
    dict(type='Constant', val=1, layer=['_BatchNorm', 'GroupNorm']),
]


class DeepLabBackbone(BaseModule):
    """A backbone that turns `output_stride` into its own strides and rates.

    `forward` returns a tuple of feature maps (N, C_i, H_i, W_i), finest first. The segmentor reads the attributes
    below to connect a head.

    Attributes:
        feature_channels: Channels of each feature map.
        low_level_index: Which of them, at stride 4, the decoder of v3+ refines with.
    """

    feature_channels: tuple[int, ...]
    low_level_index: int = 0
    classifier_prefixes: tuple[str, ...] = ()
    """Parameters of the classification network, beyond the features, that a pretrained file may hold besides."""

    def __init__(self, init_cfg: dict | list[dict] | None = None):
        super().__init__(FROM_SCRATCH if init_cfg is None else init_cfg)

    def init_weights(self) -> None:
        """Initialise, from a pretrained file if `init_cfg` is `dict(type='Pretrained', checkpoint=...)`.

        Raises:
            ValueError: If that file leaves a parameter of the backbone unset or holds one that it has not; the
                registry's own initialiser skips both and trains on from random weights.
        """
        cfg = self.init_cfg
        if not (isinstance(cfg, dict) and cfg['type'] == 'Pretrained'):
            super().init_weights()
            return
        state = CheckpointLoader.load_checkpoint(cfg['checkpoint'], map_location='cpu')
        state = state.get('state_dict', state)
        prefix = cfg.get('prefix', '')
        prefix = prefix and prefix.removesuffix('.') + '.'
        state = {
            key.removeprefix(prefix): value
            for key, value in state.items()
            if key.startswith(prefix) and not key.removeprefix(prefix).startswith(self.classifier_prefixes)
        }
        own = self.state_dict()
        missing = [k for k in own if k not in state and not k.endswith('num_batches_tracked')]
        unexpected = [k for k in state if k not in own]
        shapes = [k for k in own if k in state and own[k].shape != state[k].shape]
        if missing or unexpected or shapes:
            raise UserError(
                f'{cfg["checkpoint"]} does not fit {type(self).__name__}: {len(missing)} parameters missing '
                f'{missing[:3]}, {len(unexpected)} unexpected {unexpected[:3]}, {len(shapes)} of another shape '
                f'{shapes[:3]}. Give model.backbone.init_cfg a checkpoint of the same network (and its prefix, if '
                f'its names begin with one), or convert it with tools/convert_checkpoint.py'
            )
        self.load_state_dict(state, strict=False)
        self._is_init = True
        print_log(f'{type(self).__name__}: {len(own)} tensors initialised from {cfg["checkpoint"]}', logger='current')
