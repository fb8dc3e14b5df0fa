"""Ways to compute a network on this CPU, in one alternating run: from a normalised image to its label map.

    python benchmarks/inference.py --networks mobilenetv2 r50 --rounds 5
    python benchmarks/inference.py --networks r101 xception65 --size 321 --without compiled

Each round runs every way once, in turn. What counts is the CPU time of the process, as other work on the machine does
not change it much; ratios are of runs of one round. Weights are random: only the time and the share of equal labels are
of interest. `eager` is what a plain PyTorch script does: upsample all logits, then take the best class. `mmseg` is the
plain network, as MMSegmentation's `init_model` makes it; `folded` and `channels-last` are the steps of this project's,
and `compiled` to `openvino` what can be asked of it.
"""

import argparse
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.apis import init_model as mmseg_init_model
from mmseg.structures import SegDataSample

import mmseg_deeplab.plugin  # noqa: F401
from mmseg_deeplab.inference import fold_batch_norm, init_model
from mmseg_deeplab.inference.export import example_of, write_onnx
from mmseg_deeplab.inference.fast import bf16_pays
from mmseg_deeplab.inference.graphs import CoarseNetwork
from mmseg_deeplab.inference.runners import openvino_of

warnings.simplefilter('ignore')  # of both stacks, between the lines of the table
CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
NETWORKS = {
    'mobilenetv2': 'deeplabv3_mobilenetv2_voc',
    'r50': 'deeplabv3plus_r50_voc_torchvision',
    'r101': 'deeplabv3plus_r101_voc_torchvision',
    'xception65': 'deeplabv3plus_xception65_voc',
}


def processor() -> str:
    """Name of the processor and the widest vectors that torch uses."""
    lines = Path('/proc/cpuinfo').read_text().splitlines()
    name = next(line.partition(':')[2].strip() for line in lines if line.startswith('model name'))
    units = 'with' if bf16_pays() else 'without'
    return f'{name}, {torch.backends.cpu.get_cpu_capability()}, {units} bfloat16 units'


def label_map(model, image: torch.Tensor) -> torch.Tensor:
    """What the test step does between preprocessor and sample."""
    size = tuple(image.shape[2:])
    sample = SegDataSample(metainfo=dict(ori_shape=size, img_shape=size, padding_size=(0, 0, 0, 0)))
    return model.predict(image, [sample])[0].pred_sem_seg.data[0]


def ways(name: str, folder: Path) -> dict[str, Callable[[torch.Tensor], torch.Tensor]]:
    """Everything to compare, by name; each maps an image to its labels."""
    config = Config.fromfile(CONFIGS / f'{NETWORKS[name]}.py')
    checkpoint = folder / 'model.pth'
    config.model.pop('init_cfg', None)
    config.model.backbone.pop('init_cfg', None)

    def plain():
        return mmseg_init_model(config, str(checkpoint) if checkpoint.is_file() else None, device='cpu')

    torch.manual_seed(0)
    first = plain()
    torch.nn.init.normal_(first.decode_head.conv_seg.weight, std=1)
    torch.save(dict(state_dict=first.state_dict(), meta={}), checkpoint)
    folded = plain()
    fold_batch_norm(folded)
    models = dict(mmseg=plain(), folded=folded, **{'channels-last': init_model(config, checkpoint, 'cpu')})
    models['compiled'] = init_model(config, checkpoint, 'cpu', compile=True)
    models['onnxruntime'] = init_model(config, checkpoint, 'cpu', runtime='onnxruntime')
    steps = {key: lambda image, model=model: label_map(model, image) for key, model in models.items()}
    low = init_model(config, checkpoint, 'cpu', precision='bf16')

    def bf16(image: torch.Tensor) -> torch.Tensor:
        with torch.autocast('cpu', torch.bfloat16, enabled=low.inference_dtype is not None):
            return label_map(low, image)

    steps['bf16'] = bf16
    steps['eager'] = lambda image: first.encode_decode(image, []).argmax(1)[0]
    try:
        graph = CoarseNetwork(models['channels-last'])
        write_onnx(graph, example_of(graph), folder / 'network.onnx')
        _, run = openvino_of(folder / 'network.onnx')
    except ImportError:
        return steps
    served = init_model(config, checkpoint, 'cpu')
    served._forward = lambda inputs, samples=None: torch.from_numpy(run(inputs.numpy())[0])
    steps['openvino'] = lambda image: label_map(served, image)
    return steps


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--networks', nargs='+', choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument('--size', type=int, default=513, help='side of the square image, pixels')
    parser.add_argument('--rounds', type=int, default=5, help='after one that is not counted')
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--without', nargs='+', default=[], metavar='WAY', help='ways to leave out, such as compiled')
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    init_default_scope('mmseg')
    print(f'1 x 3 x {args.size} x {args.size}, {args.threads} thread(s), {processor()}')
    print('| network | way | CPU s | channels-last / it (min - max) | labels equal |')
    print('|---|---|---|---|---|')
    for name in args.networks:
        with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
            steps = {way: step for way, step in ways(name, Path(folder)).items() if way not in args.without}
            image = torch.nn.functional.interpolate(torch.randn(1, 3, 33, 33), (args.size, args.size), mode='bilinear')
            times: dict[str, list[float]] = {way: [] for way in steps}
            labels = {}
            for _ in range(args.rounds + 1):
                for way, step in steps.items():
                    start = time.process_time()
                    labels[way] = step(image)
                    times[way].append(time.process_time() - start)
        for way, own in times.items():
            ratios = [ours / it for ours, it in zip(times['channels-last'][1:], own[1:], strict=True)]
            equal = (labels[way] == labels['channels-last']).float().mean().item()
            print(
                f'| {name} | {way} | {statistics.median(own[1:]):.3g} | {statistics.median(ratios):.2f} '
                f'({min(ratios):.2f} - {max(ratios):.2f}) | {100 * equal:.3f} % |',
                flush=True,
            )


if __name__ == '__main__':
    main()
