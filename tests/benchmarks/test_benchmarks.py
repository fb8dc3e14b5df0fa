"""The scripts of benchmarks/, as docs/benchmarks.md and their own descriptions call them, at small sizes."""

import importlib
import importlib.util
import json
import re
import sys

import cv2
import numpy as np
import pytest
import torch
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
