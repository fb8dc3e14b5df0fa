"""Dense features are those of a coarser output stride, computed everywhere (the release's atrous consistency test).

With the same weights and inputs of 32 k + 1 pixels, features at output stride 8, subsampled by 2, equal those at 16,
and those at 16 equal those at 32: a wrong rate anywhere breaks it, while all shapes stay right.
"""

import json
import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmseg.registry import MODELS
from model_helpers import randomize

from mmseg_deeplab.models.backbones import xception
from mmseg_deeplab.models.layers import ASPP

SMALL_RESNET = dict(type='DeepLabResNet', depth=50, base_channels=8)
BACKBONES = {
    'resnet': SMALL_RESNET,
    'resnet, strides in the last unit': dict(SMALL_RESNET, strided_unit='last', stem_channels=(8, 8, 16)),
    'resnet, strides on the 1x1': dict(SMALL_RESNET, strided_conv='1x1', rate_of_lost_stride='new'),
    'resnet, strides in the last unit, multi-grid': dict(
        SMALL_RESNET, strided_unit='last', stem_channels=(8, 8, 16), multi_grid=(1, 2, 4)
    ),
    'mobilenet': dict(type='DeepLabMobileNetV2', width=0.25),
    'xception 41': dict(type='AlignedXception', depth=41),
    'xception 71, multi-grid': dict(type='AlignedXception', depth=71, multi_grid=(1, 2, 4)),
}


