"""Network and CRF trained as one, against the same network trained alone with the same CRF afterwards.

    python benchmarks/joint_crf.py CONFIG CHECKPOINT --data-root VOC2012_ANIMALS --work-dir work_dirs/joint_crf

Both arms start from CHECKPOINT, see the same crops in the same order, take the same number of steps with the same
optimizer (Adam), and are scored on every `--every`th validation image, before and after the CRF. Every row of the
output is one arm with one seed. Stopped, the same command goes on from the last state in the work dir.
"""

import argparse
import json
import random
import time
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS, MODELS

import mmseg_deeplab.plugin  # noqa: F401
from mmseg_deeplab.checkpoints.load import load_file
from mmseg_deeplab.checkpoints.strict import load_state_dict
from mmseg_deeplab.crf.memory import keep_freed_memory

ARMS = ('released', 'afterwards', 'joint')
STATE_EVERY = 25


def build(args: argparse.Namespace) -> tuple[torch.nn.Module, torch.utils.data.Dataset, torch.utils.data.Dataset]:
    """The network with its CRF and frozen batch norm, and the images to train on and to score."""
    config = Config.fromfile(args.config)
    config.model.backbone.init_cfg = None
    config.model.crop_size = (args.crop, args.crop)
    model = {**config.model, 'frozen_bn': ('backbone', 'decode_head'), 'crf': dict(iterations=args.crf_iterations)}
    model = revert_sync_batchnorm(MODELS.build(model))
    load_state_dict(model, load_file(args.checkpoint))
    datasets = []
    for name in ('train', 'val'):
        dataset = config[f'{name}_dataloader'].dataset
        dataset.data_root = args.data_root
        dataset.ann_file = f'ImageSets/Segmentation/{name}.txt'
        dataset.data_prefix = dict(img_path='JPEGImages', seg_map_path='SegmentationClass')
        for step in dataset.pipeline:
            if step.type == 'RandomCrop':
                step.crop_size = (args.crop, args.crop)
        datasets.append(DATASETS.build(dataset))
    return model, *datasets


def batch(dataset: torch.utils.data.Dataset, size: int, *numbers: int) -> dict:
    """Random samples, the same for the same numbers, whatever ran before."""
    seed = int(np.random.SeedSequence(numbers).generate_state(1)[0])
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    return pseudo_collate([dataset[int(i)] for i in np.random.default_rng(seed).integers(len(dataset), size=size)])


def train(model: torch.nn.Module, dataset: torch.utils.data.Dataset, arm: str, seed: int, args) -> float:
    """Train one arm, from its last state if there is one; returns the mean CPU seconds of a step."""
    path = args.work_dir / f'{arm}_{seed}.pth'
    network = [parameter for name, parameter in model.named_parameters() if not name.startswith('crf.')]
    groups = [dict(params=[p for p in network if p.requires_grad], lr=args.lr)]
    groups.append(dict(params=list(model.crf.parameters()), lr=args.crf_lr))
    optimizer = torch.optim.Adam(groups)
    first, seconds = 0, []
    if path.exists():
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state['model'])
        optimizer.load_state_dict(state['optimizer'])
        first, seconds = state['iteration'], state['seconds']
    crf = model.crf
    model.crf = crf if arm == 'joint' else None
    model.train()
    for iteration in range(first, args.iterations):
        data = model.data_preprocessor(batch(dataset, args.batch, seed, iteration), training=True)
        start = time.process_time()
        losses = model.loss(**data)
        loss = sum(value for name, value in losses.items() if 'loss' in name)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seconds.append(time.process_time() - start)
        if (iteration + 1) % STATE_EVERY == 0 or iteration + 1 == args.iterations:
            model.crf = crf
            state = dict(iteration=iteration + 1, model=model.state_dict(), seconds=seconds)
            torch.save({**state, 'optimizer': optimizer.state_dict()}, path)
            model.crf = crf if arm == 'joint' else None
            weights = [round(weight.item(), 3) for weight in crf.parameters()]
            print(
                f'{arm} seed {seed} iteration {iteration + 1}: loss {loss.item():.3f}, CRF weights {weights}',
                flush=True,
            )
    model.crf = crf
    return float(np.mean(seconds))


@torch.no_grad()
def score(model: torch.nn.Module, dataset: torch.utils.data.Dataset, classes: list[int], every: int) -> dict:
    """Mean IoU over `classes` and pixel accuracy in per cent, before and after the CRF."""
    model.eval()
    confusions = dict(before=np.zeros((256, 256), np.int64), after=np.zeros((256, 256), np.int64))
    for index in range(0, len(dataset), every):
        data = model.data_preprocessor(pseudo_collate([dataset[index]]))
        metas = [sample.metainfo for sample in data['data_samples']]
        logits = model.encode_decode(data['inputs'], metas)
        truth = data['data_samples'][0].gt_sem_seg.data[0].numpy().astype(np.int64)
        for name, scores in (('before', logits), ('after', model.crf(data['inputs'], logits, metas))):
            height, width = truth.shape
            label = scores[0, :, :height, :width].argmax(0).numpy()
            pairs = (truth * 256 + label)[truth != 255]
            confusions[name] += np.bincount(pairs, minlength=2**16).reshape(256, 256)
    result = {}
    for name, confusion in confusions.items():
        hits = confusion.diagonal()
        iou = hits / np.maximum(confusion.sum(0) + confusion.sum(1) - hits, 1)
        result[name] = [round(100 * float(iou[classes].mean()), 2), round(100 * hits.sum() / confusion.sum(), 2)]
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config')
    parser.add_argument('checkpoint')
    parser.add_argument('--data-root', required=True)
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/joint_crf'))
    parser.add_argument('--iterations', type=int, default=150)
    parser.add_argument('--batch', type=int, default=2)
    parser.add_argument('--crop', type=int, default=257)
    parser.add_argument('--lr', type=float, default=2e-5)
    parser.add_argument('--crf-lr', type=float, default=0.02)
    parser.add_argument('--crf-iterations', type=int, default=5)
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1])
    parser.add_argument('--every', type=int, default=2, help='score every n-th image')
    parser.add_argument('--classes', type=int, nargs='+', default=[0, 8, 10, 12, 13, 15, 17], help='default: animals')
    args = parser.parse_args()
    args.work_dir.mkdir(parents=True, exist_ok=True)
    keep_freed_memory()
    torch.set_num_threads(1)
    init_default_scope('mmseg')
    results = args.work_dir / 'results.jsonl'
    done = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    for seed in args.seeds:
        for arm in ARMS:
            if any(row['arm'] == arm and row['seed'] in (seed, None) for row in done):
                continue
            model, training, validation = build(args)
            seconds = None if arm == 'released' else train(model, training, arm, seed, args)
            row = dict(arm=arm, seed=None if arm == 'released' else seed, cpu_seconds_a_step=seconds)
            row['crf_weights'] = [weight.item() for weight in model.crf.parameters()]
            row.update(score(model, validation, args.classes, args.every))
            done.append(row)
            with results.open('a') as file:
                file.write(json.dumps(row) + '\n')
            print(json.dumps(row), flush=True)


if __name__ == '__main__':
    main()
