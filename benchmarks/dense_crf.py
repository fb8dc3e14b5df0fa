"""The dense CRF's backends, threads, workers and class pruning, against one pydensecrf process in the same run.

    python benchmarks/dense_crf.py                                  # generated images and outputs
    python benchmarks/dense_crf.py --logits work_dirs/cases --images 20

`--logits` is a folder of cases that tools/crf_search.py cached: real images, a network's outputs and the truth.
Every round runs every method over all images, in turn; a method's ratio is of its time to that of the one pydensecrf
process in the same round, and median, minimum and maximum over the rounds are printed. Lattices of the position kernel
are cached between images, as they are in use; workers are started before the clock. `dQ` is the largest difference of
any probability to unpruned pydensecrf, `labels` the share of pixels with its label, `mIoU` the difference in mean IoU.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from mmseg_deeplab.crf.search import Case, load_case

from mmseg_deeplab.crf import CRFPool, DenseCRF

PRESETS = {
    'v1': dict(pos_w=3, pos_xy_std=3, bi_w=5, bi_xy_std=50, bi_rgb_std=3),
    'v2_vgg16': dict(pos_w=2, pos_xy_std=2, bi_w=4, bi_xy_std=65, bi_rgb_std=3),
    'v2_r101': dict(pos_w=3, pos_xy_std=1, bi_w=4, bi_xy_std=67, bi_rgb_std=3),
    'pydensecrf_readme': dict(pos_w=3, pos_xy_std=3, bi_w=10, bi_xy_std=80, bi_rgb_std=13),
}


def generated_case(seed: int, height: int = 375, width: int = 500, classes: int = 21) -> Case:
    """A textured image and smooth softmax outputs, peaked on the classes of a coarse truth."""
    rng = np.random.default_rng(seed)

    def smooth(channels: int, cells: int, scale: float) -> torch.Tensor:
        coarse = torch.from_numpy(rng.normal(0, scale, (1, channels, cells, cells))).float()
        return torch.nn.functional.interpolate(coarse, (height, width), mode='bicubic')[0]

    image = 128 + smooth(3, 4, 60) + smooth(3, 60, 12) + torch.from_numpy(rng.normal(0, 2, (3, height, width)))
    truth = smooth(classes, 5, 4) - 2 * torch.arange(classes)[:, None, None]
    probabilities = (truth + smooth(classes, 24, 1)).softmax(0).numpy()
    return Case(image.clamp(0, 255).byte().permute(1, 2, 0).numpy(), probabilities, truth.argmax(0).numpy())


def methods(parameters: dict, prune: float, workers: int, stack: ExitStack) -> dict[str, Callable]:
    """Name -> function of (images, probabilities); the first is the reference."""

    def one_process(threads: int, **options) -> Callable:
        crf = DenseCRF(**parameters, **options)

        def run(images, probabilities):
            torch.set_num_threads(threads)
            return [crf(*each) for each in zip(images, probabilities, strict=True)]

        return run

    def thread_pool(**options) -> Callable:
        crf, threads = DenseCRF(**parameters, **options), stack.enter_context(ThreadPoolExecutor(workers))

        def run(images, probabilities):
            torch.set_num_threads(1)
            return list(threads.map(crf, images, probabilities))

        return run

    def pool(**options) -> Callable:
        pool = stack.enter_context(CRFPool(DenseCRF(**parameters, **options), workers))
        return lambda images, probabilities: list(pool.map(images, probabilities))

    all_methods = {'pydensecrf': one_process(1, backend='pydensecrf')}
    for threads in sorted({1, workers}):
        all_methods[f'torch, {threads} thread{"s" * (threads > 1)}'] = one_process(threads, backend='torch')
    all_methods[f'torch, {workers} images in threads'] = thread_pool(backend='torch')
    for backend in ('pydensecrf', 'torch'):
        all_methods[f'{backend}, {workers} workers'] = pool(backend=backend)
    for backend in ('pydensecrf', 'torch'):
        all_methods[f'{backend}, pruned'] = one_process(1, backend=backend, prune=prune)
    all_methods[f'torch, pruned, {workers} workers'] = pool(backend='torch', prune=prune)
    if torch.cuda.is_available():
        all_methods['torch, GPU'] = on_gpu(DenseCRF(**parameters, backend='torch'))
    return all_methods


def on_gpu(crf: DenseCRF) -> Callable:
    """Batches of 8, copies to and from the GPU included."""

    def run(images, probabilities):
        results = []
        for start in range(0, len(images), 8):
            part = slice(start, start + 8)
            batch = [torch.from_numpy(p).cuda() for p in probabilities[part]]
            results += [q.cpu().numpy() for q in crf([torch.from_numpy(image) for image in images[part]], batch)]
        return results

    return run


def mean_iou(labels: list[np.ndarray], truths: list[np.ndarray]) -> float:
    """Percent, over the classes in the truth; 255 is void."""
    labels, truths = (np.concatenate([each.ravel() for each in maps]).astype(np.int64) for maps in (labels, truths))
    labels, truths = labels[truths != 255], truths[truths != 255]
    classes = int(max(labels.max(), truths.max())) + 1
    confusion = np.bincount(truths * classes + labels, minlength=classes**2).reshape(classes, classes)
    present = confusion.sum(1) > 0
    union = confusion.sum(0) + confusion.sum(1) - confusion.diagonal()
    return 100 * float((confusion.diagonal()[present] / union[present]).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--logits', type=Path, help='folder of cases that tools/crf_search.py cached')
    parser.add_argument('--images', type=int, default=6, help='how many of them, evenly spread')
    parser.add_argument('--preset', choices=PRESETS, default='v2_r101')
    parser.add_argument('--prune', type=float, default=0.01, help='threshold of the pruned runs')
    parser.add_argument('--workers', type=int, default=2, help='threads, images in threads and worker processes')
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--only', default='', help='run only methods with this text in their name, and pydensecrf')
    args = parser.parse_args()

    if args.logits:
        paths = sorted(args.logits.rglob('*.npz'))
        if not paths:
            parser.error(f'--logits {args.logits} holds no .npz file; tools/crf_search.py makes them')
        cases = [load_case(path) for path in paths[:: max(1, len(paths) // args.images)][: args.images]]
    else:
        cases = [generated_case(seed) for seed in range(args.images)]
    images, probabilities, truths = (list(each) for each in zip(*cases, strict=True))
    active = statistics.mean(int((p.max((1, 2)) > args.prune).sum()) for p in probabilities)
    print(
        f'{len(images)} {"real" if args.logits else "generated"} cases, {len(probabilities[0])} classes '
        f'({active:.1f} above {args.prune}), {args.preset}, {args.rounds} rounds, torch {torch.__version__}'
    )
    with ExitStack() as stack:
        runs = methods(PRESETS[args.preset], args.prune, args.workers, stack)
        runs = {name: run for name, run in runs.items() if args.only in name or name == 'pydensecrf'}
        report(runs, images, probabilities, truths, args.rounds)


def report(runs: dict[str, Callable], images, probabilities, truths, rounds: int) -> None:
    seconds = {name: [] for name in runs}
    answers = {name: run(images, probabilities) for name, run in runs.items()}  # also warms up
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            run(images, probabilities)
            seconds[name].append(time.perf_counter() - start)
    expected = answers['pydensecrf']
    miou = mean_iou([q.argmax(0) for q in expected], truths)
    plain = mean_iou([p.argmax(0) for p in probabilities], truths)
    print(f'mIoU {plain:.2f} without CRF, {miou:.2f} with pydensecrf')
    print(f'{"":28} s/image   ratio (min to max)      max dQ    labels      mIoU')
    for name, times in seconds.items():
        ratios = [a / b for a, b in zip(seconds['pydensecrf'], times, strict=True)]
        difference = max(float(abs(q - e).max()) for q, e in zip(answers[name], expected, strict=True))
        same = np.concatenate(
            [(q.argmax(0) == e.argmax(0)).ravel() for q, e in zip(answers[name], expected, strict=True)]
        )
        change = mean_iou([q.argmax(0) for q in answers[name]], truths) - miou
        print(
            f'{name:28} {statistics.median(times) / len(images):7.3f}   {statistics.median(ratios):5.2f} '
            f'({min(ratios):.2f} to {max(ratios):.2f})   {difference:8.1e}   {100 * same.mean():8.4f} %   {change:+.3f}'
        )


if __name__ == '__main__':
    main()
