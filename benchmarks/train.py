"""A whole training, loading included, beside MMSegmentation's own: images a second, time by part, peak memory.

    python benchmarks/train.py --data-root data/camvid --rounds 3

Ways: `mmseg` is MMSegmentation's config of DeepLab v3+ with MobileNetV2 (its model, head, augmentations, hooks and
runner), made as wide as ours and of the same output stride: 256 channels, no auxiliary head, rates 6, 12, 18. `ours` is
configs/deeplabv3plus_mobilenetv2_camvid.py, `fast` the same with configs/_base_/fast_cpu.py (fast_gpu.py on a GPU).
Data, crop and batch are the same. Without `--data-root`, images are generated (360 x 480).

Each run is a process of its own, in turn, and loads in that process; on the CPU with one thread, whose time is taken,
so that a busy machine changes it little. Ratios are of neighbouring runs. Parts: `load` reads and augments a batch,
`forward` normalises it and computes the loss, `backward` the gradients, `update` the weights, `other` is the rest of
the loop, hooks and log.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import mmseg
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from test_loop import make_images, status

WAYS = ('mmseg', 'ours', 'fast')
PARTS = ('load', 'forward', 'backward', 'update', 'other')
REPO = Path(__file__).parents[1]
THEIRS = Path(mmseg.__file__).parent / '.mim/configs/mobilenet_v2'
CLASSES = 11


def clock() -> float:
    """Seconds of this process, or of the clock where a GPU works beside it."""
    if not torch.cuda.is_available():
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


class PartsHook(Hook):
    """Times the parts of each iteration after `warm` ones; `parts` are sums of seconds, `whole` is all of it."""

    priority = 'VERY_LOW'

    def __init__(self, warm: int) -> None:
        self.warm = warm
        self.parts: Counter[str] = Counter()
        self.begin = self.last = self.whole = 0.0

    def before_train(self, runner: Runner) -> None:
        """Time what the loop calls."""
        wrapper = runner.optim_wrapper
        for owner, name, part in (
            (runner.model, 'train_step', 'step'),
            (wrapper, 'backward', 'backward'),
            (wrapper, 'step', 'update'),
        ):
            setattr(owner, name, self._timed(getattr(owner, name), part))

    def _timed(self, inner, part: str):
        def timed(*args, **kwargs):
            begin = clock()
            answer = inner(*args, **kwargs)
            self.parts[part] += clock() - begin
            return answer

        return timed

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        """Loading ends here."""
        if batch_idx == self.warm:
            self.begin = clock()
            self.parts.clear()
        elif batch_idx > self.warm:
            self.parts['load'] += clock() - self.last

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Loading begins here."""
        self.last = clock()
        self.whole = self.last - self.begin


def config_of(way: str, root: str, batch: int, crop: tuple[int, int]) -> Config:
    """The way's config with the same data, batch and crop as the others."""
    if way == 'mmseg':
        cfg = Config.fromfile(THEIRS / 'mobilenet-v2-d8_deeplabv3plus_4xb2-80k_cityscapes-512x1024.py')
        head = dict(in_channels=320, c1_in_channels=24, channels=256, dilations=(1, 6, 12, 18), num_classes=CLASSES)
        cfg.model.decode_head.update(head)
        cfg.model.auxiliary_head = cfg.model.pretrained = None
        cfg.model.backbone.update(strides=(1, 2, 2, 2, 1, 1, 1), dilations=(1, 1, 1, 1, 1, 2, 2))
        cfg.model.data_preprocessor.size = crop
        for transform in cfg.train_dataloader.dataset.pipeline:
            if transform.type == 'RandomCrop':
                transform.crop_size = crop
            if transform.type == 'RandomResize':
                transform.scale = (480, 360)  # as the images are, as Cityscapes' are in the config
        cfg.train_dataloader.sampler.shuffle = True
    else:
        text = f"_base_ = ['{REPO}/configs/deeplabv3plus_mobilenetv2_camvid.py'"
        if way == 'fast':
            base = 'fast_gpu' if torch.cuda.is_available() else 'fast_cpu'
            text += f", '{REPO}/configs/_base_/{base}.py'"
        text += ']\n' + ('optim_wrapper = _base_.fast\n' if way == 'fast' else '')
        cfg = Config.fromstring(text, '.py')
        cfg.model.backbone.init_cfg = None
        cfg.model.crop_size = crop
        cfg.train_dataloader.dataset.pipeline[3].crop_size = crop
    if not torch.cuda.is_available():
        cfg.env_cfg.dist_cfg = dict(backend='gloo')
        cfg.env_cfg.cudnn_benchmark = False
    dataset = cfg.train_dataloader.dataset
    dataset.update(type='BaseSegDataset', data_root=root, metainfo=dict(classes=[str(k) for k in range(CLASSES)]))
    dataset.data_prefix = dict(img_path='img_dir/train', seg_map_path='ann_dir/train')
    dataset.update(img_suffix='.jpg', seg_map_suffix='.png')
    cfg.train_dataloader.update(batch_size=batch, num_workers=0, persistent_workers=False)
    for name in ('val_dataloader', 'val_evaluator', 'val_cfg', 'test_dataloader', 'test_evaluator', 'test_cfg'):
        cfg[name] = None
    cfg.randomness = dict(seed=0)
    cfg.log_level = 'ERROR'
    return cfg


