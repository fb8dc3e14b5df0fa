"""What does not fit is refused with a short table, the likely cause and what to do; what fits loads whole."""

import copy

import pytest
import torch
from mmengine.model import BaseTTAModel, MMDistributedDataParallel
from mmseg.registry import MODELS

from mmseg_deeplab.checkpoints import CheckpointMismatchError, load_state_dict
from mmseg_deeplab.checkpoints.strict import classifier_keys, unwrap


def deeplab(classes=5, depth=50, backbone=None, **head):
    backbone = backbone or dict(type='DeepLabResNet', depth=depth, base_channels=4)
    head = dict(dict(type='DeepLabV3Head', channels=8), **head)
    return MODELS.build(dict(type='DeepLab', backbone=backbone, decode_head=dict(head, num_classes=classes)))


@pytest.fixture(scope='module')
def v3():
    return deeplab()


def test_everything_is_loaded(v3):
    model = deeplab()
    assert load_state_dict(model, dict(state_dict=v3.state_dict(), meta={}), 'file.pth') == []
    for name, value in v3.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name


def test_wrapper_prefixes_counters_and_preprocessor_are_no_difference(v3):
    state = {f'module.{k}': v for k, v in v3.state_dict().items() if 'num_batches_tracked' not in k}
    state['module.data_preprocessor.mean'] = torch.zeros(3, 1, 1)
    load_state_dict(deeplab(), state)


def test_wrappers_are_looked_through(v3):
    class TTA(BaseTTAModel):
        def merge_preds(self, data_samples_list):
            raise NotImplementedError

    class Parallel(MMDistributedDataParallel):
        def __init__(self, module):
            torch.nn.Module.__init__(self)
            self.module = module

    assert unwrap(Parallel(TTA(module=v3))) is v3


def message(model, state, source='some/file.pth'):
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(CheckpointMismatchError) as error:
        load_state_dict(model, state, source)
    for name, value in before.items():
        assert torch.equal(model.state_dict()[name], value), f'{name} was changed'
    text = str(error.value)
    assert text.startswith(f'{source} does not fit the model') and 'What to do: ' in text
    assert len(text.splitlines()) <= 18  # a short table, not a list of keys
    return text


def test_other_classes(v3):
    text = message(deeplab(classes=7), v3.state_dict())
    assert '2 of another shape' in text
    assert 'decode_head.conv_seg.weight: file (5, 8, 1, 1), model (7, 8, 1, 1)' in text
    assert 'another set of classes: the file has 5, the model 7' in text
    assert 'drop_classifier=True' in text


def test_other_backbones(v3):
    text = message(deeplab(depth=101), v3.state_dict())
    assert 'the file holds a ResNet-50, the model a ResNet-101' in text
    assert '  backbone.layer3' in text
    text = message(v3, deeplab(backbone=dict(type='DeepLabMobileNetV2', width=0.5)).state_dict())
    assert 'the file holds a MobileNetV2, the model a ResNet-50' in text
    xception = {'backbone.blocks.0.stack.conv1.conv_dw.weight': torch.zeros(1)}
    head = {k: v for k, v in v3.state_dict().items() if k.startswith('decode_head')}
    assert 'the file holds an Aligned Xception, the model a ResNet-50' in message(v3, {**xception, **head})


@pytest.mark.parametrize(
    'other, name',
    [
        (dict(type='DeepLabV3PlusHead'), 'v3+'),
        (dict(type='DeepLabV2Head'), 'v2'),
        (dict(type='DeepLabV1Head', variant='LargeFOV'), 'v1'),
        (dict(type='DeepLabV3CascadeHead'), 'v3 cascade'),
    ],
)
def test_other_versions(other, name, v3):
    text = message(v3, build_with(other).state_dict())
    assert f'the file holds a DeepLab {name} head, the model a DeepLab v3 head' in text


def build_with(head):
    backbone = dict(type='DeepLabResNet', depth=50, base_channels=4)
    stride = 8 if head['type'] in ('DeepLabV1Head', 'DeepLabV2Head') else 16
    cfg = dict(type='DeepLab', output_stride=stride, backbone=backbone, decode_head=dict(head, num_classes=5))
    return MODELS.build(cfg)


