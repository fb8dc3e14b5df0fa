"""num_classes and crop_size are stated once, in the segmentor, and reach every part that needs them."""

import pytest
import torch
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import nn

BACKBONE = dict(type='DeepLabMobileNetV2', width=0.25)
HEAD = dict(type='DeepLabV3Head', channels=8)
AUXILIARY = dict(type='FCNHead', in_channels=8, channels=8, num_convs=0, concat_input=False, norm_cfg=None)
PADDED = dict(type='SegDataPreProcessor', mean=[0, 0, 0], std=[1, 1, 1])


def build(**kwargs) -> nn.Module:
    return MODELS.build({'type': 'DeepLab', 'backbone': BACKBONE, 'decode_head': HEAD, **kwargs})


@pytest.mark.parametrize('auxiliary', [None, AUXILIARY, [AUXILIARY, dict(AUXILIARY, num_classes=5)]])
def test_classes_reach_every_head(auxiliary):
    model = build(num_classes=5, auxiliary_head=auxiliary)
    heads = [module for module in model.modules() if hasattr(module, 'num_classes') and hasattr(module, 'conv_seg')]
    assert len(heads) == 1 + (len(auxiliary) if isinstance(auxiliary, list) else auxiliary is not None)
    assert [head.conv_seg.out_channels for head in heads] == [5] * len(heads)


def test_a_config_that_states_them_in_the_parts_still_works():
    model = build(
        decode_head=dict(HEAD, num_classes=4), data_preprocessor=dict(PADDED, size=(65, 97), test_cfg=dict(size=(9, 9)))
    )
    assert model.decode_head.conv_seg.out_channels == 4
    assert (model.data_preprocessor.size, model.data_preprocessor.test_cfg) == ((65, 97), dict(size=(9, 9)))


@pytest.mark.parametrize('crop_size', [(65, 97), [65, 97]])
def test_images_are_padded_to_the_crop(crop_size):
    model = build(num_classes=5, data_preprocessor=PADDED, crop_size=crop_size)
    sample = SegDataSample(gt_sem_seg=PixelData(data=torch.zeros(1, 33, 40, dtype=torch.long)))
    for training in (True, False):
        batch = dict(inputs=[torch.ones(3, 33, 40)], data_samples=[sample])
        assert model.data_preprocessor(batch, training)['inputs'].shape == (1, 3, 65, 97)


@pytest.mark.parametrize('test_cfg', [dict(size=(33, 33)), dict(size_divisor=8), None])
def test_what_test_images_are_padded_to_can_be_stated_apart(test_cfg):
    model = build(num_classes=5, data_preprocessor=dict(PADDED, size=[65, 97], test_cfg=test_cfg), crop_size=(65, 97))
    assert model.data_preprocessor.size == (65, 97) and model.data_preprocessor.test_cfg == test_cfg


@pytest.mark.parametrize(
    ('kwargs', 'words'),
    [
        (dict(num_classes=5, decode_head=dict(HEAD, num_classes=4)), ['num_classes=5', 'decode_head.num_classes=4']),
        (
            dict(num_classes=5, auxiliary_head=[AUXILIARY, dict(AUXILIARY, num_classes=7)]),
            ['num_classes=5', 'auxiliary_head.1.num_classes=7'],
        ),
        (
            dict(num_classes=5, crop_size=(65, 97), data_preprocessor=dict(PADDED, size=[65, 65])),
            ['crop_size=(65, 97)', 'data_preprocessor.size=(65, 65)'],
        ),
    ],
)
def test_two_values_are_refused(kwargs, words):
    with pytest.raises(ValueError, match='state it once') as caught:
        build(**kwargs)
    assert all(f'model.{word}' in str(caught.value) for word in words)
