"""8 bit files: what is quantised, and what it costs with real weights on real photographs."""

import numpy as np
import pytest
import torch
from export_helpers import MOBILENET, load, patches, small
from mmengine.config import Config
from PIL import Image

from mmseg_deeplab.checkpoints.conversion import convert_file
from mmseg_deeplab.errors import UserError
from mmseg_deeplab.inference import ExportError, export_model, init_model
from mmseg_deeplab.inference.quantize import in_float

onnx = pytest.importorskip('onnx', reason='onnx is not installed')
pytest.importorskip('onnxruntime', reason='onnxruntime is not installed')
VOC_ANIMALS = [0, 8, 10, 12, 13, 15, 17]


def test_first_convolution_classifier_and_pooled_branch_stay_in_float(repo, tmp_path):
    model = small(repo, tmp_path, MOBILENET)
    path = tmp_path / 'network.onnx'
    export_model(model, path)
    graph = onnx.load(str(path)).graph
    convs = [node.name for node in graph.node if node.op_type == 'Conv']
    kept = [name for name in convs if name in in_float(graph)]
    assert [name.split('/')[-2] + '/' + name.split('/')[-3] for name in kept] == [
        'conv/conv1',
        'conv/pooled.0',
        'conv_seg/decode_head',
    ]
    assert len(convs) > 50


def test_a_file_that_loses_too_much_is_not_kept(repo, tmp_path):
    model = small(repo, tmp_path, MOBILENET)
    black = np.zeros((65, 65, 3), np.uint8)  # ranges that nothing else fits into
    with pytest.raises(ExportError, match='differently'):
        export_model(model, tmp_path / 'network.onnx', uint8=True, images=[patches(65, 65)], int8=[black])
    with pytest.raises(UserError, match='int8 needs pictures'):
        export_model(model, tmp_path / 'network.onnx', int8=[])
    assert [each.name for each in tmp_path.iterdir()] == ['model.pth']


def test_real_weights_lose_at_most_half_a_point(repo, tmp_path, real_data):
    torch.manual_seed(0)
    voc = real_data / 'voc2012_animals'
    names = {s: (voc / f'ImageSets/Segmentation/{s}.txt').read_text().split() for s in ('train', 'val')}

    def pictures(split: str, step: int) -> list[np.ndarray]:
        return [np.array(Image.open(voc / f'JPEGImages/{name}.jpg')) for name in names[split][::step]]

    config = str(repo / 'configs/deeplabv3_mobilenetv2_voc.py')
    convert_file(
        str(real_data / 'weights/deeplabv3_mnv2_voc.npz'), str(tmp_path / 'mnv2.pth'), 'tensorflow', config=config
    )
    model = init_model(Config.fromfile(config), tmp_path / 'mnv2.pth', device='cpu')
    val = pictures('val', 5)
    masks = [np.array(Image.open(voc / f'SegmentationClass/{name}.png')) for name in names['val'][::5]]
    scores = []
    for int8 in (None, pictures('train', 27)):
        export_model(model, tmp_path / 'mnv2.onnx', uint8=True, images=val[:2], int8=int8)
        run = load(tmp_path / 'mnv2.onnx')
        confusion = np.zeros((21, 21))
        for picture, mask in zip(val, masks, strict=True):
            labels = run(torch.from_numpy(picture)[None])[0][0]
            np.add.at(confusion, (mask[mask < 21], labels[mask < 21]), 1)
        union = confusion.sum(0) + confusion.sum(1) - confusion.diagonal()
        scores.append(100 * (confusion.diagonal() / np.maximum(union, 1))[VOC_ANIMALS].mean())
    assert scores[0] > 80 and scores[1] > scores[0] - 0.5