def test_other_options(v3):
    text = message(deeplab(channels=16), v3.state_dict())
    assert 'the same version and backbone, with other options' in text


def test_another_codebase(v3):
    state = {'classifier.0.convs.0.0.weight': torch.zeros(1), 'backbone.fpn.weight': torch.zeros(1)}
    text = message(v3, state)
    assert 'layout of another codebase (torchvision)' in text
    assert 'tools/convert_checkpoint.py SRC DST.pth --from torchvision' in text
    assert '--from torchvision' in message(v3, dict(model=state, iteration=3))
    assert 'nothing in the file has a name of this model' in message(v3, {'generator.weight': torch.zeros(1)})


def test_a_backbone_alone(v3):
    state = {f'{k.removeprefix("backbone.")}': v for k, v in v3.state_dict().items() if k.startswith('backbone.layer3')}
    assert 'the file holds a backbone only' in message(v3, state)
    state = {k: v for k, v in v3.state_dict().items() if k.startswith('backbone.')}
    assert 'the file holds a backbone only' in message(v3, state)


def test_other_settings_of_the_norm(v3):
    """A parameter that only one side has is named, in the table's own column."""
    state = dict(v3.state_dict(), extra=torch.zeros(1))
    del state['backbone.bn1.bias']
    text = message(v3, state)
    assert '1 parameters are missing, 1 unexpected, 0 of another shape' in text
    assert 'backbone.bn1.bias' in text and 'extra' in text


@pytest.mark.parametrize(
    'head, expected',
    [
        (dict(type='DeepLabV3Head'), ['conv_seg']),
        (dict(type='DeepLabV3PlusHead'), ['conv_seg']),
        (dict(type='DeepLabV2Head'), [f'classifiers.{i}' for i in range(4)]),
    ],
)
def test_drop_classifier_drops_no_more(head, expected):
    """From 5 to 21 classes: all but the classifiers comes from the file, and they stay as they were."""
    names = [f'decode_head.{name}.{part}' for name in expected for part in ('weight', 'bias')]
    source = build_with(head)
    cfg_head = dict(head, num_classes=21)
    stride = 8 if head['type'] in ('DeepLabV1Head', 'DeepLabV2Head') else 16
    backbone = dict(type='DeepLabResNet', depth=50, base_channels=4)
    model = MODELS.build(dict(type='DeepLab', output_stride=stride, backbone=backbone, decode_head=cfg_head))
    own = copy.deepcopy(model.state_dict())
    assert classifier_keys(model) == names
    assert load_state_dict(model, source.state_dict(), drop_classifier=True) == names
    for name, value in model.state_dict().items():
        assert torch.equal(value, own[name] if name in names else source.state_dict()[name]), name


def test_drop_classifier_of_msc():
    head = dict(type='DeepLabV1MScHead', num_classes=5)
    model = MODELS.build(dict(type='DeepLab', output_stride=8, backbone=dict(type='DeepLabVGG'), decode_head=head))
    layers = ['conv_seg', *[f'taps.{i}.score' for i in range(5)]]
    assert sorted(classifier_keys(model)) == sorted(
        f'decode_head.{layer}.{part}' for layer in layers for part in ('weight', 'bias')
    )


def test_drop_classifier_is_named_in_the_log(v3, monkeypatch):
    lines = []
    monkeypatch.setattr('mmseg_deeplab.checkpoints.strict.print_log', lambda line, logger: lines.append(line))
    load_state_dict(deeplab(classes=7), v3.state_dict(), 'coco.pth', drop_classifier=True)
    layer = 'decode_head.conv_seg (in the file: 5 classes; now 7, untrained)'
    assert lines == [f'drop_classifier: not taken from coco.pth: {layer}']


def test_drop_classifier_forgives_nothing_else(v3):
    state = v3.state_dict()
    del state['backbone.bn1.bias']
    with pytest.raises(CheckpointMismatchError, match='1 parameters are missing'):
        load_state_dict(deeplab(classes=7), state, drop_classifier=True)
