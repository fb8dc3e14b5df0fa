"""Mutated checkpoints: each is read or refused by a `UserError`, within bounds of memory and time.

    python tests/fuzz/fuzz_checkpoints.py --files 100000 --seed 1

Whole files are changed at random places, and their insides (a pickle, a header) with all lengths and checksums made
right again, so that the mutation reaches the code behind these checks. What ends otherwise is kept in --keep.
"""

import argparse
import io
import json
import random
import resource
import struct
import sys
import tempfile
import time
import zipfile
from collections import Counter, OrderedDict
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'checkpoints'))
from caffe_files import NEW, OLD, write_caffemodel
from tensorflow_files import write_graph

MEMORY = 2 * 2**30  # bytes beyond what the process has at its start
SECONDS = 10  # a file
INSTRUCTIONS = b'(.)tl]}{eaRbcijQ0123456789NIFMKJGX\x80\x81\x82\x85\x86\x87\x88\x89\x8a\x8b\x8c\x93\x94\x95'
"""Of pickles."""


def seeds(folder: Path) -> list[Path]:
    """One small file of each kind, with all that a training keeps."""
    from mmengine.logging import HistoryBuffer
    from safetensors.torch import save_file

    torch.manual_seed(0)
    state = OrderedDict({'backbone.conv1.weight': torch.rand(4, 3, 2, 2), 'backbone.bn1.bias': torch.rand(4).half()})
    values = dict(array=np.arange(6.0).reshape(2, 3), number=np.float64(3), text=np.array(['ab']), items={1, 2}, x=1j)
    history = HistoryBuffer([1.0, 2.0], [1, 1])
    training = dict(
        meta=dict(iter=3, dataset_meta=dict(classes=('a', 'b'))),
        state_dict=state,
        optimizer=dict(state={0: dict(exp_avg=torch.rand(4), step=1)}, param_groups=[dict(lr=0.1, params=[0])]),
        param_schedulers=[dict(milestones=Counter([1, 2]))],
        message_hub=dict(log_scalars=dict(loss=history), runtime_info=values),
        parameter=torch.nn.Parameter(torch.rand(2)),
        size=torch.Size([1]),
        device=torch.device('cpu'),
        dtype=torch.float16,
    )
    torch.save(training, folder / 'zip.pth')
    torch.save(training, folder / 'zip5.pth', pickle_protocol=5)
    torch.save(training, folder / 'old.pth', _use_new_zipfile_serialization=False)
    torch.save(state, folder / 'plain.pth')
    save_file(dict(state), folder / 'a.safetensors', metadata=dict(meta=json.dumps(training['meta'])))
    arrays = {name.replace('.', '/'): value.numpy() for name, value in state.items()}
    np.savez(folder / 'a.npz', **arrays)
    np.savez_compressed(folder / 'b.npz', **arrays)
    write_graph(folder / 'graph.pb', {name: value.numpy() for name, value in state.items()}, 'values')
    blobs = {'conv1.weight': torch.rand(4, 3, 2, 2), 'conv1.bias': torch.rand(4)}
    blobs |= {f'bn_conv1.{part}': torch.ones(1) for part in ('running_mean', 'running_var', 'factor')}
    for kind in (NEW, OLD):
        write_caffemodel(folder / f'{kind}.caffemodel', blobs, kind)
    return sorted(path for path in folder.iterdir() if path.is_file())


