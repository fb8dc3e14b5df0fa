"""The dense CRF beside pydensecrf itself, alternating in one run: speed, agreement, memory, and where the time goes.

    python benchmarks/dense_crf.py                                   # generated images and outputs
    python benchmarks/dense_crf.py --cases work_dirs/crf_search/CONFIG/cases --images 12 --plots work_dirs/crf_plots

`--cases` is a folder of cases that tools/crf_search.py cached: real images, a network's outputs and the truth. Times
are the least of `--rounds` runs that alternate with pydensecrf's; a ratio is the median over the images. One thread:
CPU time of the thread, which other work on the machine disturbs least. Several images at once: wall clock, which
needs an idle machine. `dQ` is the largest difference of any probability to pydensecrf, `labels` the share of pixels
with its label, `mIoU` the difference in mean IoU. Memory is what a process grows by in its first call, beyond inputs,
as a share of what pydensecrf's process grows by.
"""

import argparse
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from mmseg_deeplab.crf import CRFPool, DenseCRF, native
from mmseg_deeplab.crf.presets import PRESETS
from mmseg_deeplab.search.search import Case, load_case

MODES = ('all', 'adaptive', 'fast')
NAMES = ('pos_w', 'pos_xy_std', 'bi_w', 'bi_xy_std', 'bi_rgb_std')
Method = Callable[[np.ndarray, np.ndarray], np.ndarray]


def generated_case(seed: int, height: int = 375, width: int = 500, classes: int = 21, texture: float = 12) -> Case:
    """A textured image and smooth softmax outputs, peaked on the classes of a coarse truth."""
    rng = np.random.default_rng(seed)

    def smooth(channels: int, cells: int, scale: float) -> torch.Tensor:
        coarse = torch.from_numpy(rng.normal(0, scale, (1, channels, cells, cells))).float()
        return torch.nn.functional.interpolate(coarse, (height, width), mode='bicubic')[0]

    noise = torch.from_numpy(rng.normal(0, texture / 6, (3, height, width)))
    image = 128 + smooth(3, 4, 60) + smooth(3, 60, texture) + noise
    truth = smooth(classes, 5, 4) - 2 * torch.arange(classes)[:, None, None]
    probabilities = (truth + smooth(classes, 24, 1)).softmax(0).numpy()
    return Case(
        image.clamp(0, 255).byte().permute(1, 2, 0).contiguous().numpy(), probabilities, truth.argmax(0).numpy()
    )


def with_more_classes(case: Case, classes: int, seed: int) -> Case:
    """The case's classes and generated ones that appear in places: 20 to 40 of 150 exceed 1e-2 somewhere."""
    height, width = case.truth.shape
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.normal(0, 1.6, (1, classes - len(case.probabilities), 6, 6))).float()
    others = torch.nn.functional.interpolate(coarse, (height, width), mode='bicubic')[0].numpy()
    others -= np.linspace(6, 17, len(others))[:, None, None]
    logits = np.concatenate([np.log(case.probabilities.clip(1e-9)), others])
    return case._replace(probabilities=torch.from_numpy(logits).softmax(0).numpy())


def flattened(case: Case) -> Case:
    """Logits divided by three: nothing can be left out."""
    return case._replace(probabilities=(torch.from_numpy(case.probabilities.clip(1e-9)).log() / 3).softmax(0).numpy())


def hard_inputs(case: Case) -> dict[str, Case]:
    """What a mode could lose time on: where little can be left out, or nothing, or the pictures are tiny."""
    rng = np.random.default_rng(0)
    classes, (height, width) = len(case.probabilities), case.truth.shape
    noise = rng.integers(0, 256, case.image.shape, dtype=np.uint8)
    rough = torch.from_numpy(rng.normal(0, 2, case.probabilities.shape)).float().softmax(0).numpy()
    one = np.full_like(case.probabilities, 1e-3 / (classes - 1))
    one[0] = 1 - 1e-3
    top, left = height // 2, width // 2
    tiny = [np.ascontiguousarray(each[..., top : top + 24, left : left + 32]) for each in case[1:]]
    return {
        'as it is': case,
        'logits / 3': flattened(case),
        'uniform scores': case._replace(probabilities=np.full_like(case.probabilities, 1 / classes)),
        'one class': case._replace(probabilities=one),
        'noise': case._replace(image=noise, probabilities=rough),
        'noise in the picture': case._replace(image=noise),
        '150 classes': with_more_classes(case, max(150, classes + 1), 0),
        '24 x 32 pixels': Case(np.ascontiguousarray(case.image[top : top + 24, left : left + 32]), *tiny),
    }


