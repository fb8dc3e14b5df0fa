"""The test loop around the network: time and peak memory beside MMSegmentation's own.

    python benchmarks/test_loop.py --classes 150 --sizes 500x375 1000x750 2048x1024

Both sides run MMEngine's test loop over the same generated images, with the same weights in the same backbone and head
(DeepLab v3+ with MobileNetV2). MMSegmentation's side is EncoderDecoder with IoUMetric, this project's DeepLab with
SegmentationMetric. Each run is a process of its own, in turn (A B A B ...); a ratio is of one pair of neighbouring
runs, and median, minimum and maximum are printed. Both must give the same scores.

DeepLab pads an image until its corners lie on corners of its features, so the data preprocessor does so on both sides.

`outside` is everything but backbone and head: loading, resizing logits, argmax, counting. Memory is the peak above what
the process held before its (second, measured) loop: on the CPU resident memory, on a GPU allocated memory. Time on the
CPU is that of one core, so that a busy machine does not change it; on a GPU it is wall time.
"""

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch

SIDES = ('mmseg', 'ours')
OUTPUT_STRIDE = 16
# For memory: freed memory goes back at once, so that resident is what is in use. It costs time, on both sides.
MEMORY_ENVIRONMENT = {'MALLOC_MMAP_THRESHOLD_': '65536', 'MALLOC_TRIM_THRESHOLD_': '65536'}


def make_images(root: Path, count: int, size: tuple[int, int], classes: int) -> None:
    """Blocks of random colours as images and of random classes (and void) as masks."""
    rng = np.random.default_rng(0)
    for folder in ('images', 'masks'):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        image = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        mask = rng.integers(0, classes, (12, 16), dtype=np.uint8)
        mask[0, 0] = 255
        cv2.imwrite(str(root / f'images/{number}.jpg'), cv2.resize(image, size))
        cv2.imwrite(str(root / f'masks/{number}.png'), cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST))


