"""Whether memory and open files stay as they are over a long training, a long test with the CRF, and many predictions.

    python benchmarks/soak.py --iterations 2000 --images 1000 --pictures 10000

Three parts, each in a process of its own, of the demo's config at a small size. Resident memory (Linux's VmRSS, after a
garbage collection) and open files are read every 20th of the way; the first quarter is for what is set up once. Flat is
when the mean of the last quarter is at most 3 % above that of the second. The exit status is 1 where a part is not, or
has left files open. The CRF keeps the position lattices of the sizes seen last, up to 64 MiB; the demo's pictures have
625 sizes, so that it is given 4 MiB here, which are full at once.
"""

import argparse
import gc
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import mean

import numpy as np

from mmseg_deeplab.crf.native import cached_bytes

CONFIG = Path(__file__).parents[1] / 'configs' / 'deeplabv3plus_mobilenetv2_demo.py'
SMALL = {
    'model.backbone.width': 0.25,
    'model.decode_head.channels': 16,
    'train_dataloader.batch_size': 2,
    **{f'{split}_dataloader.num_workers': 0 for split in ('train', 'val', 'test')},
    **{f'{split}_dataloader.persistent_workers': False for split in ('train', 'val', 'test')},
}
READINGS, ALLOWED = 20, 3.0


def reading() -> tuple[float, int]:
    """Resident memory in MiB, and the number of open files."""
    gc.collect()
    status = Path('/proc/self/status').read_text()
    match = re.search(r'VmRSS:\s+(\d+) kB', status)
    assert match is not None
    return int(match[1]) / 1024, len(os.listdir('/proc/self/fd'))


class Readings:
    """A reading at every 20th of `total` steps."""

    def __init__(self, total: int) -> None:
        self.every, self.steps, self.taken = max(1, total // READINGS), 0, []

    def step(self) -> None:
        self.steps += 1
        if self.steps % self.every == 0:
            self.taken.append(reading())


def config(folder: Path):
    """The demo's config at a small size."""
    from mmseg_deeplab.cli.configure import load_config

    cfg = load_config(CONFIG, SMALL)
    cfg.work_dir, cfg.load_from, cfg.launcher = str(folder / 'work'), None, 'none'
    return cfg


def train(folder: Path, number: int, readings: Readings) -> None:
    """Train `number` iterations, with a checkpoint and a validation at every tenth of them."""
    cfg = config(folder)
    cfg.train_cfg.max_iters, cfg.train_cfg.val_interval = number, max(1, number // 10)
    cfg.param_scheduler[-1].end = number
    cfg.default_hooks.checkpoint.interval = max(1, number // 10)
    cfg.default_hooks.checkpoint.max_keep_ckpts = 1
    run(cfg, folder, readings, 'after_train_iter').train()


def test(folder: Path, number: int, readings: Readings) -> None:
    """Test `number` images with the dense CRF."""
    cfg = config(folder)
    cfg.custom_hooks = [*cfg.get('custom_hooks', []), dict(type='DenseCRFHook', preset='v1')]
    run(cfg, folder, readings, 'after_test_iter', val=number).test()


def run(cfg, folder: Path, readings: Readings, point: str, val: int = 4):
    """A runner on generated pictures that takes readings at a hook point."""
    from mmengine.hooks import Hook

    from mmseg_deeplab.cli.configure import build_runner
    from mmseg_deeplab.datasets.data_root import set_data_root
    from mmseg_deeplab.datasets.demo import make_demo_dataset

    make_demo_dataset(folder / 'demo', 16, val)
    set_data_root(cfg, folder / 'demo')
    runner = build_runner(cfg)
    hook = Hook()
    setattr(hook, point, lambda *arguments, **options: readings.step())
    runner.register_hook(hook)
    return runner


def predict(folder: Path, number: int, readings: Readings) -> None:
    """Predict `number` pictures of a few sizes, made as they are asked for."""
    import torch
    from mmseg.registry import MODELS

    from mmseg_deeplab.apis import predict

    cfg = config(folder)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).eval()
    model.cfg = cfg
    rng = np.random.default_rng(0)
    pictures = (rng.integers(0, 256, (96 + 32 * (i % 3), 128, 3), dtype=np.uint8) for i in range(number))
    for prediction in predict(model, pictures):
        prediction.overlay()
        readings.step()


PARTS: dict[str, Callable[[Path, int, Readings], None]] = dict(train=train, test=test, predict=predict)


def run_part(name: str, number: int) -> dict:
    """Run a part in this process."""
    readings = Readings(number)
    with tempfile.TemporaryDirectory() as folder:
        before = reading()
        PARTS[name](Path(folder), number, readings)
        after = reading()
    memory = [size for size, _ in readings.taken]
    files = [count for _, count in readings.taken]
    quarter = max(1, len(memory) // 4)
    early, late = mean(memory[quarter : 2 * quarter] or memory), mean(memory[-quarter:])
    return dict(
        number=number, early=early, late=late, growth=100 * (late / early - 1), files=files[-1] - files[quarter - 1],
        before=before[1], after=after[1],
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--iterations', type=int, default=2000, help='of the training')
    parser.add_argument('--images', type=int, default=1000, help='of the test with the CRF')
    parser.add_argument('--pictures', type=int, default=10000, help='of the prediction')
    parser.add_argument('--part', help='run this one only, in this process')
    args = parser.parse_args()
    numbers = dict(train=args.iterations, test=args.images, predict=args.pictures)
    if args.part:
        cached_bytes(2**22)
        print('\n' + json.dumps(run_part(args.part, numbers[args.part])))
        return
    print('| part | steps | memory, second and last quarter | growth | more files open |\n|---|---|---|---|---|')
    flat = True
    for name, number in numbers.items():
        line = [sys.executable, __file__, *sys.argv[1:], '--part', name]
        done = subprocess.run(line, stdout=subprocess.PIPE, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        print(
            f'| {name} | {number} | {found["early"]:.0f} and {found["late"]:.0f} MiB | {found["growth"]:+.2f} % | '
            f'{found["files"]:+d} |', flush=True,
        )  # fmt: skip
        flat &= found['growth'] <= ALLOWED and found['files'] <= 0
    sys.exit(not flat)


if __name__ == '__main__':
    main()
