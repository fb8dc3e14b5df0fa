"""How far the dense CRF is from pydensecrf, on every cached case and with every preset.

    python benchmarks/crf_accuracy.py --cases work_dirs/crf_search/CONFIG/cases --results work_dirs/crf_accuracy.jsonl

`--cases` is a folder of cases that tools/crf_search.py cached: real images, a network's outputs and the truth. Each
line of `--results` is one case under one preset; started again, the command goes on where it stopped. Where `all` is
further than 2e-5 from pydensecrf, both are compared with the same sums over the same lattice in double precision, which
shows whose rounding it is. `dQ` is the largest difference of any probability.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from dense_crf import MODES, NAMES, pydensecrf

from mmseg_deeplab.crf import DenseCRF, mean_field, native
from mmseg_deeplab.crf.presets import PRESETS
from mmseg_deeplab.search.search import Case, load_case

BAR = 2e-5
PUBLISHED = [name for name in PRESETS if name != 'fast']  # the values of v2_r101 in another mode, and all are run


def in_double(parameters: dict, case: Case) -> np.ndarray:
    """Q (C, H, W) after 10 updates: weights of the lattice in single precision, as all have them, sums in double."""
    image = torch.from_numpy(case.image)
    unary = -torch.from_numpy(case.probabilities).double().clamp(1e-5, 1).log().flatten(1).t()
    ones = torch.ones(len(unary), dtype=torch.float64)
    pairwise = []
    for kernel in DenseCRF(**parameters).kernels:
        lattice = mean_field.batch_filter([image], kernel, 'no').to(torch.float64)
        pairwise.append(
            mean_field.Pairwise(mean_field.normalized(lattice, 'symmetric', ones), [(slice(None), kernel.compat)])
        )
    q = torch.empty(0)
    for q in mean_field.iterate(unary.contiguous(), pairwise, 10):  # noqa: B007 the last one counts
        pass
    return q.t().reshape(case.probabilities.shape).numpy()


def counts(labels: np.ndarray, truth: np.ndarray, classes: int) -> list[list[int]]:
    """Pixels of each class in the labels, in the truth and in both; 255 is void."""
    labels, truth = labels[truth != 255], truth[truth != 255]
    each = (labels, truth, truth[labels == truth])
    return [np.bincount(of, minlength=classes).tolist() for of in each]


def mean_iou(entries: list[dict], method: str) -> float:
    """Percent, over the classes in the truth."""
    predicted, truth, both = np.sum([entry['counts'][method] for entry in entries], 0)
    present = truth > 0
    return 100 * float((both / np.maximum(predicted + truth - both, 1))[present].mean())


def measure(path: Path, preset: str) -> dict:
    case = load_case(path)
    parameters = {name: PRESETS[preset][name] for name in NAMES}
    expected = pydensecrf(parameters)(case.image, case.probabilities)
    labels = expected.argmax(0)
    classes = len(expected)
    entry = dict(case=path.stem, preset=preset, pixels=labels.size, dq={}, other={})
    entry['counts'] = {'pydensecrf': counts(labels, case.truth, classes)}
    answers = {}
    for mode in MODES:
        q = answers[mode] = DenseCRF(**parameters, mode=mode)(case.image, case.probabilities)
        entry['dq'][mode] = float(abs(q - expected).max())
        entry['other'][mode] = int((q.argmax(0) != labels).sum())
        entry['counts'][mode] = counts(q.argmax(0), case.truth, classes)
    if entry['dq']['all'] > BAR:
        exact = in_double(parameters, case)
        answers['pydensecrf'] = expected
        entry['to_double'] = {name: float(abs(q - exact).max()) for name, q in answers.items()}
    return entry


def show(entries: list[dict]) -> None:
    print('| preset | images | max dQ `all` / `adaptive` / `fast` | other labels | of pixels | mIoU |')
    print('|---|---|---|---|---|---|')
    for preset in PUBLISHED:
        own = [entry for entry in entries if entry['preset'] == preset]
        if not own:
            continue
        largest = ' / '.join(f'{max(entry["dq"][mode] for entry in own):.1e}' for mode in MODES)
        other = ' / '.join(str(sum(entry['other'][mode] for entry in own)) for mode in MODES)
        miou = mean_iou(own, 'pydensecrf')
        gained = ' / '.join(f'{mean_iou(own, mode) - miou:+.4f}' for mode in MODES)
        pixels = sum(entry['pixels'] for entry in own)
        print(f'| `{preset}` | {len(own)} | {largest} | {other} | {pixels} | {miou:.2f}, {gained} |')
    far = [entry for entry in entries if 'to_double' in entry]
    print(f'\nfurther than {BAR:g} from pydensecrf: {len(far)} of {len(entries)}; distances to double precision:\n')
    print('| case | preset | `all` to pydensecrf | pydensecrf | `all` | `adaptive` |\n|---|---|---|---|---|---|')
    for entry in sorted(far, key=lambda entry: -entry['dq']['all']):
        each = ' | '.join(f'{entry["to_double"][name]:.1e}' for name in ('pydensecrf', 'all', 'adaptive'))
        print(f'| {entry["case"]} | `{entry["preset"]}` | {entry["dq"]["all"]:.1e} | {each} |')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--cases', type=Path, required=True, help='folder of cases that tools/crf_search.py cached')
    parser.add_argument('--results', type=Path, required=True, help='a .jsonl file, made or continued')
    parser.add_argument('--presets', nargs='+', choices=PUBLISHED, default=PUBLISHED)
    parser.add_argument('--every', type=int, default=1, help='take each n-th case only')
    args = parser.parse_args()
    if not native.is_available():
        parser.error('the native kernel was not built here: install a C++ compiler, and this package again')
    paths = sorted(args.cases.rglob('*.npz'))[:: args.every]
    if not paths:
        parser.error(f'--cases {args.cases} holds no .npz file; tools/crf_search.py makes them')
    torch.set_num_threads(1)
    args.results.parent.mkdir(parents=True, exist_ok=True)
    lines = args.results.read_text().splitlines() if args.results.exists() else []
    entries = [json.loads(line) for line in lines]
    done = {(entry['case'], entry['preset']) for entry in entries}
    for path in paths:
        for preset in args.presets:
            if (path.stem, preset) not in done:
                entries.append(measure(path, preset))
                with args.results.open('a') as file:
                    file.write(json.dumps(entries[-1]) + '\n')
    show(entries)


if __name__ == '__main__':
    main()
