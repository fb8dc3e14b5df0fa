"""Exported files against the network and `predict`: formats, versions, backbones, pictures in, refusals."""

import sys

import numpy as np
import pytest
import torch
from export_helpers import MOBILENET, NETWORKS, load, patches, small
from torch import nn

from mmseg_deeplab.errors import UserError, UserImportError, UserOSError
from mmseg_deeplab.inference import ExportError, export_model, predict
from mmseg_deeplab.inference.export import SUFFIXES, WRITERS

CASES = [
    *((name, 'torchscript') for name in NETWORKS),
    *((name, 'onnx') for name in NETWORKS),
    (MOBILENET, 'program'),  # some ten seconds
]


@pytest.mark.parametrize(('name', 'format'), CASES)
def test_versions_and_backbones_at_sizes_that_are_free(repo, tmp_path, name, format):
    if format == 'onnx':
        pytest.importorskip('onnxruntime', reason='onnxruntime is not installed')
    model = small(repo, tmp_path, name)
    path = tmp_path / f'network{SUFFIXES[format]}'
    checks = export_model(model, path, format)
    assert all(check.different == 0 and check.images == 5 and check.classes > 1 for check in checks)
    run = load(path)
    for shape in ((1, 3, 70, 101), (3, 3, 49, 64)):
        images = torch.randn(shape)
        with torch.no_grad():
            wanted = model.encode_decode(images, []).numpy()
        (found,) = run(images)
        assert found.shape == wanted.shape
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())
    assert sorted(each.name for each in tmp_path.iterdir()) == ['model.pth', path.name]


@pytest.mark.parametrize('format', ['torchscript', 'onnx', 'program'])
@pytest.mark.parametrize(
    ('name', 'changes'),
    [
        (MOBILENET, {}),
        ('deeplabv2_r101_voc', {}),  # takes BGR, at three scales
        (MOBILENET, {'model.num_classes': 2, 'model.decode_head.out_channels': 1, 'model.decode_head.threshold': 0.4}),
        (MOBILENET, {'model.decode_head.align_corners': False}),
    ],
)
def test_pictures_to_the_labels_of_predict(repo, tmp_path, name, changes, format):
    if format == 'program' and (changes or name == 'deeplabv2_r101_voc'):
        pytest.skip('one program is enough: it takes ten seconds')
    if format == 'onnx':
        pytest.importorskip('onnxruntime', reason='onnxruntime is not installed')
    if 'model.decode_head.out_channels' in changes:
        changes = {**changes, 'model.decode_head.loss_decode': dict(type='CrossEntropyLoss', use_sigmoid=True)}
    model = small(repo, tmp_path, name, **changes)
    path = tmp_path / f'pictures{SUFFIXES[format]}'
    export_model(model, path, format, uint8=True)
    run = load(path)
    for size in ((33, 50), (65, 65), (100, 70)):  # below, at and above the crop, to which predict pads
        picture = patches(*size)
        prediction = predict(model, picture)
        labels, confidence = run(torch.from_numpy(picture)[None])
        assert labels.dtype == np.uint8 and confidence.dtype == np.float32
        assert len(np.unique(labels)) > 1
        np.testing.assert_array_equal(labels[0], prediction.labels)
        np.testing.assert_allclose(confidence[0], prediction.confidence, atol=1e-2)


def test_given_pictures_are_compared_and_both_batches_and_sizes(repo, tmp_path):
    model = small(repo, tmp_path, MOBILENET)
    pictures = [patches(40, 50), patches(90, 33)]
    (check,) = export_model(model, tmp_path / 'network.ts', 'torchscript', uint8=True, images=iter(pictures))
    assert (check.images, check.pixels) == (4, 3 * 40 * 50 + 90 * 33)  # the first again, beside its mirror image
    assert '100.000 %' in str(check)


@pytest.mark.parametrize('uint8', [False, True])
def test_a_file_that_answers_differently_is_not_kept(repo, tmp_path, uint8, monkeypatch):
    model = small(repo, tmp_path, MOBILENET)
    write = WRITERS['torchscript']

    def write_worse(graph, example, path):
        weight = model.decode_head.conv_seg.weight
        before = weight.detach().clone()
        with torch.no_grad():
            weight += 0.02 * torch.randn_like(weight)
        write(graph, example, path)
        with torch.no_grad():
            weight.copy_(before)

    monkeypatch.setitem(WRITERS, 'torchscript', write_worse)
    (tmp_path / 'network.ts').write_bytes(b'an older one')
    with pytest.raises(ExportError, match='differently and was not kept'):
        export_model(model, tmp_path / 'network.ts', 'torchscript', uint8=uint8)
    assert sorted(each.name for each in tmp_path.iterdir()) == ['model.pth', 'network.ts']
    assert (tmp_path / 'network.ts').read_bytes() == b'an older one'


def test_a_place_that_can_not_be_written(repo, tmp_path):
    model = small(repo, tmp_path, MOBILENET)
    (tmp_path / 'folder.ts').mkdir()
    for path in (tmp_path / 'folder.ts', tmp_path / 'model.pth' / 'network.ts'):
        with pytest.raises(UserOSError, match='can not be written'):
            export_model(model, path, 'torchscript')
    assert sorted(each.name for each in tmp_path.iterdir()) == ['folder.ts', 'model.pth']


def test_nan_is_no_proof(repo, tmp_path):
    model = small(repo, tmp_path, MOBILENET)
    model.decode_head.conv_seg.bias.data.fill_(float('nan'))
    with pytest.raises(UserError, match='NaN'):
        export_model(model, tmp_path / 'network.ts', 'torchscript')


@pytest.mark.parametrize(
    ('file', 'options', 'message'),
    [
        ('network.onnx', dict(format='torchscript'), 'ends in .ts'),
        ('network.ts', dict(format='coreml'), 'choose one of onnx, program, torchscript'),
        ('network.ts', dict(format='torchscript', int8=[patches(9, 9)]), "int8 is for format 'onnx'"),
        ('network.ts', dict(format='torchscript', images=[]), 'no pictures'),
    ],
)
def test_what_can_not_be_exported(repo, tmp_path, file, options, message):
    with pytest.raises(UserError, match=message):
        export_model(small(repo, tmp_path, MOBILENET), tmp_path / file, **options)


def test_other_models(repo, tmp_path):
    model = small(repo, tmp_path, MOBILENET)
    with pytest.raises(UserError, match='a Linear is not exported'):
        export_model(nn.Linear(1, 1), tmp_path / 'network.onnx')
    with pytest.raises(UserError, match='in eval mode'):
        export_model(model.train(), tmp_path / 'network.onnx')


def test_a_missing_package_is_named(repo, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    with pytest.raises(UserImportError, match=r'onnx.*mmseg_deeplab\[export\]'):
        export_model(small(repo, tmp_path, MOBILENET), tmp_path / 'network.onnx')


def test_openvino_takes_the_file(repo, tmp_path):
    pytest.importorskip('openvino', reason='openvino is not installed')
    checks = export_model(small(repo, tmp_path, MOBILENET), tmp_path / 'network.onnx', uint8=True)
    assert [check.runtime.split()[0] for check in checks] == ['onnxruntime', 'openvino']
    assert all(check.different == 0 for check in checks)
