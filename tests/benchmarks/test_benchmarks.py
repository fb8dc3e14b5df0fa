"""The scripts of benchmarks/, as docs/benchmarks.md and their own descriptions call them, at small sizes."""

import importlib
import importlib.util
import json
import re
import runpy
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from lively_network import save_lively_checkpoint
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmseg.registry import MODELS
from page_commands import commands

from mmseg_deeplab.datasets.demo import make_demo_dataset

NUMBER = r'-?[\d.]+'


def memory_here(_):
    """`added_memory` of this process, which may hold enough already to need no more."""

    def added_memory(device, build, *arguments):
        return 1 + sys.modules['models']._added_memory(device, build, *arguments)

    return added_memory


def side_here(test_loop):
    """`run_process` in this process; 1 MiB more for the same reason."""

    def run_process(side, root, classes, environment):
        results = test_loop.run_side(side, root, classes)
        return {name: value + name.startswith('memory') for name, value in results.items()}

    return run_process


@pytest.fixture
def run(repo, monkeypatch, capsys):
    """run(script, page, small, replaced, patches): what each of the page's commands of a script prints, a list.

    `small` is appended to each; words that stand for something are replaced. In this process, not in processes of its
    own, which would take seconds to import the stack: memory is then meaningless.
    """

    def run(script: str, page: str, small: list, replaced: dict | None = None, **patches) -> list[str]:
        monkeypatch.syspath_prepend(str(repo / 'benchmarks'))
        monkeypatch.chdir(repo)
        spec = importlib.util.spec_from_file_location(script, repo / 'benchmarks' / f'{script}.py')
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, script, module)
        spec.loader.exec_module(module)
        for name, patch in patches.items():
            monkeypatch.setattr(module, name, patch(module))
        printed = []
        for words in commands(repo / page):
            if words[1] == f'benchmarks/{script}.py':
                rest = [(replaced or {}).get(word, word) for word in words[2:]]
                monkeypatch.setattr(sys, 'argv', [words[1], *rest, *map(str, small)])
                module.main()
                printed.append(capsys.readouterr().out)
        assert printed, f'{page} does not call {script}.py'
        return printed

    return run


def test_models(run):
    """Without memory, for which it builds every network once more; test_training_step measures it in the same way."""
    small = ['--size', 33, '--batch', 2, '--rounds', 1, '--device', 'cpu']
    for printed in run('models', 'docs/benchmarks.md', small, added_memory=lambda _: lambda *arguments: 1.0):
        rows = printed.splitlines()[3:]
        times = rf'{NUMBER} \| {NUMBER} \| {NUMBER} \({NUMBER} - {NUMBER}\)'
        for row, start in zip(rows, ('test | as', 'test | same', 'training | as', 'training | same'), strict=True):
            assert re.fullmatch(rf'\| {re.escape(start)} \w+ \| {times} \| .* \|', row), row


def test_training_step(run):
    config = 'configs/deeplabv3_mobilenetv2_demo.py'
    small = ['--rounds', 1, '--device', 'cpu']
    (printed,) = run('training_step', 'docs/benchmarks.md', small, {'CONFIG': config}, added_memory=memory_here)
    row = printed.splitlines()[-1]
    times = rf'{NUMBER} \({NUMBER} - {NUMBER}\) \| {NUMBER}'
    assert re.fullmatch(rf'\| deeplabv3_mobilenetv2_demo \| 2 \| 97x97 \| {times} \| {NUMBER} \|', row), row
    seconds, images = float(row.split('|')[4].split()[0]), float(row.split('|')[5])
    assert abs(images * seconds / 2 - 1) < 0.02


def way_here(train):
    """`run_process` in this process."""
    return lambda way, root, args: train.run_way(way, root, args.batch, tuple(args.crop), args.iterations, args.warm)