def beside_all(parameters: dict, case: Case, rounds: int) -> None:
    """No mode is to be slower than 'all' by more than a tenth: CPU time as a share of that of 'all', alternating."""
    modes = {mode: DenseCRF(**parameters, mode=mode) for mode in MODES}
    print("\nmodes beside 'all', shares of its time")
    for name, each in hard_inputs(case).items():
        best = dict.fromkeys(MODES, np.inf)
        calls = max(1, 20_000 // each.truth.size)
        for _ in range(max(3, rounds) + 1):  # the first warms up, and may well be the slowest
            for mode, crf in modes.items():
                start = time.thread_time()
                for _ in range(calls):
                    crf(each.image, each.probabilities)
                best[mode] = min(best[mode], (time.thread_time() - start) / calls)
        print(
            f'{name:24} all {1000 * best["all"]:7.1f} ms   '
            + '   '.join(f'{mode} {best[mode] / best["all"]:.2f}' for mode in MODES[1:]),
            flush=True,
        )


def pydensecrf(parameters: dict) -> Method:
    """pydensecrf as its own documentation calls it."""
    from pydensecrf import densecrf

    def run(image, p):
        classes, height, width = p.shape
        crf = densecrf.DenseCRF2D(width, height, classes)
        crf.setUnaryEnergy(np.ascontiguousarray(-np.log(p.clip(1e-5, 1)).reshape(classes, -1)))
        crf.addPairwiseGaussian(sxy=parameters['pos_xy_std'], compat=parameters['pos_w'])
        crf.addPairwiseBilateral(
            sxy=parameters['bi_xy_std'], srgb=parameters['bi_rgb_std'], rgbim=image, compat=parameters['bi_w']
        )
        return np.array(crf.inference(10)).reshape(p.shape)

    return run


@dataclass
class Row:
    """What one method did on all cases."""

    seconds: list[float] = field(default_factory=list)  # of an image, the least of the rounds
    ratios: list[float] = field(default_factory=list)
    difference: float = 0.0
    same: list[float] = field(default_factory=list)
    labels: list[np.ndarray] = field(default_factory=list)

    def add(self, seconds: float, reference: float, q: np.ndarray, expected: np.ndarray) -> None:
        self.seconds.append(seconds)
        self.ratios.append(reference / seconds)
        self.difference = max(self.difference, float(abs(q - expected).max()))
        self.labels.append(q.argmax(0))
        self.same.append(float((q.argmax(0) == expected.argmax(0)).mean()))


def compare(reference: Method, methods: dict[str, Method], cases: Sequence[Case], rounds: int) -> dict[str, Row]:
    rows = {name: Row() for name in ('pydensecrf', *methods)}
    for case in cases:
        inputs = case.image, case.probabilities
        best: dict[str, float] = {}
        answers = {name: method(*inputs) for name, method in methods.items()}  # also warms up
        for _ in range(rounds):
            for name, method in {'pydensecrf': reference, **methods}.items():
                start = time.thread_time()
                answers[name] = method(*inputs)
                best[name] = min(best.get(name, np.inf), time.thread_time() - start)
        for name, row in rows.items():
            row.add(best[name], best['pydensecrf'], answers[name], answers['pydensecrf'])
    return rows


def mean_iou(labels: list[np.ndarray], truths: list[np.ndarray]) -> float:
    """Percent, over the classes in the truth; 255 is void."""
    flat, truth = (np.concatenate([each.ravel() for each in maps]).astype(np.int64) for maps in (labels, truths))
    flat, truth = flat[truth != 255], truth[truth != 255]
    classes = int(max(flat.max(), truth.max())) + 1
    confusion = np.bincount(truth * classes + flat, minlength=classes**2).reshape(classes, classes)
    present = confusion.sum(1) > 0
    union = confusion.sum(0) + confusion.sum(1) - confusion.diagonal()
    return 100 * float((confusion.diagonal()[present] / union[present]).mean())


def show(title: str, rows: dict[str, Row], truths: list[np.ndarray]) -> None:
    print(f'\n{title}\n{"":24} s/image   times pydensecrf (min to max)   max dQ    labels      mIoU')
    expected = mean_iou(rows['pydensecrf'].labels, truths)
    for name, row in rows.items():
        print(
            f'{name:24} {statistics.mean(row.seconds):7.3f}   {statistics.median(row.ratios):6.2f} '
            f'({min(row.ratios):.2f} to {max(row.ratios):.2f})      {row.difference:10.1e}  '
            f'{100 * statistics.mean(row.same):9.5f} %   {mean_iou(row.labels, truths) - expected:+.4f}',
            flush=True,
        )


def at_once(parameters: dict, cases: Sequence[Case], workers: int, rounds: int) -> None:
    """Several images at once in threads, by the clock on the wall, beside pydensecrf's one after the other."""
    reference = pydensecrf(parameters)
    pools = {mode: CRFPool(DenseCRF(**parameters, mode=mode), workers) for mode in MODES}
    images, probabilities = [case.image for case in cases], [case.probabilities for case in cases]
    best: dict[str, float] = {}
    for _ in range(rounds):
        start = time.perf_counter()
        for case in cases:
            reference(case.image, case.probabilities)
        best['pydensecrf'] = min(best.get('pydensecrf', np.inf), time.perf_counter() - start)
        for mode, pool in pools.items():
            start = time.perf_counter()
            for _ in pool.map(images, probabilities):
                pass
            best[mode] = min(best.get(mode, np.inf), time.perf_counter() - start)
    print(f'\n{workers} images at once, {len(cases[0].probabilities)} classes, wall clock, times one pydensecrf:')
    print('   '.join(f'{mode} {best["pydensecrf"] / best[mode]:.2f}' for mode in MODES), flush=True)
    for pool in pools.values():
        pool.close()


MEMORY = """
import sys, threading, time
import numpy as np
sys.path.insert(0, 'benchmarks')
import dense_crf as bench
with np.load(sys.argv[2]) as file:
    image, p = file['image'], file['p']
parameters = {name: float(value) for name, value in zip(bench.NAMES, sys.argv[3:])}
reference = bench.pydensecrf(parameters)
run = reference if sys.argv[1] == 'pydensecrf' else bench.DenseCRF(**parameters, mode=sys.argv[1])
small = np.ascontiguousarray(image[:40, :40]), np.ascontiguousarray(p[:, :40, :40])
run(*small)
def peak():
    return next(int(line.split()[1]) for line in open('/proc/self/status') if line.startswith('VmHWM'))
open('/proc/self/clear_refs', 'w').write('5')  # the peak so far is forgotten
before = peak()
run(image, p)
print((peak() - before) / 1024)
"""


def memory(name: str, case: Case, parameters: dict, path: Path) -> None:
    """Of a process for each method, which reads the case from `path`."""
    np.savez(path, image=case.image, p=case.probabilities)
    grown = {}
    for method in ('pydensecrf', *MODES):
        values = [str(parameters[name]) for name in NAMES]
        command = [sys.executable, '-c', MEMORY, method, str(path), *values]
        run = subprocess.run(command, capture_output=True, text=True)
        if run.returncode:
            print(f'\nmemory was not measured: {run.stderr.strip().splitlines()[-1]}')
            return
        grown[method] = float(run.stdout)
    print(f'\nmemory of a call, {name} lattice, MiB: pydensecrf {grown["pydensecrf"]:.0f}')
    print(
        '   '.join(f'{mode} {grown[mode]:.0f} ({grown[mode] / grown["pydensecrf"]:.2f})' for mode in MODES), flush=True
    )


def phases(case: Case, parameters: dict, mode: str) -> dict[str, float]:
    """CPU seconds of each phase of one call, warm, and the points of its lattices."""
    crf = DenseCRF(**parameters, mode=mode)
    best: dict[str, float] = {}
    for _ in range(4):
        report: dict[str, float] = {}
        start = time.thread_time()
        for _ in native.mean_field(
            case.image, case.probabilities, crf.kernels, 10, 'symmetric', mode, 1e-5, report=report
        ):
            pass
        report['seconds'] = time.thread_time() - start
        best = report if not best or report['seconds'] < best['seconds'] else best
    return best


def plots(parameters: dict, case: Case, folder: Path) -> None:
    """Time against pixels, classes and lattice points of generated cases, and the share of each phase of `case`."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    reference = pydensecrf(parameters)
    sizes = {h * w: generated_case(0, h, w) for h, w in ((96, 128), (192, 256), (288, 384), (375, 500), (563, 750))}
    classes = {c: generated_case(0, 188, 250, c) for c in (2, 5, 10, 21, 40, 80, 150)}
    textures = [generated_case(0, texture=texture) for texture in (1, 3, 6, 12, 24, 48)]
    points = {phases(case, parameters, 'all')['points']: case for case in textures}
    figure, axes = pyplot.subplots(1, 3, figsize=(15, 4.5))
    for axis, cases, label in zip(axes, (sizes, classes, points), ('pixels', 'classes', 'lattice points'), strict=True):
        rows = compare(reference, {mode: DenseCRF(**parameters, mode=mode) for mode in MODES}, [*cases.values()], 2)
        for name, row in rows.items():
            axis.loglog([*cases], row.seconds, marker='o', label=name)
        axis.minorticks_off()
        axis.set_xticks([*cases], [f'{number:,.0f}' for number in cases], rotation=45)
        axis.set_xlabel(label)
        axis.set_ylabel('s, one thread')
    axes[0].legend()
    figure.tight_layout()
    figure.savefig(folder / 'time.png', dpi=120)
    figure, axis = pyplot.subplots(figsize=(8, 3))
    left = dict.fromkeys(MODES, 0.0)
    reports = {mode: phases(case, parameters, mode) for mode in MODES}
    for phase in reports['all']:
        if phase not in ('points', 'bytes', 'seconds'):
            share = [1000 * reports[mode][phase] for mode in MODES]
            axis.barh(MODES, share, left=[*left.values()], label=phase)
            left = {mode: left[mode] + value for mode, value in zip(MODES, share, strict=True)}
    axis.set_xlabel('ms, one thread')
    axis.legend(fontsize='small')
    figure.tight_layout()
    figure.savefig(folder / 'phases.png', dpi=120)
    print(f'\n{folder / "time.png"}, {folder / "phases.png"}')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--cases', type=Path, help='folder of cases that tools/crf_search.py cached')
    parser.add_argument('--images', type=int, default=6, help='how many of them, evenly spread')
    parser.add_argument('--size', type=int, nargs=2, default=(375, 500), help='height and width of generated ones')
    parser.add_argument('--preset', choices=sorted(PRESETS), default='v2_r101')
    parser.add_argument('--classes', type=int, default=150, help='of the case of many classes; 0 for none')
    parser.add_argument('--workers', type=int, default=2, help='images at once')
    parser.add_argument('--rounds', type=int, default=2)
    parser.add_argument('--others', action='store_true', help='the torch backend, too')
    parser.add_argument('--plots', type=Path, help='folder for plots')
    args = parser.parse_args()
    if not native.is_available():
        parser.error('the native kernel was not built here: install a C++ compiler, and this package again')
    parameters = {name: PRESETS[args.preset][name] for name in NAMES}
    if args.cases:
        paths = sorted(args.cases.rglob('*.npz'))
        if not paths:
            parser.error(f'--cases {args.cases} holds no .npz file; tools/crf_search.py makes them')
        cases = [load_case(path) for path in paths[:: max(1, len(paths) // args.images)][: args.images]]
    else:
        cases = [generated_case(seed, *args.size) for seed in range(args.images)]
    torch.set_num_threads(1)
    info = Path('/proc/cpuinfo')
    models = [line.split(':')[1].strip() for line in info.read_text().splitlines() if 'model name' in line]
    print(
        f'{len(cases)} {"real" if args.cases else "generated"} cases, {args.preset}, {args.rounds} rounds; '
        f'{models[0] if models else platform.processor()}, {native.instruction_set()}'
    )
    reference = pydensecrf(parameters)
    methods: dict[str, Method] = {mode: DenseCRF(**parameters, mode=mode) for mode in MODES}
    if args.others:
        methods['torch, all'] = DenseCRF(**parameters, mode='all', backend='torch')
        methods['torch, adaptive'] = DenseCRF(**parameters, backend='torch')
    truths = [case.truth for case in cases]
    show('one thread', compare(reference, methods, cases, args.rounds), truths)
    native_only = {mode: methods[mode] for mode in MODES}
    show('nothing to leave out', compare(reference, native_only, [*map(flattened, cases)], args.rounds), truths)
    beside_all(parameters, cases[0], args.rounds)
    at_once(parameters, cases, args.workers, args.rounds)
    if args.classes:
        many = [with_more_classes(case, args.classes, seed) for seed, case in enumerate(cases[:2])]
        likely = statistics.mean(int((case.probabilities.max((1, 2)) > 1e-2).sum()) for case in many)
        title = f'{args.classes} classes, {likely:.0f} of them above 1e-2 somewhere'
        show(title, compare(reference, native_only, many, 1), truths[:2])
        at_once(parameters, many, args.workers, 1)
    if sys.platform == 'linux':
        by_points = sorted(cases, key=lambda case: phases(case, parameters, 'fast')['points'])
        with tempfile.TemporaryDirectory() as folder:
            memory('largest', by_points[-1], parameters, Path(folder, 'case.npz'))
            memory('median', by_points[len(cases) // 2], parameters, Path(folder, 'case.npz'))
    if args.plots:
        args.plots.mkdir(parents=True, exist_ok=True)
        plots(parameters, cases[0], args.plots)


if __name__ == '__main__':
    main()
