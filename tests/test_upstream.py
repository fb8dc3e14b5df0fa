"""What is private in the stack is named in one place, still there, and still reached by the stock code."""

import ast
import importlib
import inspect
import pkgutil
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.hooks import CheckpointHook
from mmengine.registry import TRANSFORMS as ROOT_TRANSFORMS
from mmengine.runner import Runner, load_checkpoint
from mmseg.registry import TRANSFORMS
from torch import nn

import mmseg_deeplab
from mmseg_deeplab import upstream
from mmseg_deeplab.datasets.transforms import LoadImage
from mmseg_deeplab.upstream import PRIVATE, Private, missing

PACKAGE = Path(mmseg_deeplab.__file__).parent
STACK = ('mmengine', 'mmseg.', 'mmcv')
# Private names of PyTorch, NumPy and Python, whose absence no fallback would hide.
OTHERS = {
    '_BatchNorm',
    '_exit',
    '_adaptive_avg_pool2d',
    '_is_mkldnn_bf16_supported',
    '_overloadpacket',
    '_reconstruct',
    '_scaled_dot_product_flash_attention_for_cpu',
}


def sources():
    for path in sorted(PACKAGE.rglob('*.py')):
        name = path.relative_to(PACKAGE).as_posix()
        if name != 'upstream.py':
            yield name, ast.parse(path.read_text())


def is_private(name):
    return name.startswith('_') and not name.startswith('__')


def names_of_our_own():
    """Private functions, classes and attributes that the package itself defines."""
    found = set()
    for _, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                found.add(node.name)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and _base(node) in ('self', 'cls'):
                found.add(node.attr)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                found.add(node.id)
    return found


def _base(node):
    value = node.value
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Name):
        return value.func.id
    return value.id if isinstance(value, ast.Name) else ''


def test_private_names_of_the_stack_are_used_by_way_of_upstream_only():
    own, listed = names_of_our_own() | OTHERS, {private.name for private in PRIVATE}
    strangers, used = [], set()
    for file, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and is_private(node.attr):
                used.add(node.attr)
                inherited = _base(node) in ('self', 'super', 'cls')
                fine = node.attr in own | listed if inherited else node.attr in own - listed
                if not fine:
                    strangers.append(f'{file}:{node.lineno} {node.attr}')
            elif isinstance(node, ast.ImportFrom) and not node.level and (node.module or '').startswith(STACK):
                strangers += [f'{file}:{node.lineno} {a.name}' for a in node.names if is_private(a.name)]
    assert used  # the search finds something
    assert strangers == []


def test_what_our_classes_override_is_listed():
    """A private method of the stack that one of our classes replaces: upstream.py checks that it is still called."""
    listed = {private.name for private in PRIVATE}
    overridden = set()
    for module in pkgutil.walk_packages([str(PACKAGE)], 'mmseg_deeplab.'):
        # Triton's kernel has no classes, and Triton comes with a GPU; the native kernel is no module of Python.
        if module.name.endswith(('.triton_product', '._dcrf')):
            continue
        for cls in vars(importlib.import_module(module.name)).values():
            if not inspect.isclass(cls) or not cls.__module__.startswith('mmseg_deeplab'):
                continue
            stock = [base for base in cls.__mro__ if base.__module__.startswith(STACK)]
            for name in vars(cls):
                if is_private(name) and not name.startswith('_abc') and any(name in vars(base) for base in stock):
                    overridden.add(name)
    assert {'_save_best_checkpoint', '_init_decode_head'} <= overridden
    assert overridden - listed == set()


class Stock:
    def __init__(self):
        self._mode = 1

    def _save(self, runner): ...

    @property
    def mode(self):
        return [self._mode for _ in 'ab']

    def run(self):
        self._save(None)


@pytest.mark.parametrize(
    'private, problem',
    [
        (Private(Stock, '_save', 'run', ('runner',)), None),
        (Private(Stock, '_mode', 'mode'), None),
        (Private(Stock, '_save', None, ('runner', 'step')), "Stock._save takes ('runner',), not ('runner', 'step')"),
        (Private(Stock, '_store', 'run', ('runner',)), 'Stock._store is gone'),
        (Private(Stock, '_mode', 'run'), 'Stock.run no longer uses _mode'),
        (Private(Stock, '_save', 'walk'), 'Stock.walk, which uses _save, is gone'),
    ],
)
def test_a_name_that_upstream_changes_is_noticed(private, problem):
    assert missing(private) == problem