def test_train(run, tmp_path):
    for folder in ('img_dir/train', 'ann_dir/train'):
        (tmp_path / folder).mkdir(parents=True)
        for number, level in enumerate((0, 10)):
            suffix = '.jpg' if folder.startswith('img') else '.png'
            cv2.imwrite(str(tmp_path / folder / f'{number}{suffix}'), np.full((40, 50), level, np.uint8))
    small = ['--batch', 2, '--crop', 33, 33, '--iterations', 1, '--warm', 1, '--rounds', 1]
    for printed in run('train', 'docs/benchmarks.md', small, {'CAMVID': str(tmp_path)}, run_process=way_here):
        for row, way in zip(printed.splitlines()[2:], ('mmseg', 'ours', 'fast'), strict=True):
            cells = [cell.strip() for cell in row.strip('|').split('|')]
            assert cells[0] == way
            rate, parts = float(cells[1]), [float(cell) for cell in cells[3:8]]
            assert abs(sum(parts) * rate / 1000 - 1) < 0.03, 'the parts are the whole'


def test_test_loop(run):
    """On images whose corners are not on corners of their features, as 500x375; else the scores differ and it stops."""
    small = ['--rounds', 1, '--sizes', '60x45', '--images', 1, '--classes', 5]
    for printed in run('test_loop', 'docs/benchmarks.md', small, run_process=side_here):
        assert '5 classes, 60x45' in printed
        assert len(re.findall(rf'^\| (?:time|memory) .* \| {NUMBER} \| {NUMBER} \| {NUMBER}', printed, re.M)) == 4


def test_joint_crf(run, repo, tmp_path):
    """Both arms and the network as it came; the same command goes on where it stopped."""
    config = repo / 'configs/deeplabv3plus_mobilenetv2_demo.py'
    make_demo_dataset(tmp_path / 'data', 2, 2)
    torch.manual_seed(0)
    model = revert_sync_batchnorm(MODELS.build(Config.fromfile(config).model))
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'random.pth')
    replaced = {'CONFIG': str(config), 'CHECKPOINT': str(tmp_path / 'random.pth')}
    replaced.update({'VOC2012_ANIMALS': str(tmp_path / 'data'), 'work_dirs/joint_crf': str(tmp_path / 'joint')})
    small = ['--iterations', 2, '--crop', 33, '--crf-iterations', 1, '--seeds', 0, '--classes', 0, 1]
    (printed,) = run('joint_crf', 'benchmarks/joint_crf.py', small, replaced)
    rows = [json.loads(line) for line in printed.splitlines() if line.startswith('{')]
    assert [row['arm'] for row in rows] == ['released', 'afterwards', 'joint']
    assert rows[0]['crf_weights'] == rows[1]['crf_weights'] != rows[2]['crf_weights']
    for arm in ('afterwards', 'joint'):  # two steps need not change a score
        trained = torch.load(tmp_path / f'joint/{arm}_0.pth', weights_only=True)
        assert trained['iteration'] == 2
        assert not torch.equal(trained['model']['decode_head.conv_seg.weight'], model.decode_head.conv_seg.weight)
    assert run('joint_crf', 'benchmarks/joint_crf.py', small, replaced) == ['']


def test_ways_to_compute_a_network(run):
    pytest.importorskip('onnxruntime', reason='onnxruntime is not installed')
    small = ['--size', 65, '--rounds', 1, '--without', 'compiled', '--networks', 'mobilenetv2']
    (printed,) = run('inference', 'docs/benchmarks.md', small)
    assert 'bfloat16 units' in printed
    for way in ('mmseg', 'folded', 'channels-last', 'onnxruntime', 'bf16', 'eager'):
        row = rf'\| mobilenetv2 \| {way} \| {NUMBER} \| {NUMBER} \({NUMBER} - {NUMBER}\) \| ({NUMBER}) % \|'
        assert float(re.search(row, printed)[1]) > (90 if way == 'bf16' else 99.9)


