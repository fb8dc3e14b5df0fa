"""tools/export.py: what it writes and says, and that a file which answers differently ends with exit code 1."""

import sys

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from PIL import Image

from mmseg_deeplab.cli import explain, export, predict
from mmseg_deeplab.inference.export import WRITERS

CONFIG = 'configs/deeplabv3plus_mobilenetv2_demo.py'
SMALL = ['--cfg-options', 'model.backbone.width=0.25', 'model.decode_head.channels=16']


@pytest.fixture
def network(repo, tmp_path) -> list[str]:
    """Arguments for a small network of random weights."""
    cfg = Config.fromfile(repo / CONFIG)
    cfg.merge_from_dict({'model.backbone.width': 0.25, 'model.decode_head.channels': 16, 'model.norm_cfg.type': 'BN'})
    init_default_scope('mmseg')
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    torch.nn.init.normal_(model.decode_head.conv_seg.weight, std=1)
    torch.save(dict(state_dict=model.state_dict(), meta={}), tmp_path / 'model.pth')
    return [str(repo / CONFIG), str(tmp_path / 'model.pth')]


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for name, size in (('one.png', (40, 50)), ('two.jpg', (66, 33)), ('three.png', (80, 90))):
        path = tmp_path / 'in' / name
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)
    return tmp_path / 'in'


def test_a_file_and_its_proof(network, folder, tmp_path, capsys):
    out = tmp_path / 'out' / 'model.ts'
    export.main([*network, '--format', 'torchscript', '--out', str(out), '--uint8', '--images', str(folder), *SMALL])
    said = capsys.readouterr().out
    assert '100.000 % of the labels equal (0 of' in said and 'of 5 images' in said and str(out) in said
    labels, confidence = torch.jit.load(str(out))(torch.zeros(2, 30, 40, 3, dtype=torch.uint8))
    assert labels.shape == confidence.shape == (2, 30, 40)


def test_int8(network, folder, tmp_path, capsys):
    onnx = pytest.importorskip('onnx', reason='onnx is not installed')
    pytest.importorskip('onnxruntime', reason='onnxruntime is not installed')
    out = tmp_path / 'model.onnx'
    export.main([*network, '--out', str(out), '--int8', str(folder), *SMALL])
    assert 'onnxruntime' in capsys.readouterr().out
    assert any(node.op_type == 'QuantizeLinear' for node in onnx.load(str(out)).graph.node)


def test_a_different_answer_ends_with_one_sentence_and_no_file(network, tmp_path, monkeypatch):
    write = WRITERS['torchscript']

    def write_worse(graph, example, path):
        with torch.no_grad():
            graph.model.decode_head.conv_seg.weight.mul_(-1)
            write(graph, example, path)
            graph.model.decode_head.conv_seg.weight.mul_(-1)

    monkeypatch.setitem(WRITERS, 'torchscript', write_worse)
    arguments = [*network, '--format', 'torchscript', '--out', str(tmp_path / 'model.ts'), *SMALL]
    with pytest.raises(SystemExit, match='error: the file answers differently') as stopped:
        explain(lambda: export.main(arguments))
    assert stopped.value.code != 0 and not list(tmp_path.glob('*model*.ts'))


def test_a_folder_without_pictures(network, tmp_path):
    (tmp_path / 'empty').mkdir()
    with pytest.raises(SystemExit, match='no pictures'):
        explain(lambda: export.main([*network, '--images', str(tmp_path / 'empty'), *SMALL]))


def test_predict_takes_the_runtime(network, folder, tmp_path, monkeypatch):
    pytest.importorskip('onnxruntime', reason='onnxruntime is not installed')
    for runtime in ('torch', 'onnxruntime'):
        predict.main(
            [*network, str(folder), '--out', str(tmp_path / runtime), '--device', 'cpu', '--runtime', runtime, *SMALL]
        )
    masks = sorted(path.relative_to(tmp_path / 'torch') for path in (tmp_path / 'torch').rglob('*.png'))
    assert masks
    for mask in masks:
        assert (tmp_path / 'torch' / mask).read_bytes() == (tmp_path / 'onnxruntime' / mask).read_bytes()
    assert 'onnxruntime' in sys.modules