def run_way(way: str, root: str, batch: int, crop: tuple[int, int], iterations: int, warm: int) -> dict[str, float]:
    """Train one way; images a second, milliseconds an image by part, and peak memory in MiB."""
    from mmengine.model import revert_sync_batchnorm
    from mmseg.registry import RUNNERS

    import mmseg_deeplab.plugin  # noqa: F401

    cfg = config_of(way, root, batch, crop)
    if way != 'mmseg' and not torch.cuda.is_available():
        from mmseg_deeplab.crf.memory import keep_freed_memory

        keep_freed_memory()  # as tools/train.py does
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=iterations + warm, val_interval=10**6)
    cfg.default_hooks.checkpoint.update(interval=10**6, save_best=None, save_last=False)
    cfg.work_dir = tempfile.mkdtemp()
    parts = PartsHook(warm)
    runner = RUNNERS.get(cfg.get('runner_type', 'Runner')).from_cfg(cfg)
    if not torch.cuda.is_available():
        runner.model = revert_sync_batchnorm(runner.model)
    runner.register_hook(parts)
    runner.train()
    images, seconds = batch * iterations, parts.parts
    step = seconds.pop('step')
    seconds['forward'] = step - seconds['backward'] - seconds['update']
    seconds['other'] = parts.whole - step - seconds['load']
    peak = torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else status('VmHWM')
    return {
        'images a second': images / parts.whole,
        **{part: 1000 * seconds[part] / images for part in PARTS},
        'peak memory': peak,
    }


def run_process(way: str, root: str, args: argparse.Namespace) -> dict[str, float]:
    """One run of one way in a process of its own."""
    command = [sys.executable, __file__, '--way', way, '--data-root', root]
    for name in ('batch', 'iterations', 'warm'):
        command += [f'--{name}', str(getattr(args, name))]
    command += ['--crop', *map(str, args.crop)]
    output = subprocess.run(command, env={'OMP_NUM_THREADS': '1', **os.environ}, capture_output=True, text=True)
    if output.returncode:
        sys.exit(output.stderr)
    return json.loads(output.stdout.splitlines()[-1])


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data-root', help="CamVid in MMSegmentation's layout; else images are generated")
    parser.add_argument('--batch', type=int, default=8)
    parser.add_argument('--crop', type=int, nargs=2, default=(257, 257), metavar=('HEIGHT', 'WIDTH'))
    parser.add_argument('--iterations', type=int, default=8, help='measured, after --warm others')
    parser.add_argument('--warm', type=int, default=2)
    parser.add_argument('--rounds', type=int, default=3, help='runs of each way')
    parser.add_argument('--way', choices=WAYS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.way:
        result = run_way(args.way, args.data_root, args.batch, tuple(args.crop), args.iterations, args.warm)
        print(json.dumps(result))
        return
    with tempfile.TemporaryDirectory() as generated:
        if args.data_root is None:
            make_images(Path(generated), 2 * args.batch, (480, 360), CLASSES)
            for old, new in (('images', 'img_dir'), ('masks', 'ann_dir')):
                (Path(generated) / new).mkdir()
                (Path(generated) / old).rename(Path(generated) / new / 'train')
        runs = [{way: run_process(way, args.data_root or generated, args) for way in WAYS} for _ in range(args.rounds)]
    print(f'| way | images a second | times mmseg (min - max) | {" | ".join(PARTS)}, ms an image | peak memory, MiB |')
    print('|---' * (5 + len(PARTS) - 1) + '|')
    for way in WAYS:
        middle = {key: statistics.median(run[way][key] for run in runs) for key in runs[0][way]}
        ratios = [run[way]['images a second'] / run['mmseg']['images a second'] for run in runs]
        parts = ' | '.join(f'{middle[part]:.3g}' for part in PARTS)
        print(
            f'| {way} | {middle["images a second"]:.3g} | {statistics.median(ratios):.2f} ({min(ratios):.2f} - '
            f'{max(ratios):.2f}) | {parts} | {middle["peak memory"]:.0f} |'
        )


if __name__ == '__main__':
    main()
