"""Every seed model and every encoder, from training to answers, on generated pictures: a row of a table for each.

    python benchmarks/every_model.py
    python benchmarks/every_model.py fcn8s_vgg16_demo unet_demo timm:convnext_atto timm:swin_tiny_patch4_window7_224@32

Each is trained for a few iterations by tools/train.py, tested by tools/test.py with `--crf --report`, and segments the
pictures by tools/predict.py. A name is a config's for the demo data, of configs/ or configs/baselines/, or an encoder's
of timm, where @N is the output stride, under the decoder of v3+; by default all such configs and one encoder of each
family. Scores are of no interest after so few iterations; what counts is that each way is gone to its end.
"""

import argparse
import json
import multiprocessing
import os
import runpy
import sys
import tempfile
from pathlib import Path

from mmseg_deeplab.datasets.demo import make_demo_dataset
from mmseg_deeplab.evaluation.results import read_results

REPO = Path(__file__).resolve().parents[1]
DEMOS = {path.stem: path for path in sorted((REPO / 'configs').rglob('*_demo.py'))}
ENCODERS = (
    'resnet18', 'resnet18d', 'resnext50_32x4d', 'regnetx_002', 'regnety_002', 'efficientnet_b0', 'mobilenetv2_050',
    'mobilenetv3_small_050', 'mobilenetv4_conv_small', 'convnext_atto', 'convnextv2_atto', 'res2net50_14w_8s',
    'densenet121', 'ese_vovnet19b_slim', 'ghostnet_050', 'mnasnet_small', 'repvgg_a0', 'dpn48b', 'resnetv2_50',
    'repghostnet_050', 'gernet_s', 'lcnet_050', 'hgnetv2_b0', 'starnet_s1', 'ecaresnet26t',
    'swin_tiny_patch4_window7_224@32',
)  # fmt: skip
LOADERS = [
    f'{split}_dataloader.{setting}'
    for split in ('train', 'val', 'test')
    for setting in ('num_workers=0', 'persistent_workers=False')
]


def run_script(words: list[str], log: Path) -> None:
    """Run a script as a command would, what it prints going into a file."""
    with log.open('wb') as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    sys.argv = words
    runpy.run_path(words[0], run_name='__main__')


def run_tool(*words: object) -> None:
    """Run a tool in a process of its own, forked from one that has imported what all of them need.

    Raises:
        RuntimeError: If it fails.
    """
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(['mmseg_deeplab.plugin'])
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, 'log')
        process = context.Process(target=run_script, args=([str(word) for word in words], log))
        process.start()
        process.join()
        if process.exitcode:
            told = log.read_text(errors='replace').strip() or f'ended with {process.exitcode}'
            raise RuntimeError(f'{Path(str(words[0])).name}: {told.splitlines()[-1]}')


def config_of(name: str, folder: Path) -> Path:
    """The config of a name; that of an encoder is written into the folder."""
    if not name.startswith('timm:'):
        return DEMOS[name]
    encoder, _, stride = name.removeprefix('timm:').partition('@')
    path = folder / f'{encoder}.py'
    path.write_text(
        f'_base_ = {str(DEMOS["deeplabv3plus_mobilenetv2_demo"])!r}\n'
        f'model = dict(output_stride={stride or 16}, '
        f"backbone=dict(_delete_=True, type='TimmEncoder', name={encoder!r}))\n"
    )
    return path


def row(name: str, data: Path, iterations: int) -> str:
    """Train, test and predict; a line of the table."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        config = config_of(name, work)
        short = [
            'train_dataloader.batch_size=2',
            f'train_cfg.max_iters={iterations}',
            'default_hooks.logger.interval=1',
        ]
        short.append(f'train_cfg.val_interval={iterations}')
        place = ['--data-root', data, '--work-dir', work / 'run', '--cfg-options', *LOADERS]
        run_tool(REPO / 'tools/train.py', config, *place, *short)
        (scalars,) = (work / 'run').rglob('scalars.json')
        losses = [entry['loss'] for entry in map(json.loads, scalars.read_text().splitlines()) if 'loss' in entry]
        checkpoint = work / f'run/iter_{iterations}.pth'
        report = ['--crf', '--report', work / 'report']
        run_tool(REPO / 'tools/test.py', config, checkpoint, *report, *place)
        metrics = read_results(work / 'report').metrics
        pictures = data / 'JPEGImages'
        run_tool(REPO / 'tools/predict.py', config, checkpoint, pictures, '--out', work / 'answers', '--crf')
        masks = len(list((work / 'answers/mask').iterdir()))
    before, after = metrics['before_crf/mIoU'], metrics['mIoU']
    return f'| {name} | {losses[0]:.3f}, {losses[-1]:.3f} | {before:.2f}, {after:.2f} | {masks} |'


def main() -> None:
    """Go through the names and print a Markdown table; the exit status is 1 if one fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('names', nargs='*', default=[*DEMOS, *(f'timm:{name}' for name in ENCODERS)])
    parser.add_argument('--iterations', type=int, default=10)
    args = parser.parse_args()
    unknown = [name for name in args.names if name not in DEMOS and not name.startswith('timm:')]
    if unknown:
        parser.error(f'{", ".join(unknown)}: neither timm:NAME nor one of {", ".join(DEMOS)}')
    failed = False
    print('| model | loss of the first and the last iteration | mIoU before and after the CRF | pictures answered |')
    print('|---|---|---|---|')
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, 'demo')
        make_demo_dataset(data, 4, 2)
        for name in args.names:
            try:
                print(row(name, data, args.iterations), flush=True)
            except RuntimeError as error:
                failed = True
                print(f'| {name} | failed: {error} | | |', flush=True)
    sys.exit(int(failed))


if __name__ == '__main__':
    main()