def mutate(content: bytes, rng: random.Random) -> bytes:
    """Change some bytes; sometimes lengths, sometimes much."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        if not data:
            break
        place, length = rng.randrange(len(data)), rng.choice((1, 1, 2, 4, 8, 64))
        kind = rng.randrange(8)
        if kind == 0:
            data[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[place : place + length] = rng.randbytes(length)
        elif kind == 2:
            del data[place : place + length]
        elif kind == 3:
            data[place:place] = rng.randbytes(length)
        elif kind == 4:
            other = rng.randrange(len(data))
            data[place : place + length] = data[other : other + length]
        elif kind == 5:
            del data[place:]
        elif kind == 6:
            number = rng.choice((0, 1, 255, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63, 2**64 - 1))
            size = rng.choice((4, 8))
            data[place : place + size] = (number % 2 ** (8 * size)).to_bytes(size, rng.choice(('little', 'big')))
        else:
            data[place] = rng.choice(
                b'(.)tl]}{eaRbcijQ0123456789NIFMKJGX\x80\x81\x82\x85\x86\x87\x88\x89\x8a\x8b\x8c\x93\x94\x95'
            )
    return bytes(data)


def mutate_inside(content: bytes, suffix: str, rng: random.Random) -> bytes:
    """Change a record of an archive or the header of a safetensors file, and put right what checks it."""
    if suffix == '.safetensors':
        length = struct.unpack('<Q', content[:8])[0]
        header = mutate(content[8 : 8 + length], rng)
        return struct.pack('<Q', len(header)) + header + content[8 + length :]
    if content[:2] != b'PK':
        return mutate(content, rng)
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, 'w') as new:
        chosen = rng.choice([name for name in old.namelist() if name.endswith('data.pkl')] or old.namelist())
        for info in old.infolist():
            record = old.read(info)
            new.writestr(info, mutate(record, rng) if info.filename == chosen else record)
    return out.getvalue()


def read(path: Path) -> str:
    """Read a file as a user's command would; 'read' or 'refused'.

    Raises:
        Exception: Anything but a `UserError`.
    """
    from mmseg_deeplab.checkpoints.conversion import read_source
    from mmseg_deeplab.errors import UserError

    try:
        read_source(path)
    except UserError:
        return 'refused'
    return 'read'


def limit_memory() -> None:
    """Let this process have `MEMORY` more than it has now; beyond, allocations fail."""
    with open('/proc/self/statm') as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))


def fuzz(files: int, seed: int, keep: Path | None = None) -> tuple[Counter, list[str]]:
    """Read `files` mutated files; how they ended, and what should not have happened."""
    outcomes, failures = Counter(), []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        originals = [(path.suffix, path.name, path.read_bytes()) for path in seeds(folder)]
        for number in range(files):
            rng = random.Random(f'{seed} {number}')
            suffix, kind, content = rng.choice(originals)
            changed = mutate_inside(content, suffix, rng) if rng.random() < 0.6 else mutate(content, rng)
            path = folder / f'mutated{suffix}'
            path.write_bytes(changed)
            begin = time.monotonic()
            try:
                outcomes[kind, read(path)] += 1
            except Exception as error:
                outcomes[kind, 'FAILED'] += 1
                failures.append(f'seed {seed}, file {number} ({kind}): {type(error).__name__}: {error}')
                if keep is not None:
                    keep.mkdir(parents=True, exist_ok=True)
                    (keep / f'{seed}_{number}{suffix}').write_bytes(changed)
            if time.monotonic() - begin > SECONDS:
                failures.append(f'seed {seed}, file {number} ({kind}): took {time.monotonic() - begin:.0f} s')
    return outcomes, failures


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--files', type=int, default=1000)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--keep', type=Path, metavar='DIR', help='where files go that were neither read nor refused')
    args = parser.parse_args()
    import mmseg_deeplab.checkpoints.conversion  # noqa: F401  its memory does not count

    torch.set_num_threads(1)
    limit_memory()
    begin = time.monotonic()
    outcomes, failures = fuzz(args.files, args.seed, args.keep)
    for (kind, outcome), count in sorted(outcomes.items()):
        print(f'{kind:18} {outcome:8} {count}')
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(f'{args.files} files in {time.monotonic() - begin:.0f} s, at most {peak:.0f} MiB')
    print('\n'.join(failures[:50]))
    sys.exit(bool(failures))


if __name__ == '__main__':
    main()
