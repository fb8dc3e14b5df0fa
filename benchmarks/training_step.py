"""The training step of whole configs: time and peak memory.

    python benchmarks/training_step.py configs/deeplabv1_vgg16_voc.py configs/deeplabv2_r101_voc.py \\
        configs/deeplabv3_r101_voc.py configs/deeplabv3plus_xception71_voc.py --batch 2

A step is what MMEngine's loop does with a batch that is loaded: normalise, forward, loss, backward, update, with the
config's optimizer, on random images of the config's crop and with random weights. Memory is the peak of a process of
its own above what it held with the model built; on a CPU that is resident memory, on a GPU what torch allocated.
"""

import argparse
import statistics
from collections.abc import Callable
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from models import added_memory, timed

from mmseg_deeplab.crf.memory import keep_freed_memory


def make_step(path: Path, batch: int, device: str) -> Callable[[], None]:
    """Build the config's model and optimizer; return a training step on `batch` random images."""
    if device == 'cpu':
        keep_freed_memory()  # as the tools do
    cfg = Config.fromfile(path)
    init_default_scope('mmseg')
    if not MMLogger.check_instance_created('training_step'):
        MMLogger.get_instance('training_step', log_level='WARNING')
    torch.manual_seed(0)
    cfg.model.backbone.init_cfg = None
    model = revert_sync_batchnorm(MODELS.build(cfg.model)).to(device).train()
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper)
    meta = dict(img_shape=cfg.crop_size, ori_shape=cfg.crop_size, pad_shape=cfg.crop_size)
    data = dict(inputs=[], data_samples=[])
    for _ in range(batch):
        data['inputs'].append(torch.randint(256, (3, *cfg.crop_size), dtype=torch.uint8))
        label = torch.randint(cfg.num_classes, (1, *cfg.crop_size))
        data['data_samples'].append(SegDataSample(metainfo=meta, gt_sem_seg=PixelData(data=label)))
    return lambda: model.train_step(data, optimizer)


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('configs', nargs='+', type=Path)
    parser.add_argument('--batch', type=int, help="images a step (default: the config's)")
    parser.add_argument('--rounds', type=int, default=5, help='steps, after one that is not counted')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    args = parser.parse_args()
    print('| config | batch | crop | s a step (min - max) | images a second | peak memory, MiB |')
    print('|---|---|---|---|---|---|')
    for path in args.configs:
        cfg = Config.fromfile(path)
        batch = args.batch or cfg.train_dataloader.batch_size
        memory = added_memory(args.device, make_step, path, batch, args.device)
        step = make_step(path, batch, args.device)
        times = [timed(step, args.device) for _ in range(args.rounds + 1)][1:]
        del step
        median = statistics.median(times)
        print(
            f'| {path.stem} | {batch} | {"x".join(map(str, cfg.crop_size))} | {median:.3g} ({min(times):.3g} - '
            f'{max(times):.3g}) | {batch / median:.3g} | {memory:.0f} |',
            flush=True,
        )


if __name__ == '__main__':
    main()
