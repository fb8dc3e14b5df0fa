"""Segment pictures, folders and videos, and write the answers to a folder.

python tools/predict.py configs/deeplabv3plus_r101_voc.py CHECKPOINT photographs --out answers --crf
python tools/predict.py CONFIG CHECKPOINT 'tiles/*.png' film.mp4 --out answers --save mask confidence --batch-size 8
torchrun --nproc-per-node 4 tools/predict.py CONFIG CHECKPOINT photographs --out answers

May be interrupted: the same command goes on where it stopped.
"""

import argparse
import os

import torch

from ..inference import init_model, make_refiner, predict_to_folder
from ..inference.folder import SUFFIXES
from ..preflight.places import check_folder
from ..progress import progress
from .configure import load_config, use_published
from .options import CfgOptions, add_refiner_arguments, add_shard_argument, crf_of, refiner_of, shard_of

LOCAL_RANKS = ('LOCAL_RANK', 'SLURM_LOCALID', 'OMPI_COMM_WORLD_LOCAL_RANK')
"""Variables of torchrun, slurm and Open MPI that number the processes of a machine, and so its GPUs."""


def main(argv: list[str] | None = None) -> None:
    """Parse the command line, segment, say what became of it."""
    parser = argparse.ArgumentParser(description='Segment pictures, folders and videos', allow_abbrev=False)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('inputs', nargs='+', metavar='INPUT', help="files, folders, patterns ('*.jpg'), videos")
    parser.add_argument('--out', required=True, metavar='DIR', help='folder for the answers')
    parser.add_argument(
        '--save', nargs='+', default=['mask', 'overlay'], metavar='KIND',
        help=f'what to write beside masks and areas.csv, of {", ".join(SUFFIXES)} (default: mask overlay)',
    )  # fmt: skip
    add_refiner_arguments(parser)
    parser.add_argument('--tta', action='store_true', help='average over the scales and flips of tta_pipeline')
    parser.add_argument('--eval-output-stride', type=int, metavar='N', help='same weights at another output stride')
    parser.add_argument('--batch-size', type=int, default=1, help='pictures of one size that go together (default: 1)')
    parser.add_argument(
        '--tile', nargs='+', type=int, metavar='N',
        help='larger pictures by tiles of N or HEIGHT WIDTH pixels; TIFFs, slides of any size: docs/large_images.md',
    )  # fmt: skip
    parser.add_argument('--device', default='auto', help='cpu, cuda:1, ... (default: a GPU if there is one)')
    parser.add_argument('--precision', help='fp32, bf16 or fp16 (default: fp32)')
    parser.add_argument('--compile', action='store_true', help='translate the network by torch.compile first: minutes')
    parser.add_argument(
        '--runtime',
        default='torch',
        choices=('torch', 'onnxruntime'),
        help='what computes the network',
    )
    parser.add_argument('--overwrite', action='store_true', help='make anew what is there')
    add_shard_argument(parser)
    parser.add_argument('--cfg-options', nargs='+', action=CfgOptions, metavar='KEY=VALUE', help='as in tools/test.py')
    args = parser.parse_args(argv)
    device = args.device
    if device == 'auto' and torch.cuda.is_available():
        local = next((os.environ[name] for name in LOCAL_RANKS if os.environ.get(name, '').isdecimal()), '0')
        device = f'cuda:{int(local) % torch.cuda.device_count()}'
    refiner = refiner_of(args)
    crf = crf_of(args) if refiner is None else make_refiner(**refiner)
    shard = shard_of(args)
    check_folder(args.out, 'out', '--out')
    use_published(args)
    with progress('loading the network'):
        model = init_model(
            load_config(args.config, args.cfg_options),
            args.checkpoint,
            device,
            output_stride=args.eval_output_stride,
            precision=args.precision,
            compile=args.compile,
            runtime=args.runtime,
        )
    with progress('segmenting') as advance:
        summary = predict_to_folder(
            model,
            args.inputs,
            args.out,
            args.save,
            args.overwrite,
            shard,
            advance,
            crf=crf,
            tta=args.tta,
            batch_size=args.batch_size,
            tile=args.tile and (args.tile * 2 if len(args.tile) == 1 else args.tile),
        )
    part = f', part {shard.index}/{shard.count}' if shard.count > 1 else ''
    print(f'{summary.written} written, {summary.skipped} were there already: {args.out}; areas: {summary.areas}{part}')
