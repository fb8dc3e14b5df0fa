"""Images of any number of bands: weights for three are inflated by a stated rule, mean and spread are checked."""

from types import SimpleNamespace

import mmseg.models
import pytest
import torch
from mmengine.runner import IterBasedTrainLoop
from mmseg.registry import MODELS
from model_helpers import randomize, segmentor

from mmseg_deeplab.checkpoints import CheckpointMismatchError
from mmseg_deeplab.checkpoints import bands as inflation
from mmseg_deeplab.checkpoints.bands import inflate_network, inflate_weight
from mmseg_deeplab.engine.hooks.strict_load import StrictLoadHook
from mmseg_deeplab.errors import UserError

BACKBONES = {
    'vgg': dict(type='DeepLabVGG'),
    'resnet': dict(type='DeepLabResNet', depth=50, base_channels=4),
    'deep stem': dict(type='DeepLabResNet', depth=50, base_channels=4, stem_channels=(4, 4, 8)),
    'xception': dict(type='AlignedXception', depth=41),
    'mobilenet': dict(type='DeepLabMobileNetV2', width=0.25),
}
SMALL = dict(type='DeepLabMobileNetV2', width=0.25)
HEAD = dict(type='DeepLabV3Head', channels=8, rates=())


def saved(config, path):
    """A three-band network, and the path of its weights."""
    torch.manual_seed(0)
    model = randomize(MODELS.build(config)).eval()
    torch.save(model.state_dict(), path)
    return model


def loaded(config, path, bands):
    model = MODELS.build(dict(config, in_channels=bands, init_cfg=dict(type='Pretrained', checkpoint=str(path))))
    model.init_weights()
    return model.eval()