def _features(config: dict, output_strides: tuple[int, ...], size: int = 65) -> dict[int, torch.Tensor]:
    """Last features of one network at several output strides, divided by their standard deviation."""
    torch.manual_seed(0)
    models = {stride: MODELS.build(dict(config, output_stride=stride)).eval() for stride in output_strides}
    state = randomize(models[output_strides[0]]).state_dict()
    x = torch.randn(1, 3, size, size)
    features = {}
    with torch.no_grad():
        for stride, model in models.items():
            model.load_state_dict(state)
            features[stride] = model(x)[-1]
            assert features[stride].shape[2:] == ((size - 1) // stride + 1,) * 2
    return {stride: feature / features[output_strides[0]].std() for stride, feature in features.items()}


def _assert_subsampled(dense: torch.Tensor, coarse: torch.Tensor) -> None:
    torch.testing.assert_close(dense[:, :, ::2, ::2], coarse, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize('name', BACKBONES)
def test_backbones_agree_at_8_16_and_32(name):
    features = _features(BACKBONES[name], (8, 16, 32))
    _assert_subsampled(features[8], features[16])
    _assert_subsampled(features[16], features[32])


def test_multi_grid_keeps_it_between_8_and_16_but_not_to_32_where_the_first_unit_strides():
    # The docstring of DeepLabResNet says why: the first unit of block4 strides at 32 with rate 1 x grid, and takes
    # grid x block rate at 16.
    features = _features(dict(SMALL_RESNET, multi_grid=(1, 2, 4)), (8, 16, 32))
    _assert_subsampled(features[8], features[16])
    assert (features[16][:, :, ::2, ::2] - features[32]).abs().max() > 0.1


def test_averaging_shortcuts_are_dense_only_where_no_block_loses_its_stride():
    # The docstring of DeepLabResNet says it: MMSegmentation and PaddleSeg do not average in place of a lost stride.
    features = _features(dict(SMALL_RESNET, avg_down=True), (8, 16, 32))
    for finer, coarser in ((8, 16), (16, 32)):
        assert (features[finer][:, :, ::2, ::2] - features[coarser]).abs().max() > 0.1


def _promises() -> dict[str, tuple[str, dict, tuple[int, ...]]]:
    """Of each config of v3 and v3+ the backbone and the output strides that it trains at or is said to be tested at.

    Those are what its first lines name, and 8 after a training at 16, as docs/configs.md says of all. Configs that
    share backbone and strides are one case.
    """
    found = {}
    folder = Path(__file__).resolve().parents[2] / 'configs'
    for path in sorted(folder.rglob('deeplabv3*.py')):
        if '_base_' in path.parts:
            continue
        model = Config.fromfile(path).model
        header = path.read_text().split('\n_base_')[0].replace('\n# ', ' ')
        strides = {model.output_stride} | ({8} if model.output_stride == 16 else set())
        strides |= {int(stride) for stride in re.findall(r'\b(?:stride|at) (8|16|32)\b', header)}
        backbone = {**model.backbone.to_dict(), 'init_cfg': None}
        if 'norm_cfg' in backbone:  # beside the model's, as the segmentor hands them on
            backbone['norm_cfg'] = {**model.norm_cfg.to_dict(), **backbone['norm_cfg'], 'type': 'BN'}
        case = (backbone, tuple(sorted(strides)))
        if len(strides) > 1:
            found.setdefault(json.dumps(case), (path.stem, *case))
    return {name: (name, *case) for name, *case in found.values()}


PROMISES = _promises()


def test_the_promises_of_the_configs_are_found():
    assert PROMISES['deeplabv3_r101_os32_voc'][2] == (8, 16, 32)
    assert len(PROMISES) > 8
    backbones = [backbone for _, backbone, _ in PROMISES.values()]
    assert {backbone['type'] for backbone in backbones} == {
        'DeepLabResNet', 'DeepLabMobileNetV2', 'AlignedXception',
    }  # fmt: skip
    assert {backbone.get('num_blocks') for backbone in backbones} >= {None, 5, 6, 7}


@pytest.mark.parametrize('name', PROMISES)
def test_every_config_has_it_at_the_strides_that_it_promises(name, monkeypatch):
    # Trained at 32 and tested at 16 and 8 (v3, Table 10; v3+, Table 3), or trained at 16 and tested at 8.
    monkeypatch.setattr(xception, 'FLOWS', {depth: (entry, 1) for depth, (entry, _) in xception.FLOWS.items()})
    _, backbone, strides = PROMISES[name]
    if backbone['type'] == 'DeepLabResNet':
        backbone = dict(backbone, base_channels=4)
    features = _features(backbone, strides)
    for finer, coarser in zip(strides, strides[1:], strict=False):
        assert coarser == 2 * finer
        _assert_subsampled(features[finer], features[coarser])


@pytest.mark.parametrize('multi_grid', [None, (1, 2, 1)])
@pytest.mark.parametrize('num_blocks', [5, 7])
def test_the_cascade_keeps_it_between_8_and_16(num_blocks, multi_grid):
    features = _features(dict(SMALL_RESNET, num_blocks=num_blocks, multi_grid=multi_grid), (8, 16), size=129)
    _assert_subsampled(features[8], features[16])


@pytest.mark.parametrize(('strided_conv', 'lost'), [('3x3', 'new'), ('1x1', 'old')])
def test_the_rule_belongs_to_the_strided_convolution(strided_conv, lost):
    # What follows the stride takes the new rate: in Caffe's models, which stride on the 1x1, the unit's own 3x3 too.
    features = _features(dict(SMALL_RESNET, strided_conv=strided_conv, rate_of_lost_stride=lost), (8, 16))
    assert (features[8][:, :, ::2, ::2] - features[16]).abs().max() > 0.1


@pytest.mark.parametrize('separable', [False, True])
def test_atrous_branches_of_aspp_agree_with_scaled_rates(separable):
    torch.manual_seed(0)
    dense_aspp = randomize(ASPP(8, 8, (4, 8, 12), separable=separable)).eval()
    coarse_aspp = ASPP(8, 8, (2, 4, 6), separable=separable).eval()
    coarse_aspp.load_state_dict(dense_aspp.state_dict())
    x = torch.randn(1, 8, 33, 33)
    for dense, coarse in zip(dense_aspp.branches, coarse_aspp.branches, strict=True):
        _assert_subsampled(dense(x), coarse(x[:, :, ::2, ::2]))