def make_runner(side: str, root: str, classes: int):
    """A runner with everything but the test loop's own parts left out."""
    height, width = cv2.imread(f'{root}/images/0.jpg').shape[:2]
    grid = tuple(length + -(length - 1) % OUTPUT_STRIDE for length in (height, width))
    from mmengine.config import ConfigDict
    from mmengine.runner import Runner
    from mmseg.registry import MODELS

    import mmseg_deeplab.plugin  # noqa: F401

    head = dict(type='DeepLabV3PlusHead', num_classes=classes, separable_aspp=True, separable_decoder=True, norm_cfg=BN)
    model = dict(
        type='DeepLab',
        output_stride=OUTPUT_STRIDE,
        data_preprocessor=dict(
            type='SegDataPreProcessor',
            mean=[127.5] * 3,
            std=[127.5] * 3,
            bgr_to_rgb=True,
            test_cfg=dict(size=grid),
        ),
        backbone=dict(type='DeepLabMobileNetV2', norm_cfg=BN),
        decode_head=head,
    )
    if side == 'mmseg':
        model.update(type='EncoderDecoder', test_cfg=dict(mode='whole'))
        model['backbone']['output_stride'] = model.pop('output_stride')
        backbone = MODELS.build(model['backbone'])
        channels, index = backbone.feature_channels, backbone.low_level_index
        head.update(in_channels=channels[-1], low_level_channels=channels[index], low_level_index=index)
        head.update(output_stride=OUTPUT_STRIDE, in_index=-1)
    return Runner(
        model=ConfigDict(model),
        work_dir=tempfile.mkdtemp(),
        test_dataloader=dict(
            batch_size=1,
            num_workers=0,
            sampler=dict(type='DefaultSampler', shuffle=False),
            dataset=dict(
                type='BaseSegDataset',
                data_root=root,
                data_prefix=dict(img_path='images', seg_map_path='masks'),
                metainfo=dict(classes=[str(k) for k in range(classes)]),
                pipeline=[dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')],
            ),
        ),
        test_cfg=dict(),
        test_evaluator=dict(type='IoUMetric' if side == 'mmseg' else 'SegmentationMetric'),
        default_scope='mmseg',
        log_level='ERROR',
        randomness=dict(seed=0),
    )


BN = dict(type='BN')


class Meter:
    """Splits time and peak memory of a loop into network and outside."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.cuda = next(model.parameters()).is_cuda
        self.network = self.whole_peak = self.outside_peak = 0.0
        self._wrap(model, 'extract_feat', starts=True)
        self._wrap(model.decode_head, 'forward', starts=False)

    def _wrap(self, owner, name: str, starts: bool) -> None:
        inner = getattr(owner, name)

        def timed(*args, **kwargs):
            if starts:
                self.lap(outside=True)
            begin = self._clock()
            answer = inner(*args, **kwargs)
            self.network += self._clock() - begin
            if not starts:
                self.lap(outside=False)
            return answer

        setattr(owner, name, timed)

    def _clock(self) -> float:
        if not self.cuda:
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()

    def lap(self, outside: bool) -> None:
        """Take the peak since the last lap and start the next."""
        peak = torch.cuda.max_memory_allocated() / 2**20 if self.cuda else status('VmHWM')
        self.whole_peak = max(self.whole_peak, peak)
        if outside:
            self.outside_peak = max(self.outside_peak, peak)
        if self.cuda:
            torch.cuda.reset_peak_memory_stats()
        else:
            Path('/proc/self/clear_refs').write_text('5')  # resets the high-water mark

    def measure(self, runner) -> dict[str, float]:
        """Run the test; milliseconds per image and MiB above the start."""
        gc.collect()
        self.lap(outside=False)
        self.network = self.whole_peak = self.outside_peak = 0.0
        base = torch.cuda.memory_allocated() / 2**20 if self.cuda else status('VmRSS')
        begin = self._clock()
        metrics = runner.test()
        seconds = self._clock() - begin
        self.lap(outside=True)
        count = len(runner.test_dataloader.dataset)
        return {
            'time outside (ms)': 1000 * (seconds - self.network) / count,
            'time whole (ms)': 1000 * seconds / count,
            'memory outside (MiB)': self.outside_peak - base,
            'memory whole (MiB)': self.whole_peak - base,
            'aAcc': float(metrics['aAcc']),
            'mIoU': float(metrics['mIoU']),
        }


def status(field: str) -> float:
    """A memory field of this process in MiB."""
    line = next(line for line in Path('/proc/self/status').read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


def run_side(side: str, root: str, classes: int) -> dict[str, float]:
    """One measured loop, after one to warm up."""
    runner = make_runner(side, root, classes)
    torch.manual_seed(0)
    for name, parameter in runner.model.named_parameters():
        if parameter.ndim > 1:  # so that many classes are predicted, and equal scores mean equal label maps
            torch.nn.init.kaiming_normal_(parameter)
        else:
            torch.nn.init.constant_(parameter, float(name.endswith('weight')))
    runner.test()
    return Meter(runner.model).measure(runner)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--classes', type=int, default=150)
    parser.add_argument('--sizes', nargs='+', default=['500x375', '1000x750', '2048x1024'], help='WIDTHxHEIGHT')
    parser.add_argument('--images', type=int, default=8)
    parser.add_argument('--rounds', type=int, default=5, help='pairs of runs')
    parser.add_argument('--side', choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument('--root', help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        print(json.dumps(run_side(args.side, args.root, args.classes)))
        return
    for size in args.sizes:
        compare(size, args)


def run_process(side: str, root: str, classes: int, environment: dict[str, str]) -> dict[str, float]:
    """One run of one side in a process of its own."""
    command = [sys.executable, __file__, '--side', side, '--root', root, '--classes', str(classes)]
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', **environment}
    output = subprocess.run(command, env=environment, capture_output=True, text=True)
    if output.returncode:
        sys.exit(output.stderr)
    return json.loads(output.stdout.splitlines()[-1])


def compare(size: str, args: argparse.Namespace) -> None:
    """Print one size's table."""
    with tempfile.TemporaryDirectory() as root:
        make_images(Path(root), args.images, tuple(int(side) for side in size.split('x')), args.classes)
        memory = {side: [run_process(side, root, args.classes, MEMORY_ENVIRONMENT)] for side in SIDES}
        times = {side: [] for side in SIDES}
        for _ in range(args.rounds):
            for side in SIDES:
                times[side].append(run_process(side, root, args.classes, {}))
    for score in ('aAcc', 'mIoU'):
        a, b = (times[side][0][score] for side in SIDES)
        if abs(a - b) > 0.02:
            sys.exit(f'{size}: {score} differs, {a} and {b}; the two sides do not do the same')
    print(f'\n{args.classes} classes, {size}\n| | mmseg | ours | ours / mmseg (min .. max) |\n|---|---|---|---|')
    for name in [key for key in times['ours'][0] if '(' in key]:
        runs = memory if name.startswith('memory') else times
        a, b = ([run[name] for run in runs[side]] for side in SIDES)
        ratios = sorted(y / x for x, y in zip(a, b, strict=True))
        spread = f' ({ratios[0]:.2f} .. {ratios[-1]:.2f})' if len(ratios) > 1 else ''
        print(
            f'| {name} | {statistics.median(a):.1f} | {statistics.median(b):.1f} | '
            f'{statistics.median(ratios):.2f}{spread} |',
            flush=True,
        )


if __name__ == '__main__':
    main()
