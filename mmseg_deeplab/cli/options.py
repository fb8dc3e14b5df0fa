"""Options that several commands share."""

from argparse import Action, ArgumentParser, Namespace
from typing import Any

from ..crf.presets import load_preset
from ..errors import UserError
from ..inference.folder import Shard, shard_of_environment
from ..preflight import parse_options


class CfgOptions(Action):
    """Collects KEY=VALUE, of one or several uses of the option, in a dict."""

    def __call__(self, parser: ArgumentParser, namespace: Namespace, values: Any, option_string: Any = None) -> None:
        try:
            options = parse_options(values)
        except UserError as error:
            parser.error(f'{option_string}: {error}')
        setattr(namespace, self.dest, {**(getattr(namespace, self.dest) or {}), **options})


def add_common_arguments(parser: ArgumentParser) -> None:
    """Add the options of both tools."""
    parser.add_argument('--work-dir', metavar='DIR', help='logs and checkpoints; default work_dirs/CONFIG')
    parser.add_argument('--data-root', metavar='DIR', help="the dataset's folder, in place of the config's")
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=CfgOptions,
        metavar='KEY=VALUE',
        help='override settings of the config, for example model.output_stride=8 train_dataloader.batch_size=4',
    )
    parser.add_argument('--check-all', action='store_true', help='check every image and mask before the first step')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none', help='job launcher')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help='set by some launchers')


def add_crf_arguments(parser: ArgumentParser, default: str | None = None) -> None:
    """Add the options that `crf_of` reads; `default` is the preset without `--crf`."""
    parser.add_argument(
        '--crf',
        nargs='?',
        const='v2_r101',
        default=default,
        metavar='PRESET',
        help=f'refine with the dense CRF of the preset or file (default {default or "v2_r101"})',
    )
    parser.add_argument('--crf-mode', metavar='NAME', help='which messages are computed: adaptive, all, fast')
    parser.add_argument(
        '--crf-backend', metavar='NAME', help="the CRF's implementation: auto, native, torch, pydensecrf"
    )


def crf_of(args: Namespace) -> dict[str, Any] | None:
    """What the command line says of the CRF, as arguments of `inference.make_crf`; None without `--crf`.

    Raises:
        UserError: For a preset that is not there, and options of a CRF that was not asked for.
    """
    given = dict(mode=args.crf_mode, backend=args.crf_backend)
    options = {name: value for name, value in given.items() if value is not None}
    if args.crf is None:
        for name in options:
            raise UserError(f"--crf-{name} chooses the {name} of --crf; give --crf too, or set the config's hook")
        return None
    load_preset(args.crf)
    return dict(preset=args.crf, **options)


def add_refiner_arguments(parser: ArgumentParser) -> None:
    """Add the options that `refiner_of` reads: those of the CRF, and of what may stand in its place."""
    add_crf_arguments(parser)
    parser.add_argument(
        '--refine',
        nargs='+',
        metavar=('NAME', 'KEY=VALUE'),
        help='in place of --crf: guided [radius=8 eps=1e-4], or sam weights=FOLDER',
    )


def refiner_of(args: Namespace) -> dict[str, Any] | None:
    """What the command line says of refining, as arguments of `inference.make_refiner`; None without `--refine`.

    Raises:
        UserError: For options that can't be read, and beside `--crf`.
    """
    if args.refine is None:
        return None
    if args.crf is not None:
        raise UserError('--crf and --refine: one of them refines; leave the other out')
    name, *pairs = args.refine
    options = parse_options(pairs)
    if 'refiner' in options:
        raise UserError(f'--refine {name} refiner={options["refiner"]}: the name comes first, and once')
    return dict(refiner=name, **options)


def add_shard_argument(parser: ArgumentParser) -> None:
    """Add the option that `shard_of` reads."""
    parser.add_argument('--shard', metavar='I/N', help='take part I of N, from 0 on; default: the launcher')


def shard_of(args: Namespace) -> Shard:
    """The part of the files that the command line, or else the launcher, gives to this process.

    Raises:
        UserError: For what is no part.
    """
    if args.shard is None:
        return shard_of_environment()
    index, slash, count = args.shard.partition('/')
    if not (slash and index.isdigit() and count.isdigit() and int(index) < int(count)):
        raise UserError(f'--shard {args.shard}: write I/N, such as 0/4 for the first of four parts')
    return Shard(int(index), int(count))