def repeated(image, bands):
    """The bands of (N, 3, H, W) over and over, up to `bands` of them."""
    return torch.cat([image] * (bands // 3 + 1), dim=1)[:, :bands]


@pytest.mark.parametrize('name', BACKBONES)
@torch.no_grad()
def test_an_image_that_repeats_its_bands_gives_what_three_give(name, tmp_path):
    file = tmp_path / 'three.pth'
    three = saved(BACKBONES[name], file).double()  # rounding grows through untrained layers
    image = torch.rand(1, 3, 65, 65).double()
    expected = three(image)
    for bands in (3, 4, 5, 6, 7, 13, 16):
        got = loaded(BACKBONES[name], file, bands).double()(repeated(image, bands))
        for ours, theirs in list(zip(got, expected, strict=True))[name == 'vgg' :]:  # VGG's first is the image itself
            torch.testing.assert_close(ours / theirs.std(), theirs / theirs.std(), atol=1e-5, rtol=1e-5)
    grey = image[:, :1]
    ours, theirs = loaded(BACKBONES[name], file, 1).double()(grey)[-1], three(grey.expand(-1, 3, -1, -1))[-1]
    torch.testing.assert_close(ours / theirs.std(), theirs / theirs.std(), atol=1e-5, rtol=1e-5)


def test_the_rule():
    weight = torch.tensor([1.0, 10.0, 100.0]).view(1, 3, 1, 1)
    for bands, expected in {
        1: [111],
        2: [1.5, 15],
        3: [1, 10, 100],
        4: [0.5, 10, 100, 0.5],
        6: [0.5, 5, 50] * 2,
        9: [1 / 3, 10 / 3, 100 / 3] * 3,
    }.items():
        torch.testing.assert_close(inflate_weight(weight, bands).flatten(), torch.tensor(expected).float())


def test_it_is_said_once_and_files_of_that_many_bands_are_taken_as_they_are(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(inflation, 'print_log', lambda text, **_: said.append(text))
    saved(SMALL, tmp_path / 'three.pth')
    four = loaded(SMALL, tmp_path / 'three.pth', 4)
    assert len(said) == 1 and 'conv1.conv.weight is made for 3 bands and loaded for 4' in said[0]
    torch.save(four.state_dict(), tmp_path / 'four.pth')
    again = loaded(SMALL, tmp_path / 'four.pth', 4)
    assert torch.equal(again.conv1.conv.weight, four.conv1.conv.weight)
    assert len(said) == 1
    with pytest.raises(CheckpointMismatchError, match=r'conv1.conv.weight'):
        loaded(SMALL, tmp_path / 'four.pth', 3)


@pytest.mark.parametrize('bands', [0, -1, 2.0, True, '4'])
def test_a_number_of_bands_that_can_not_be_is_refused(bands):
    with pytest.raises(UserError, match=f'in_channels={bands!r}'):
        MODELS.build(dict(SMALL, in_channels=bands))


@pytest.mark.parametrize('bands', [1, 2, 4, 13])
def test_mean_and_spread_have_a_value_for_each_band(bands):
    def build(**preprocessor):
        settings = dict(type='SegDataPreProcessor', **preprocessor)
        return segmentor(dict(SMALL, in_channels=bands), HEAD, data_preprocessor=settings)

    mean = list(range(bands))
    model = build(mean=mean, std=[2.0] * bands).eval()
    data = model.data_preprocessor(dict(inputs=[torch.ones(bands, 33, 33)], data_samples=None))
    assert data['inputs'][0, :, 4, 5].tolist() == [(1 - value) / 2 for value in mean]
    assert model(data['inputs']).shape[:2] == (1, 3)
    with pytest.raises(UserError, match=rf'data_preprocessor.mean has 3 values, but .*in_channels={bands}'):
        build(mean=[1.0] * 3, std=[2.0] * 3)
    with pytest.raises(UserError, match=r'data_preprocessor.std has 3 values'):
        build(mean=[1.0] * bands, std=[2.0] * 3)
    with pytest.raises(UserError, match='must be positive'):
        build(mean=mean, std=[1.0] * (bands - 1) + [-1.0])
    with pytest.raises(UserError, match='bgr_to_rgb'):
        build(bgr_to_rgb=True)


def test_a_preprocessor_of_mmsegmentation_by_its_class_has_a_value_for_each_band():
    settings = dict(type=mmseg.models.SegDataPreProcessor, mean=[1.0] * 4, std=[2.0] * 4)
    model = segmentor(dict(SMALL, in_channels=4), HEAD, data_preprocessor=settings).eval()
    data = model.data_preprocessor(dict(inputs=[torch.ones(4, 33, 33) * 5], data_samples=None))
    assert (data['inputs'] == 2).all() and data['inputs'].shape == (1, 4, 33, 33)


def test_msc_takes_scores_of_an_image_of_any_bands():
    model = segmentor(dict(type='DeepLabVGG', in_channels=4), dict(type='DeepLabV1MScHead'), output_stride=8).eval()
    assert model(torch.rand(1, 4, 33, 33)).shape == (1, 3, 33, 33)


@pytest.mark.parametrize('bands', [1, 2, 4, 13])
@pytest.mark.parametrize('head', ['DeepLabV3Head', 'DeepLabV1MScHead'])
def test_a_training_from_a_network_of_three_bands(bands, head, monkeypatch):
    """`load_from`: also the head's own branch from the image (MSc) is inflated; other weights are as they were."""
    msc = head == 'DeepLabV1MScHead'
    parts = (dict(type='DeepLabVGG'), dict(type=head)) if msc else (SMALL, dict(HEAD, type=head))
    torch.manual_seed(0)
    three = randomize(segmentor(*parts, output_stride=8 if msc else 16))
    state = {key: value.clone() for key, value in three.state_dict().items()}
    more = segmentor({**parts[0], 'in_channels': bands}, parts[1], output_stride=8 if msc else 16)
    before = {key: value.clone() for key, value in state.items()}
    lines = []
    monkeypatch.setattr(inflation, 'print_log', lambda text, **_: lines.append(text))
    inflate_network(more, state, 'three.pth')
    names = [key for key, value in more.state_dict().items() if value.shape != before[key].shape]
    assert len(names) == (2 if msc else 1) and len(lines) == len(names)
    assert all('made for 3 bands and loaded for' in line and 'three.pth' in line for line in lines)
    more.load_state_dict(state)
    assert all(torch.equal(state[key], before[key]) for key in state if key not in names)
    three.eval(), more.eval()
    image = torch.rand(1, 3, 65, 65)
    if bands == 1:
        image = image[:, :1].expand(-1, 3, -1, -1)
    if bands == 2:
        for name in names:
            torch.testing.assert_close(state[name], before[name][:, :2] * 1.5)
        return
    given = image[:, :1] if bands == 1 else repeated(image, bands)
    with torch.no_grad():
        torch.testing.assert_close(more(given), three(image), rtol=1e-3, atol=1e-3)


def test_a_runner_inflates_what_a_training_starts_from_and_refuses_it_in_a_test(tmp_path):
    three = segmentor(SMALL, HEAD)
    torch.save(dict(state_dict=three.state_dict(), meta={}), tmp_path / 'three.pth')
    more, hook = segmentor({**SMALL, 'in_channels': 4}, HEAD), StrictLoadHook()

    def load(train):
        loops = dict(_train_loop=train, _val_loop=None, _test_loop=None)
        checkpoint = torch.load(tmp_path / 'three.pth')
        hook.after_load_checkpoint(
            SimpleNamespace(model=more, _load_from='three.pth', _resume=False, **loops), checkpoint
        )
        return checkpoint

    more.load_state_dict(load(object.__new__(IterBasedTrainLoop))['state_dict'])
    with pytest.raises(CheckpointMismatchError, match='does not fit'):
        load(None)
