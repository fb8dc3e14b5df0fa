"""Small networks of the versions' configs, and what reads exported files."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmseg.registry import MODELS
from torch import nn

from mmseg_deeplab.inference import init_model

RESNET = {'model.backbone.depth': 50, 'model.backbone.base_channels': 4}
NETWORKS = {
    'deeplabv1_vgg16_voc': {},
    'deeplabv1_vgg16_msc_voc': {},
    'deeplabv2_r101_voc': RESNET,
    'deeplabv2_vgg16_voc': {'model.decode_head.fc_channels': 8},
    'deeplabv3_r101_voc': {**RESNET, 'model.decode_head.channels': 8},
    'deeplabv3_r101_cascade_voc': RESNET,
    'deeplabv3_mobilenetv2_voc': {'model.backbone.width': 0.25, 'model.decode_head.channels': 8},
    'deeplabv3plus_r101_voc': {**RESNET, 'model.decode_head.channels': 8},
    'deeplabv3plus_xception65_voc': {'model.backbone.depth': 41, 'model.decode_head.channels': 8},
    'deeplabv3plus_mobilenetv2_voc': {'model.backbone.width': 0.25, 'model.decode_head.channels': 8},
    'deeplabv3plus_mobilenetv2_tf_voc': {'model.backbone.width': 0.25, 'model.decode_head.channels': 8},
}
MOBILENET = 'deeplabv3plus_mobilenetv2_voc'


def small(repo: Path, folder: Path, name: str, **changes):
    """A config's network, narrow, with random weights that see several classes."""
    cfg = Config.fromfile(repo / 'configs' / f'{name}.py')
    cfg.merge_from_dict({**NETWORKS.get(name, {}), 'model.crop_size': (65, 65), 'model.norm_cfg.type': 'BN', **changes})
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
            if layer.bias is not None:
                nn.init.normal_(layer.bias, std=0.1)
    torch.save(dict(state_dict=model.state_dict(), meta={}), folder / 'model.pth')
    return init_model(cfg, folder / 'model.pth', device='cpu')


def patches(height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(1)
    return (
        rng.integers(0, 256, (-(-height // 9), -(-width // 9), 3), dtype=np.uint8)
        .repeat(9, 0)
        .repeat(9, 1)[:height, :width]
    )


def load(path: Path):
    """The file in its runtime, without the exporter's own runners: an array to a list of arrays."""
    if path.suffix == '.onnx':
        session = pytest.importorskip('onnxruntime').InferenceSession(str(path), providers=['CPUExecutionProvider'])
        return lambda x: session.run(None, {session.get_inputs()[0].name: x.numpy()})
    graph = torch.jit.load(str(path)) if path.suffix == '.ts' else torch.export.load(path).module()

    def run(x):
        out = graph(x)
        return [each.detach().numpy() for each in (out if isinstance(out, tuple) else (out,))]

    return run