@pytest.mark.parametrize('part', ['train', 'test', 'predict'])
def test_soak(part, repo, monkeypatch):
    """Each part takes its readings over as many steps as it is asked for, and leaves no file open."""
    monkeypatch.syspath_prepend(str(repo / 'benchmarks'))
    soak = importlib.import_module('soak')
    found = soak.run_part(part, 20)
    assert found['number'] == 20 and found['late'] > 50 and found['files'] <= 0


def test_refinement(run, repo, tmp_path):
    """A row for each way, the same numbers for a refiner that leaves the network's answer."""
    config = repo / 'configs/deeplabv3plus_mobilenetv2_demo.py'
    make_demo_dataset(tmp_path / 'data', 2, 2)
    save_lively_checkpoint(config, tmp_path / 'lively.pth')
    replaced = {'configs/deeplabv3_mobilenetv2_voc.py': str(config), 'mnv2.pth': str(tmp_path / 'lively.pth')}
    replaced['VOC2012_ANIMALS'] = str(tmp_path / 'data')
    small = ['--images', 2, '--classes', 'background', 'zebra', 'flag']
    (printed,) = run('refinement', 'docs/results.md', small, replaced)
    assert printed.startswith('2 images, 3 classes')
    for name in ('network', 'six scales and flips', 'guided filter', 'dense CRF, v2_r101'):
        assert re.search(rf'^\| {name} \| {NUMBER} \| {NUMBER} \| {NUMBER} \|$', printed, re.M), name
    assert '| SAM | unmeasured: no weights here |' in printed
    refinement = sys.modules['refinement']
    rows = [refinement.Row(3), refinement.Row(3)]
    for row, labels in zip(rows, ([[0, 1], [2, 2]], [[0, 1], [1, 2]]), strict=True):
        with pytest.MonkeyPatch.context() as patch:
            prediction = SimpleNamespace(labels=np.array(labels))
            patch.setattr(refinement, 'predict', lambda *args, prediction=prediction, **options: prediction)
            row.add(None, 'x', np.array([[0, 1], [2, 255]]), np.array([[False, True], [True, True]]))
    assert '| 100.00 | 100.00 |' in rows[0].text('right', [0, 1, 2])
    # Of three pixels the second is a hit; class 1 is predicted once too often, class 2 never.
    assert f'| {100 * (1 + 0.5 + 0) / 3:.2f} | {100 * (0.5 + 0) / 2:.2f} |' in rows[1].text('wrong', [0, 1, 2])


@pytest.mark.parametrize('name', ['deeplabv3plus_mobilenetv2_demo', 'timm:resnet18'])
def test_every_model(name, repo, monkeypatch, tmp_path):
    """Trained, tested and answered, in this process."""
    if name.startswith('timm:'):
        pytest.importorskip('timm', reason="pip install 'mmseg_deeplab[timm]'", exc_type=ImportError)
    monkeypatch.syspath_prepend(str(repo / 'benchmarks'))
    monkeypatch.chdir(tmp_path)
    every_model = importlib.import_module('every_model')

    def run_tool(*words):
        monkeypatch.setattr(sys, 'argv', [str(word) for word in words])
        runpy.run_path(sys.argv[0], run_name='__main__')

    monkeypatch.setattr(every_model, 'run_tool', run_tool)
    make_demo_dataset(tmp_path / 'demo', 2, 1)
    row = every_model.row(name, tmp_path / 'demo', 2)
    assert re.fullmatch(rf'\| {name} \| {NUMBER}, {NUMBER} \| {NUMBER}, {NUMBER} \| 3 \|', row), row


def test_every_seed_has_a_demo(repo, monkeypatch):
    """Whatever family configs/baselines/ has, one of it is gone through."""
    monkeypatch.syspath_prepend(str(repo / 'benchmarks'))
    demos = importlib.import_module('every_model').DEMOS
    families = {re.match(r'[a-z]+', path.stem)[0] for path in (repo / 'configs/baselines').glob('*.py')}
    assert {re.match(r'[a-z]+', name)[0] for name in demos} >= families | {'deeplabv'}
