"""FCN-32s, -16s and -8s: VGG-16's own strides, grids without a shift, bilinear interpolation by definition."""

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmseg.registry import MODELS

from mmseg_deeplab.errors import UserError
from mmseg_deeplab.models.backbones import DeepLabVGG
from mmseg_deeplab.models.heads import FCNSkipHead
from mmseg_deeplab.models.heads.fcn import Deconvolution


@pytest.fixture
def mapped_head():
    """mapped_head(stride): a head of one feature whose scores are the feature itself, at every stride."""

    def build(stride: int) -> FCNSkipHead:
        head = FCNSkipHead(1, 2, (3, 64, 128, 1, 1), prediction_stride=stride, channels=1).eval()
        head.init_weights()
        head.fc6 = head.fc7 = torch.nn.Identity()
        for score in (head.conv_seg, *head.scores):
            torch.nn.init.ones_(score.weight)
        return head

    return build


def test_vgg_at_stride_32_is_vgg_16():
    """Plain convolutions and 2x2 pools with stride 2, as torchvision and Caffe have them."""
    torch.manual_seed(0)
    model = DeepLabVGG(output_stride=32).eval()
    image = torch.randn(1, 3, 75, 64)
    with torch.no_grad():
        features = model(image)
        x, expected = image, [image]
        for layer in model.features:
            if isinstance(layer, torch.nn.MaxPool2d):
                x = F.max_pool2d(x, 2, 2, ceil_mode=True)
                expected.append(x)
            elif isinstance(layer, torch.nn.Conv2d):
                assert layer.dilation == (1, 1)
                x = F.conv2d(x, layer.weight, layer.bias, padding=1).relu()
    assert [tuple(f.shape[2:]) for f in features] == [(75, 64), (38, 32), (19, 16), (10, 8), (5, 4), (3, 2)]
    for got, wanted in zip(features, expected, strict=True):
        torch.testing.assert_close(got, wanted)
    with pytest.raises(UserError, match='output_stride=16'):
        DeepLabVGG(output_stride=16)


def test_a_deconvolution_starts_as_bilinear_interpolation():
    x = torch.randn(2, 3, 5, 4)
    torch.testing.assert_close(Deconvolution(3)(x), F.interpolate(x, scale_factor=2, mode='bilinear'))


@pytest.mark.parametrize('stride', [32, 16, 8])
def test_the_grids_are_aligned(mapped_head, stride):
    """Where each cell holds the row in which its centre lies, each pixel gets its own row, from every map at once."""
    height, width = 203, 170
    maps = [torch.zeros(1, channels, height, width) for channels in (3, 64, 128)]
    for cell in (8, 16, 32):
        rows, columns = -(-height // cell), -(-width // cell)
        centres = torch.arange(rows) * cell + (cell - 1) / 2
        maps.append(centres[None, None, :, None].repeat(1, 1, 1, columns))
    head = mapped_head(stride)
    with torch.no_grad():
        logits = head(tuple(maps))
    assert logits.shape == (1, 2, height, width)
    added = 1 + len(head.scores)
    expected = added * torch.arange(height, dtype=torch.float32)[:, None].expand(height, width)
    # Interpolation goes on beyond the centres of the outermost cells.
    torch.testing.assert_close(logits[0, 0, 32:-32], expected[32:-32], rtol=0, atol=1e-3)


def test_scores_start_at_0_and_take_the_classifiers_rate():
    head = FCNSkipHead(512, 21, (3, 64, 128, 256, 512), channels=8)
    head.init_weights()
    assert [tuple(score.weight.shape) for score in head.scores] == [(21, 512, 1, 1), (21, 256, 1, 1)]
    assert all((layer.weight == 0).all() and (layer.bias == 0).all() for layer in (head.conv_seg, *head.scores))
    assert head.fc6.weight.std() > 0 and set(head.classifier_names) == {'conv_seg', 'scores'}
    line = torch.tensor([0.25, 0.75, 0.75, 0.25])
    for layer in head.deconvolutions:  # no initialiser has touched them
        torch.testing.assert_close(layer.weight[3, 3], torch.outer(line, line))
        assert layer.weight[3, 4].abs().max() == 0


def test_strides_that_it_has_no_scores_at_are_named():
    with pytest.raises(UserError, match='prediction_stride'):
        FCNSkipHead(512, 21, (3, 64, 128, 256, 512), prediction_stride=4)
    with pytest.raises(UserError, match='output_stride=8'):
        FCNSkipHead(512, 21, (3, 64, 128, 256, 512), output_stride=8)


@pytest.mark.parametrize(('name', 'parameters'), [('fcn32s', 0), ('fcn16s', 1), ('fcn8s', 2)])
def test_the_network_has_the_papers_parameters(repo, name, parameters):
    """VGG-16's convolutions, fc6 and fc7; a score of 21 classes for each map, a transposed convolution between two."""
    with torch.device('meta'):
        model = MODELS.build(Config.fromfile(repo / f'configs/baselines/{name}_vgg16_voc.py').model)
    vgg = 138_357_544 - (4096 * 1000 + 1000)  # of the classification network, without its classifier
    skips = sum(21 * width + 21 + 21 * 21 * 16 for width in (512, 256)[:parameters])
    assert sum(p.numel() for p in model.parameters()) == vgg + 21 * 4096 + 21 + skips
