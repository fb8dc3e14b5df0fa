"""DeepLab v3+ beside MMSegmentation's own: forward time, training-step time and peak memory, in one run.

    python benchmarks/models.py --backbone r50 --rounds 5
    python benchmarks/models.py --backbone mobilenetv2 --size 513 --batch 2

Both networks get the same input, backbone depth, output stride (16), classes and device, in turn (A B A B ...); each
ratio is of one pair of neighbouring runs, and median, minimum and maximum of the ratios are printed. Memory is the peak
of a process of its own above what it held with the model built. `as shipped` are both as their configs have them:
MMSegmentation's head with separable convolutions, 512 channels and an auxiliary head in training, this project's with
the paper's plain convolutions on a ResNet. `same width` is separable, 256 channels and no auxiliary head on both sides.
"""

import argparse
import copy
import multiprocessing
import re
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import torch
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

import mmseg_deeplab.plugin  # noqa: F401
from mmseg_deeplab.inference import fold_batch_norm

CLASSES = 21
PREPROCESSOR = dict(
    type='SegDataPreProcessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True
)
LOSS = dict(type='CrossEntropyLoss', avg_non_ignore=True)
BN = dict(type='BN')
BACKBONES = {
    'r50': dict(type='DeepLabResNet', depth=50),
    'r101': dict(type='DeepLabResNet', depth=101),
    'mobilenetv2': dict(type='DeepLabMobileNetV2'),
}


def ours(backbone: str, separable: bool = False) -> dict:
    """Config of this project's model; with MobileNetV2 its convolutions are separable as shipped."""
    separable = separable or backbone == 'mobilenetv2'
    return dict(
        type='DeepLab',
        output_stride=16,
        data_preprocessor=PREPROCESSOR,
        backbone=dict(BACKBONES[backbone]),
        decode_head=dict(
            type='DeepLabV3PlusHead',
            num_classes=CLASSES,
            separable_aspp=separable,
            separable_decoder=separable,
        ),
    )


def theirs(backbone: str, channels: int = 512, auxiliary: bool = True) -> dict:
    """Config of MMSegmentation's model with the same backbone and output stride."""
    if backbone == 'mobilenetv2':
        trunk = dict(
            type='MobileNetV2',
            strides=(1, 2, 2, 2, 1, 1, 1),
            dilations=(1, 1, 1, 1, 1, 2, 2),
            out_indices=(1, 2, 4, 6),
            norm_cfg=BN,
        )
        widths, low_level = (24, 32, 96, 320), 24
    else:
        trunk = dict(
            type='ResNet',
            depth=int(backbone[1:]),
            strides=(1, 2, 2, 1),
            dilations=(1, 1, 1, 2),
            contract_dilation=True,
            out_indices=(0, 1, 2, 3),
            norm_cfg=BN,
        )
        widths, low_level = (256, 512, 1024, 2048), 256
    common = dict(num_classes=CLASSES, norm_cfg=BN, align_corners=False, dropout_ratio=0.1, loss_decode=LOSS)
    return dict(
        type='EncoderDecoder',
        data_preprocessor=PREPROCESSOR,
        backbone=trunk,
        decode_head=dict(
            type='DepthwiseSeparableASPPHead',
            in_channels=widths[3],
            in_index=3,
            channels=channels,
            dilations=(1, 6, 12, 18),
            c1_in_channels=low_level,
            c1_channels=48,
            **common,
        ),
        auxiliary_head=dict(type='FCNHead', in_channels=widths[2], in_index=2, channels=256, num_convs=1, **common)
        if auxiliary
        else None,
        train_cfg=dict(),
        test_cfg=dict(mode='whole'),
    )


# this project's and MMSegmentation's
COMPARISONS = {
    'as shipped': (ours, theirs),
    'same width': (partial(ours, separable=True), partial(theirs, channels=256, auxiliary=False)),
}