def test_an_import_on_another_stack_says_what_differs(monkeypatch):
    monkeypatch.delattr(Runner, '_init_model_weights')
    with pytest.raises(ImportError, match=r'does not work with this mmengine .*Runner\._init_model_weights is gone'):
        importlib.reload(upstream)
    monkeypatch.undo()
    importlib.reload(upstream)


class TestTheStockCallerReachesUs:
    """Each thing that is put in the stack's way, by way of the stack's own code."""

    @pytest.fixture
    def tiny(self, monkeypatch):
        monkeypatch.syspath_prepend(Path(__file__).parent / 'engine')
        return importlib.import_module('tiny_training').tiny_runner

    @pytest.fixture
    def calls(self, monkeypatch):
        """Records calls of a method of ours, which still runs."""

        def record(owner, name):
            real, seen = getattr(owner, name), []

            def recorded(*args, **kwargs):
                seen.append(args)
                return real(*args, **kwargs)

            monkeypatch.setattr(owner, name, recorded)
            return seen

        return record

    def test_checkpoint_hook(self, tmp_path, calls, tiny):
        from mmseg_deeplab.engine.hooks.checkpoint import CrashSafeCheckpointHook

        saved = calls(CrashSafeCheckpointHook, '_save_checkpoint_with_step')
        best = calls(CrashSafeCheckpointHook, '_save_best_checkpoint')
        runner = tiny(tmp_path, 1, hook=dict(save_best='mIoU'))
        runner.train()
        assert [args[2] for args in saved] == [1]
        hook = next(hook for hook in runner.hooks if isinstance(hook, CheckpointHook))
        CheckpointHook.after_val_epoch(hook, runner, dict(mIoU=3.0))
        assert len(best) == 1 and 'best_mIoU_iter_1.pth' in {path.name for path in tmp_path.iterdir()}
        assert [args[2] for args in saved] == [1, 1]  # the latest is written again, with the new best score

    def test_batches_and_samples_of_an_exact_resume(self, tmp_path, calls, tiny):
        from mmseg_deeplab.engine import exact_resume

        batches = calls(exact_resume._Batches, '__next__')
        samples = calls(exact_resume, '_fetch')
        tiny(tmp_path, 2).train()
        assert len(batches) == len(samples) == 2

    def test_initialised_weights(self, tmp_path, tiny, monkeypatch):
        from tiny_training import Net

        from mmseg_deeplab.engine.runner import DeepLabRunner

        class Reached(Exception): ...

        def reached(self):
            raise Reached

        monkeypatch.setattr(DeepLabRunner, '_init_model_weights', reached)
        loop = dict(type='IterBasedTrainLoop', max_iters=1)
        loader = dict(dataset=[1], sampler=dict(type='DefaultSampler'), batch_size=1)
        runner = DeepLabRunner(
            model=Net(), work_dir=str(tmp_path), experiment_name='reached', train_dataloader=loader,
            train_cfg=loop, optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        )  # fmt: skip
        with pytest.raises(Reached):
            runner.train()

    def test_checkpoint_loaders(self, tmp_path, calls):
        from mmseg_deeplab.checkpoints import load

        assert all(loader.__module__.startswith('mmseg_deeplab.') for loader in upstream.loader_schemes().values())
        read = calls(load, 'load_file')
        torch.save(nn.Linear(1, 1).state_dict(), tmp_path / 'a.pth')
        load_checkpoint(nn.Linear(1, 1), str(tmp_path / 'a.pth'))
        assert len(read) == 1

    def test_loading_of_images(self, calls):
        loaded = calls(LoadImage, 'transform')
        assert TRANSFORMS.get('LoadImageFromFile') is LoadImage
        assert ROOT_TRANSFORMS.get('LoadImageFromFile') is not LoadImage
        loader = TRANSFORMS.build(dict(type='InferencerLoader'))  # what MMSegInferencer puts in that name's place
        with pytest.raises(FileNotFoundError, match=r'image none\.png does not exist'):
            loader('none.png')
        assert len(loaded) == 1
        assert loader(np.zeros((2, 2, 3), np.uint8))['img'].shape == (2, 2, 3)
