"""Average the weights of several checkpoints of one network.

python tools/average.py work_dirs/a/iter_28000.pth work_dirs/a/iter_30000.pth --out mean.pth
deeplab average first.pth second.pth --out mean.pth --config deeplabv3plus_r50_voc --data-root data/VOCdevkit/VOC2012
"""

import argparse
from pathlib import Path

from ..checkpoints.average import average_files, has_batch_norm
from ..checkpoints.save import save_file
from ..datasets import iter_datasets, set_data_root
from ..engine.statistics import measure_batch_norm
from ..errors import UserError
from ..preflight.data import open_dataset
from ..progress import progress
from .configure import load_config
from .options import CfgOptions


def main(argv: list[str] | None = None) -> None:
    """Parse the command line, average, say what became of batch norm."""
    parser = argparse.ArgumentParser(description='Average the weights of several checkpoints.')
    parser.add_argument('checkpoints', nargs='+', metavar='CHECKPOINT')
    parser.add_argument('--out', required=True, type=Path, metavar='FILE', help='.pth or .safetensors to write')
    parser.add_argument('--config', help='measure the statistics of batch norm anew, on its training data')
    parser.add_argument('--batches', type=int, default=200, help='batches to measure on (default: %(default)s)')
    parser.add_argument('--data-root', metavar='DIR', help="the dataset's folder, in place of the config's")
    parser.add_argument('--cfg-options', nargs='+', action=CfgOptions, metavar='KEY=VALUE', help='as in tools/train.py')
    args = parser.parse_args(argv)
    if args.out.suffix not in ('.pth', '.pt', '.safetensors'):
        raise UserError(f'--out {args.out}: name it .pth, .pt or .safetensors')
    if args.batches < 1:
        raise UserError(f'--batches {args.batches}: at least 1')
    if not args.config and (args.data_root or args.cfg_options):
        raise UserError('--data-root and --cfg-options are of --config, which is not given')
    cfg = load_config(args.config, args.cfg_options) if args.config else None
    if cfg is not None:
        if args.data_root:
            set_data_root(cfg, args.data_root)
        for dataset in iter_datasets(cfg.get('train_dataloader') or {}):
            open_dataset(dataset, 'train')
    mean = average_files(args.checkpoints)
    if cfg is not None:
        with progress('measuring batch norm', args.batches) as advance:
            count = measure_batch_norm(cfg, mean, args.batches, advance)
        said = f'the statistics of {count} batch norms were measured on {args.batches} batches of the training data'
    elif has_batch_norm(mean['state_dict']):
        said = (
            'the statistics of batch norm are means too, which is right for neighbours in one training; for others '
            'measure them by --config CONFIG'
        )
    else:
        said = 'it has no batch norm'
    save_file(mean, args.out)
    print(f'{args.out}: the mean of {len(args.checkpoints)} checkpoints; {said}')