def make_step(comparison: str, side: int, args: argparse.Namespace, training: bool) -> Callable[[], None]:
    """Build a model and return what is timed: a prediction up to the label map, or a training step."""
    init_default_scope('mmseg')
    torch.manual_seed(0)
    model = MODELS.build(ConfigDict(COMPARISONS[comparison][side](args.backbone))).to(args.device)
    size = (args.size, args.size)
    meta = dict(img_shape=size, ori_shape=size, pad_shape=size, padding_size=(0, 0, 0, 0))
    samples = []
    for _ in range(args.batch):
        label = torch.randint(0, CLASSES, (1, *size))
        samples.append(SegDataSample(metainfo=meta, gt_sem_seg=PixelData(data=label)).to(args.device))
    images = torch.randn(args.batch, 3, *size, device=args.device)
    if not training:
        model.eval()
        if side == 0:
            fold_batch_norm(model)  # as tools/test.py does

        def predict() -> None:
            with torch.no_grad():
                model.predict(images, copy.deepcopy(samples))

        return predict
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)

    def train() -> None:
        losses = model.loss(images, samples)
        sum(value for name, value in losses.items() if 'loss' in name).backward()
        optimizer.step()
        optimizer.zero_grad()

    return train


def timed(step: Callable[[], None], device: str) -> float:
    """Seconds of one step."""
    start = time.perf_counter()
    step()
    if device.startswith('cuda'):
        torch.cuda.synchronize()
    return time.perf_counter() - start


def resident_peak() -> int:
    """Highest resident memory of this process so far, KiB."""
    return int(re.search(r'VmHWM:\s+(\d+)', Path('/proc/self/status').read_text())[1])


def _added_memory(device: str, build: Callable[..., Callable[[], None]], *arguments: object) -> float:
    step = build(*arguments)
    if device.startswith('cuda'):
        before = torch.cuda.memory_allocated()
        step()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    Path('/proc/self/clear_refs').write_text('5')  # Linux: the peak starts again from what is held now
    before = resident_peak()
    step()
    return (resident_peak() - before) / 2**10


def added_memory(device: str, build: Callable[..., Callable[[], None]], *arguments: object) -> float:
    """MiB that one step of `build(*arguments)` adds to a fresh process with the model built."""
    with ProcessPoolExecutor(1, multiprocessing.get_context('spawn')) as pool:
        return pool.submit(_added_memory, device, build, *arguments).result()


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--backbone', choices=BACKBONES, default='r50')
    parser.add_argument('--size', type=int, default=513, help='side of the square images, pixels')
    parser.add_argument('--batch', type=int, default=2)
    parser.add_argument('--rounds', type=int, default=5, help='pairs of runs, after one that is not counted')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    args = parser.parse_args()
    where = (
        torch.cuda.get_device_name() if args.device.startswith('cuda') else f'CPU, {torch.get_num_threads()} threads'
    )
    print(f'{args.backbone}, {args.batch} x 3 x {args.size} x {args.size}, output stride 16, {where}')
    print('| step | beside | ours s | theirs s | theirs / ours, time (min - max) | theirs / ours, peak memory |')
    print('|---|---|---|---|---|---|')
    for training in (False, True):
        for comparison in COMPARISONS:
            steps = [make_step(comparison, side, args, training) for side in (0, 1)]
            times = [[], []]
            for _ in range(args.rounds + 1):
                for side, step in enumerate(steps):
                    times[side].append(timed(step, args.device))
            del steps, step
            mine, their = times[0][1:], times[1][1:]
            ratios = [b / a for a, b in zip(mine, their, strict=True)]
            memory = [added_memory(args.device, make_step, comparison, side, args, training) for side in (0, 1)]
            print(
                f'| {"training" if training else "test"} | {comparison} | {statistics.median(mine):.3g} '
                f'| {statistics.median(their):.3g} | {statistics.median(ratios):.2f} '
                f'({min(ratios):.2f} - {max(ratios):.2f}) | {memory[1] / memory[0]:.2f} '
                f'({memory[1]:.0f} / {memory[0]:.0f} MiB) |',
                flush=True,
            )


if __name__ == '__main__':
    main()
