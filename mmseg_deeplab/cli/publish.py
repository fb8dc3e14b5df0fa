"""Make of a checkpoint what others can use: weights alone as safetensors, with class names, figures and config.

python tools/publish.py work_dirs/mine/best_mIoU_iter_8000.pth release/mine --report reports/mine

Writes release/mine-1a2b3c4d.safetensors and release/mine-1a2b3c4d.py, the checkpoint and the config for a prediction.
The weights are first loaded in the config's network, so that what is published fits.
"""

import argparse
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..checkpoints import load_file
from ..checkpoints.containers import network
from ..checkpoints.publish import plain_config, publish_file
from ..evaluation.results import Results, read_results
from ..inference import init_model
from .configure import load_config
from .options import CfgOptions

OF_A_RUN = ('work_dir', 'load_from', 'resume', 'launcher', 'filename')
"""Settings that say where somebody's training ran, and nothing of the network."""


def main(argv: list[str] | None = None) -> None:
    """Parse the command line, check, write."""
    parser = argparse.ArgumentParser(description='Make of a checkpoint what others can use.')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('out', type=Path, metavar='OUT', help='folder and name; the hash and the suffix are added')
    parser.add_argument('--config', help='its config (default: that which the training left in the checkpoint)')
    parser.add_argument('--report', metavar='DIR', help='its figures: the folder that `test --report` wrote')
    parser.add_argument('--cfg-options', nargs='+', action=CfgOptions, metavar='KEY=VALUE', help='as in tools/train.py')
    args = parser.parse_args(argv)
    results = read_results(args.report) if args.report else None
    checkpoint = load_file(args.checkpoint)
    if args.config:
        cfg = load_config(args.config, args.cfg_options)
    else:
        cfg = Config.fromstring(plain_config(checkpoint, args.checkpoint), '.py')
    for key in OF_A_RUN:
        cfg.pop(key, None)
    model = init_model(cfg, args.checkpoint, 'cpu')
    names = dict(classes=list(model.dataset_meta['classes']))
    if model.dataset_meta.get('palette'):
        names['palette'] = [list(map(int, colour)) for colour in model.dataset_meta['palette']]
    meta: dict[str, Any] = dict(dataset_meta=names, published_from=Path(args.checkpoint).name)
    if results:
        meta['figures'] = dict(config=results.title, images=results.images, metrics=results.metrics)
    state = {name.removeprefix('module.'): value for name, value in network(checkpoint)[0].items()}
    weights, config = publish_file(state, meta, cfg.pretty_text, args.out)
    print(f'{weights}: {len(state)} tensors, {len(names["classes"])} classes, {weights.stat().st_size / 2**20:.1f} MiB')
    print(f'{config}: its config')
    print(_figures(results, args.checkpoint))


def _figures(results: Results | None, checkpoint: str) -> str:
    if results is None:
        return 'without figures: test it with --report DIR, and publish with --report DIR'
    text = ', '.join(f'{name} {value:.2f}' for name, value in results.metrics.items() if '/' not in name)
    tested = Path(results.facts.get('checkpoint', '')).name
    other = '' if tested == Path(checkpoint).name else f'; note that the report is of a file named {tested!r}'
    return f'figures: {text}{other}'
