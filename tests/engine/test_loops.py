"""The loops of validation and test: the CRF against the reference on the network's own logits, the faster copy."""

import multiprocessing
import os
import threading
import time
from argparse import Namespace

import mmcv
import numpy as np
import pytest
import torch
import torch.distributed
from mmengine.config import ConfigDict
from mmengine.dataset import pseudo_collate
from mmengine.evaluator import BaseMetric
from mmengine.hooks import EMAHook, Hook
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmengine.runner import TestLoop as StockLoop
from mmseg.apis import inference_model
from mmseg.datasets import BaseSegDataset
from mmseg.models.segmentors import EncoderDecoder, SegTTAModel
from mmseg.registry import MODELS
from PIL import Image
from pretended_gpu import gpu
from torch import nn

from mmseg_deeplab.cli.configure import load_test_config
from mmseg_deeplab.crf import CRFPool, DenseCRF
from mmseg_deeplab.engine import DeepLabRunner, loops
from mmseg_deeplab.engine.hooks import DenseCRFHook, FastInferenceHook, RefinerHook
from mmseg_deeplab.inference import GuidedFilter, attach
from mmseg_deeplab.models import DeepLab, DeepLabTTA
from mmseg_deeplab.models.backbones import DeepLabBackbone

try:
    import pydensecrf.densecrf as densecrf
except ImportError:  # then another backend of the CRF, called directly, is the reference
    densecrf = None

CLASSES = ('background', 'disc', 'box')
VALUES = dict(pos_w=3, pos_xy_std=2, bi_w=5, bi_xy_std=20, bi_rgb_std=8)


@MODELS.register_module(force=True)
class Blur(DeepLabBackbone):
    """Colours, four pixels a cell: what a head makes of them has soft, misplaced edges for the CRF to mend."""

    feature_channels = (3,)

    def __init__(self, output_stride=4, norm_cfg=None, init_cfg=None):
        nn.Module.__init__(self)
        self.output_stride = output_stride

    def init_weights(self):
        pass

    def forward(self, x):
        return (nn.functional.avg_pool2d(x, 4, ceil_mode=True),)


def make_model(kind=EncoderDecoder, num_classes=3, **head) -> EncoderDecoder:
    init_default_scope('mmseg')
    preprocessor = dict(
        type='SegDataPreProcessor', mean=[127.5] * 3, std=[30.0] * 3, bgr_to_rgb=True, test_cfg=dict(size=(96, 96))
    )
    head.setdefault('loss_decode', dict(type='CrossEntropyLoss', avg_non_ignore=True))
    head = dict(
        type='FCNHead', in_channels=3, channels=3, num_convs=0, concat_input=False, num_classes=num_classes,
        dropout_ratio=0, align_corners=False, in_index=0, **head,
    )  # fmt: skip
    model = kind(
        backbone=dict(type='Blur'), decode_head=head, data_preprocessor=preprocessor, test_cfg=ConfigDict(mode='whole')
    )
    torch.manual_seed(1)
    nn.init.normal_(model.decode_head.conv_seg.weight)
    nn.init.zeros_(model.decode_head.conv_seg.bias)
    return model.eval()


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Five noisy pictures of different sizes, none larger than 96 pixels, with random truth."""
    root = tmp_path_factory.mktemp('pictures')
    (root / 'images').mkdir()
    (root / 'masks').mkdir()
    rng = np.random.default_rng(0)
    for number in range(5):
        height, width = 50 + 3 * number, 90 - 7 * number
        truth = np.zeros((height, width), np.uint8)
        truth[10:40, 10 + 2 * number : 30] = 1
        truth[25:45, 35:55] = 2
        image = np.array([[90, 140, 90], [210, 80, 60], [60, 90, 200]])[truth] + rng.normal(0, 12, (height, width, 3))
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(root / 'images' / f'{number}.png')
        Image.fromarray(truth).save(root / 'masks' / f'{number}.png')
    return root


def make_dataset(folder, pipeline=None) -> BaseSegDataset:
    return BaseSegDataset(
        data_root=str(folder),
        data_prefix=dict(img_path='images', seg_map_path='masks'),
        img_suffix='.png',
        seg_map_suffix='.png',
        metainfo=dict(classes=CLASSES, palette=[[0, 0, 0], [200, 40, 40], [40, 40, 200]]),
        pipeline=pipeline or [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')],
    )


class Recorder(BaseMetric):
    """What a metric sees, by image."""

    default_prefix = ''

    def process(self, data_batch, data_samples):
        views = data_batch['data_samples'] if isinstance(data_batch['data_samples'][0], (list, tuple)) else None
        for loaded, sample in zip(views[0] if views else data_batch['data_samples'], data_samples, strict=True):
            assert loaded.img_path == sample['img_path'], 'batch and samples are not of the same iteration'
            maps = {key: sample[key]['data'] for key in sample if key.startswith('pred_sem_seg')}
            self.results.append((sample['img_path'], maps))

    def compute_metrics(self, results):
        self.seen = results
        return dict(images=len(results), hit=float(sum((m['pred_sem_seg'] == 1).sum() for _, m in results)))


class Labels(BaseMetric):
    """The label maps alone, of whatever samples."""

    default_prefix = ''

    def process(self, data_batch, data_samples):
        self.results += [sample['pred_sem_seg']['data'] for sample in data_samples]

    def compute_metrics(self, results):
        self.seen = results
        return dict(images=len(results))


class Watcher(Hook):
    """What hooks after an iteration see."""

    def __init__(self):
        self.seen = []

    def after_test_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.seen.append((batch_idx, [(s.img_path, s.pred_sem_seg.data) for s in outputs]))

    after_val_iter = after_test_iter


def make_runner(model, dataset, work_dir, hooks, batch_size=1, kind=Runner, **kwargs) -> Runner:
    loader = dict(
        batch_size=batch_size,
        num_workers=0,
        dataset=dataset,
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=dict(type='pseudo_collate'),
    )
    loops = dict(
        test_dataloader=loader, test_evaluator=[Recorder()], test_cfg=dict(),
        val_dataloader=loader, val_evaluator=[Recorder()], val_cfg=dict(),
    )  # fmt: skip
    return kind(
        model=model,
        work_dir=str(work_dir),
        custom_hooks=hooks,
        default_scope='mmseg',
        log_level='ERROR',
        experiment_name=f'crf_{os.urandom(4).hex()}',
        cfg=ConfigDict(),
        default_hooks=dict(checkpoint=None),
        **loops,
        **kwargs,
    )


def reference(path, logits: torch.Tensor) -> np.ndarray:
    """Labels of pydensecrf, called directly."""
    image = np.array(Image.open(path))
    if densecrf is None:
        return DenseCRF(input='logits', backend='torch', **VALUES)(image, logits.numpy()).argmax(0)
    height, width, _ = image.shape
    q = logits.softmax(0).numpy()
    crf = densecrf.DenseCRF2D(width, height, len(q))
    crf.setUnaryEnergy(np.ascontiguousarray(-np.log(q.clip(1e-5, 1)).reshape(len(q), -1)))
    crf.addPairwiseGaussian(sxy=2, compat=3)
    crf.addPairwiseBilateral(sxy=20, srgb=8, rgbim=image, compat=5)
    return np.array(crf.inference(10)).argmax(0).reshape(height, width)


@torch.no_grad()
def network_logits(model, dataset) -> dict[str, torch.Tensor]:
    """The stock model's logits at the original sizes."""
    samples = [model.test_step(pseudo_collate([dataset[k]]))[0] for k in range(len(dataset))]
    return {sample.img_path: sample.seg_logits.data for sample in samples}


@pytest.mark.parametrize('workers', [0, 2])
def test_metrics_and_hooks_get_what_the_reference_computes(folder, tmp_path, workers):
    """In the dataset's order, whoever refines; the network's own prediction moves aside; the loop is left as it was."""
    model, dataset = make_model(), make_dataset(folder)
    logits = network_logits(model, dataset)
    watcher = Watcher()
    hook = DenseCRFHook(workers=workers, **VALUES)
    runner = make_runner(model, dataset, tmp_path, [hook, watcher])
    runner.test()
    seen = runner.test_loop.evaluator.metrics[0].seen
    assert [path for path, _ in seen] == list(logits)
    changed = 0
    for path, maps in seen:
        np.testing.assert_array_equal(maps['pred_sem_seg'][0], reference(path, logits[path]))
        np.testing.assert_array_equal(maps['pred_sem_seg_before_crf'][0], logits[path].argmax(0))
        changed += int((maps['pred_sem_seg'] != maps['pred_sem_seg_before_crf']).sum())
    assert changed > 100, 'the CRF had nothing to do'
    assert [number for number, _ in watcher.seen] == list(range(5))
    for (path, maps), (_, [(hook_path, label)]) in zip(seen, watcher.seen, strict=True):
        assert path == hook_path and torch.equal(maps['pred_sem_seg'], label)
    assert 'test_step' not in vars(model) and runner.model is model
    assert not [thread for thread in threading.enumerate() if thread.name.startswith('dense_crf')]


@pytest.mark.parametrize('workers', [0, 2])
def test_another_refiner_takes_the_crfs_place(folder, tmp_path, workers):
    """Its answer is that of a call by hand; nothing claims to be a score before a CRF."""
    dataset = make_dataset(folder)
    logits = network_logits(make_model(), dataset)
    runner = make_runner(make_model(), dataset, tmp_path, [RefinerHook('guided', workers=workers, radius=5)])
    runner.test()
    changed = 0
    for path, maps in runner.test_loop.evaluator.metrics[0].seen:
        assert list(maps) == ['pred_sem_seg']
        refined = GuidedFilter(radius=5)(np.array(Image.open(path)), logits[path]).argmax(0)
        np.testing.assert_array_equal(maps['pred_sem_seg'][0], refined)
        changed += int((refined != logits[path].argmax(0)).sum())
    assert changed > 100


def test_there_are_no_more_workers_than_images(folder, tmp_path, monkeypatch):
    """On a machine of many cores each would take seconds and memory to begin, and then have nothing to do."""
    begun = []
    monkeypatch.setattr(loops, 'CRFPool', lambda crf, workers: begun.append(workers) or CRFPool(crf, 1))
    for cpus, environment in ((range(64), {}), ([3], {}), (range(6), {'LOCAL_WORLD_SIZE': '2'})):
        monkeypatch.setattr(os, 'sched_getaffinity', lambda pid, cpus=cpus: set(cpus), raising=False)
        with monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            make_runner(make_model(), make_dataset(folder), tmp_path, [DenseCRFHook(**VALUES)]).test()
    assert begun == [5, 1, 3]


def test_deeplab_keeps_its_logits_only_while_they_are_needed(folder, tmp_path):
    dataset = make_dataset(folder)
    logits = network_logits(make_model(), dataset)
    model = make_model(DeepLab)
    runner = make_runner(model, dataset, tmp_path, [DenseCRFHook(workers=0, **VALUES)])
    runner.test()
    for path, maps in runner.test_loop.evaluator.metrics[0].seen:
        np.testing.assert_array_equal(maps['pred_sem_seg'][0], reference(path, logits[path]))
    assert model.keep_seg_logits is False


@pytest.mark.parametrize('workers', [0, 1])
def test_batches_are_refined_and_shorter_last_ones_too(folder, tmp_path, workers):
    pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')]
    pipeline.insert(1, dict(type='Resize', scale=(64, 48)))
    dataset = make_dataset(folder, pipeline)
    logits = network_logits(make_model(), dataset)
    runner = make_runner(make_model(), dataset, tmp_path, [DenseCRFHook(workers=workers, **VALUES)], batch_size=2)
    runner.test()
    seen = runner.test_loop.evaluator.metrics[0].seen
    assert len(seen) == 5
    for path, maps in seen:
        np.testing.assert_array_equal(maps['pred_sem_seg'][0], reference(path, logits[path]))


@pytest.mark.parametrize('stages, refined', [('val', True), (('test',), False)])
def test_stages_choose_between_validation_and_test(folder, tmp_path, stages, refined):
    hook = DenseCRFHook(workers=0, stages=stages, **VALUES)
    runner = make_runner(make_model(), make_dataset(folder), tmp_path, [hook])
    runner.val()
    seen = runner.val_loop.evaluator.metrics[0].seen
    assert len(seen) == 5
    assert all(('pred_sem_seg_before_crf' in maps) == refined for _, maps in seen)


TTA_PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(
        type='TestTimeAug',
        transforms=[
            [dict(type='Resize', scale_factor=scale, keep_ratio=True) for scale in (0.75, 1.0)],
            [dict(type='RandomFlip', prob=prob, direction='horizontal') for prob in (0.0, 1.0)],
            [dict(type='LoadAnnotations')],
            [dict(type='PackSegInputs')],
        ],
    ),
]


def test_with_test_time_augmentation_the_merged_probabilities_are_refined(folder, tmp_path):
    model, dataset = make_model(), make_dataset(folder, TTA_PIPELINE)
    runner = make_runner(DeepLabTTA(module=model), dataset, tmp_path, [DenseCRFHook(workers=0, **VALUES)])
    runner.test()
    seen = runner.test_loop.evaluator.metrics[0].seen
    assert len(seen) == 5
    for k, (path, maps) in enumerate(seen):
        views = dataset[k]
        merged = 0
        for inputs, sample in zip(views['inputs'], views['data_samples'], strict=True):
            with torch.no_grad():
                logits = model.test_step(dict(inputs=[inputs], data_samples=[sample]))[0].seg_logits.data
            merged = merged + logits.softmax(0) / 4
        np.testing.assert_array_equal(maps['pred_sem_seg'][0], reference(path, merged.log()))


def test_stock_test_time_augmentation_is_refused(folder, tmp_path):
    """Its samples carry the last view's logits; refining those would silently give another answer."""
    runner = make_runner(
        SegTTAModel(module=make_model()), make_dataset(folder, TTA_PIPELINE), tmp_path, [DenseCRFHook(workers=0)]
    )
    with pytest.raises(ValueError, match="tta_model = dict\\(type='DeepLabTTA'\\)"):
        runner.test()


def test_two_hooks_for_one_loop_are_refused(folder, tmp_path):
    """The first would win, silently, and the network would run twice."""
    hooks = [DenseCRFHook(workers=0, **VALUES), DenseCRFHook(workers=0)]
    with pytest.raises(ValueError, match='two hooks that refine'):
        make_runner(make_model(), make_dataset(folder), tmp_path, hooks).test()


@pytest.mark.parametrize(
    ('given', 'expected'),
    [
        (dict(crf='v1'), dict(type='DenseCRFHook', preset='v1')),
        (dict(refine=['guided', 'radius=4']), dict(type='RefinerHook', refiner='guided', radius=4)),
    ],
)
def test_an_option_takes_the_place_of_the_configs_hook(repo, tmp_path, given, expected):
    config = tmp_path / 'config.py'
    demo = repo / 'configs' / 'deeplabv3plus_mobilenetv2_demo.py'
    config.write_text(
        f"_base_ = {str(demo)!r}\ncustom_hooks = [dict(type='DenseCRFHook', bi_w=9), dict(type='EMAHook')]\n"
    )
    nothing = (
        'cfg_options',
        'data_root',
        'work_dir',
        'eval_output_stride',
        'out',
        'show_dir',
        'report',
        'crf',
        'crf_backend',
        'crf_mode',
        'refine',
    )
    args = Namespace(
        config=str(config), checkpoint='x.pth', launcher='none', local_rank=0, tta=False,
        **{**dict.fromkeys(nothing), **given},
    )  # fmt: skip
    hooks = load_test_config(args).custom_hooks
    assert hooks == [dict(type='EMAHook'), expected]


def test_the_preset_is_that_of_the_option():
    crf = DenseCRFHook(preset='v1').crf
    assert crf.parameters['bi_w'] == 5
    assert crf.parameters['bi_xy_std'] == 50


def test_a_single_channel_decides_at_its_own_threshold(folder, tmp_path):
    model = make_model(
        num_classes=2,
        out_channels=1,
        threshold=0.2,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=True, avg_non_ignore=True),
    )
    dataset = make_dataset(folder)
    p = network_logits(model, dataset)
    runner = make_runner(model, dataset, tmp_path, [DenseCRFHook(workers=0, iterations=0, **VALUES)])
    runner.test()
    for path, maps in runner.test_loop.evaluator.metrics[0].seen:
        np.testing.assert_array_equal(maps['pred_sem_seg'], p[path] > 0.2)
        assert 0 < maps['pred_sem_seg'].sum() < maps['pred_sem_seg'].numel()


@pytest.mark.parametrize('images', [5, 4, 1])
def test_two_processes_give_the_results_of_one(folder, tmp_path, monkeypatch, images):
    """The model hides in MMDistributedDataParallel; an odd image is repeated on a process, which must not count."""
    monkeypatch.chdir(tmp_path)  # MMEngine collects in the working directory
    model, dataset = make_model(DeepLab), make_dataset(folder).get_subset(range(images))
    alone = make_runner(model, dataset, tmp_path, [DenseCRFHook(workers=0, **VALUES)]).test()
    context = multiprocessing.get_context('fork')
    queue = context.Queue()

    def work(rank):
        os.environ['LOCAL_RANK'] = str(rank)
        address = f'file://{tmp_path}/rendezvous'
        torch.distributed.init_process_group('gloo', init_method=address, rank=rank, world_size=2)
        hooks = [DenseCRFHook(workers=0, **VALUES)]
        runner = make_runner(model, dataset, tmp_path, hooks, kind=DeepLabRunner, launcher='pytorch')
        queue.put((runner.test(), type(runner.model).__name__))
        queue.close()
        queue.join_thread()
        os._exit(0)

    processes = [context.Process(target=work, args=(rank,)) for rank in (0, 1)]
    for process in processes:
        process.start()
    assert [queue.get(timeout=300) for _ in processes] == [(alone, 'MMDistributedDataParallel')] * 2
    for process in processes:
        process.join(300)


def test_inference_on_files_and_arrays_shares_the_code(folder):
    """An array names no file: the picture then comes from the network's input, which is BGR and here resized."""
    model = make_model()
    path = str(folder / 'images' / '0.png')
    model.cfg = ConfigDict(test_pipeline=[dict(type='LoadImageFromFile'), dict(type='PackSegInputs')])
    logits = inference_model(model, path).seg_logits.data
    detach = attach(model, DenseCRF(input='logits', **VALUES))
    from_file = inference_model(model, path)
    from_array = inference_model(model, mmcv.imread(path))
    np.testing.assert_array_equal(from_file.pred_sem_seg.data[0], reference(path, logits))
    assert torch.equal(from_file.pred_sem_seg.data, from_array.pred_sem_seg.data)
    model.cfg.test_pipeline.insert(1, dict(type='Resize', scale=(180, 100)))
    model.data_preprocessor.test_cfg = None
    assert inference_model(model, mmcv.imread(path)).pred_sem_seg.shape == logits.shape[1:]
    views = make_dataset(folder, TTA_PIPELINE)[0]
    tta = DeepLabTTA(module=model)
    detach()
    attach(tta, DenseCRF(input='logits', **VALUES))
    data = {key: [[view] for view in value] for key, value in views.items()}
    with torch.no_grad():
        assert 'pred_sem_seg_before_crf' in tta.test_step(data)[0]
    assert 'seg_logits' in inference_model(model, mmcv.imread(path))


@pytest.mark.parametrize(
    'wrong, message',
    [
        (dict(stages=('train',)), 'stages'),
        (dict(workers=-1), 'workers=-1'),
        (dict(workers='2'), "workers='2'"),
        (dict(bi_w=4, bi_xy=67), "takes no 'bi_xy'; it takes: preset, iterations"),
        (dict(preset='v2_r10'), "did you mean 'v2_r101'"),
    ],
)
def test_wrong_arguments_are_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        DenseCRFHook(**wrong)


def test_the_image_whose_logits_are_broken_is_named(folder, tmp_path):
    model = make_model()
    nn.init.constant_(model.decode_head.conv_seg.bias, float('nan'))
    runner = make_runner(model, make_dataset(folder), tmp_path, [DenseCRFHook(workers=1, **VALUES)])
    with pytest.raises(ValueError, match=r'images/0\.png: .*NaN'):
        runner.test()


class Stop(Hook):
    """Interrupts a test after its second batch, as Ctrl-C does."""

    def after_test_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if batch_idx == 1:
            raise KeyboardInterrupt


@pytest.mark.parametrize('workers', [0, 2])
def test_an_interrupted_test_leaves_model_and_runner_usable(folder, tmp_path, workers):
    model, dataset = make_model(DeepLab), make_dataset(folder)
    stop = Stop()
    hook = DenseCRFHook(workers=workers, **VALUES)
    runner = make_runner(model, dataset, tmp_path, [hook, stop])
    with pytest.raises(KeyboardInterrupt):
        runner.test()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith('dense_crf')]
    assert not [name for name in vars(model) if name in ('test_step', 'val_step', 'predict')]
    with torch.no_grad():
        assert 'seg_logits' not in model.test_step(pseudo_collate([dataset[0]]))[0]
    runner.hooks.remove(stop)
    logits = network_logits(make_model(), dataset)
    runner.test()
    seen = runner.test_loop.evaluator.metrics[0].seen[-5:]
    for path, maps in seen:
        np.testing.assert_array_equal(maps['pred_sem_seg'][0], reference(path, logits[path]))


def test_what_waits_is_bounded_in_bytes(folder, tmp_path, monkeypatch):
    """Eight workers could take all five images ahead; their logits may not wait all at once."""
    model, dataset = make_model(), make_dataset(folder)
    one = 4 * 3 * 62 * 62
    waiting = []
    submit = loops._RefiningLoop._submit

    def watched(self, *arguments):
        new = submit(self, *arguments)
        waiting.append(new.bytes + sum(each.bytes for each in self._waiting))
        return new

    monkeypatch.setattr(loops._RefiningLoop, '_submit', watched)
    monkeypatch.setattr(loops, 'CRFPool', lambda crf, workers: Eight(crf, 1))
    peaks = []
    for bound in (2**30, one):
        waiting.clear()
        monkeypatch.setattr(loops, 'WAITING_BYTES', bound)
        make_runner(model, dataset, tmp_path, [DenseCRFHook(workers=8, **VALUES)]).test()
        peaks.append(max(waiting))
    assert peaks[0] > 3 * one and peaks[1] < 2.5 * one


class Eight(CRFPool):
    """A pool of one that says to have eight workers."""

    @property
    def workers(self):
        return 8

    @workers.setter
    def workers(self, number):
        pass


def test_a_loop_of_another_kind_is_named(folder, tmp_path):
    class OwnLoop(StockLoop):
        pass

    runner = make_runner(make_model(), make_dataset(folder), tmp_path, [DenseCRFHook(workers=0, **VALUES)])
    runner._test_loop = OwnLoop(runner, runner._test_dataloader, runner._test_evaluator)
    with pytest.raises(ValueError, match=r"test_cfg\.type='OwnLoop'.*RefiningTestLoop"):
        runner.test()


def test_the_time_of_the_crf_has_a_name_of_its_own(folder, tmp_path, monkeypatch):
    """Waiting for it is not loading."""
    call = DenseCRF.__call__
    monkeypatch.setattr(DenseCRF, '__call__', lambda self, *args: time.sleep(0.2) or call(self, *args))
    runner = make_runner(make_model(), make_dataset(folder), tmp_path, [DenseCRFHook(workers=0, **VALUES)])
    runner.test()
    scalars = runner.message_hub.log_scalars
    assert scalars['test/crf_time'].mean() > 0.2 > scalars['test/data_time'].mean()


def batch_norms(model: nn.Module) -> int:
    return sum(isinstance(layer, nn.BatchNorm2d) for layer in model.modules())


def small_deeplab() -> DeepLab:
    torch.manual_seed(0)
    backbone = dict(type='DeepLabMobileNetV2', width=0.25)
    head = dict(type='DeepLabV3Head', num_classes=3, channels=8)
    preprocessor = dict(type='SegDataPreProcessor', mean=[127.5] * 3, std=[30.0] * 3, test_cfg=dict(size=(96, 96)))
    model = DeepLab(backbone=backbone, decode_head=head, data_preprocessor=preprocessor, keep_seg_logits=True)
    model.init_weights()
    for name, value in model.named_buffers():
        if name.endswith('running_var'):
            nn.init.uniform_(value, 0.5, 2)
    return model


class Seen(Hook):
    """The labels of a test, and how many batch norms the network had that the runner knows."""

    def __init__(self):
        self.labels = []

    def after_test_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.labels.append(outputs[0].pred_sem_seg.data)
        self.norms = batch_norms(runner.model)


def test_a_test_folds_a_copy_so_that_training_can_follow(folder, tmp_path, monkeypatch):
    init_default_scope('mmseg')
    model, dataset, seen = small_deeplab(), make_dataset(folder), Seen()
    steps = []
    step = DeepLab.test_step
    monkeypatch.setattr(DeepLab, 'test_step', lambda self, data: steps.append(batch_norms(self)) or step(self, data))
    norms, state = batch_norms(model), {key: value.clone() for key, value in model.state_dict().items()}
    make_runner(model, dataset, tmp_path, [FastInferenceHook(), seen]).test()
    assert steps == [0] * 5 and seen.norms == batch_norms(model) == norms
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def test_averaged_weights_are_what_is_folded(folder, tmp_path):
    """EMAHook exchanges the parameters of the model with those of its copy when a test begins and ends."""
    init_default_scope('mmseg')
    dataset, average = make_dataset(folder), small_deeplab()
    average.decode_head.conv_seg.bias.data = torch.tensor([0.0, 1e6, 0.0])
    for hooks in ([], [FastInferenceHook()]):
        model, ema, seen = small_deeplab(), EMAHook(), Seen()
        model.decode_head.conv_seg.bias.data = torch.tensor([1e6, 0.0, 0.0])
        runner = make_runner(model, dataset, tmp_path, [ema, *hooks, seen])
        runner.call_hook('before_run')
        ema.ema_model.module.load_state_dict(average.state_dict())
        ema.before_run = lambda runner: None
        runner.test()
        assert torch.cat([label.flatten() for label in seen.labels]).unique().tolist() == [1]


class Autocast(DeepLab):
    """A network of its own type, whose method is watched."""

    def _forward(self, inputs, data_samples=None):
        logits = super()._forward(inputs, data_samples)
        TYPES.append(logits.dtype)
        return logits


TYPES = []


@pytest.mark.parametrize(
    'settings', [dict(crf=dict(iterations=1), workers=0), dict(crf=dict(iterations=1), workers=1), dict(fast=True), {}]
)
def test_fp16_reaches_the_network_whatever_the_loop_adds(folder, tmp_path, settings):
    """bfloat16 on the CPU; the CRF itself takes its logits as float32."""
    for fp16 in (True, False):
        runner = make_runner(make_model(Autocast), make_dataset(folder), tmp_path, [])
        loop = loops.RefiningTestLoop(runner, runner._test_dataloader, [Labels()], fp16=fp16, **settings)
        TYPES.clear()
        runner.call_hook('before_run')
        assert loop.run() == dict(images=5)
        assert set(TYPES) == {torch.bfloat16 if fp16 else torch.float32}


def test_a_crf_on_the_gpu_begins_no_workers(folder, tmp_path, monkeypatch):
    """Processes that refine on the CPU would only take time to begin; whole batches are refined where they are."""
    monkeypatch.setattr(loops, 'CRFPool', lambda *args: pytest.fail('a pool was begun'))
    batches = []
    for backend in ('torch', 'auto'):
        runner = make_runner(make_model(), make_dataset(folder), tmp_path, [], batch_size=2)
        crf = dict(backend=backend, iterations=1)
        loop = loops.RefiningTestLoop(runner, runner._test_dataloader, [Recorder()], crf=crf, workers=3)
        with gpu():
            runner.model = runner.model.to('cuda')
            monkeypatch.setattr(StockLoop, 'run', lambda self: batches.append(self._pool))
            loop.run()
    assert batches == [None, None]


def test_samples_without_a_file_are_refined_with_the_pictures_of_the_batch(folder, tmp_path):
    class Anonymous(BaseSegDataset):
        def __getitem__(self, index):
            data = super().__getitem__(index)
            del data['data_samples'].img_path
            return data

    known, model = make_dataset(folder), make_model()
    logits = network_logits(model, known)
    dataset = make_dataset(folder)
    dataset.__class__ = Anonymous
    for workers in (0, 1):
        runner = make_runner(model, dataset, tmp_path, [DenseCRFHook(workers=workers, **VALUES)])
        runner._test_evaluator[:] = [Labels()]
        runner.test()
        for label, (path, scores) in zip(runner.test_loop.evaluator.metrics[0].seen, logits.items(), strict=True):
            np.testing.assert_array_equal(label[0], reference(path, scores))


def test_an_empty_loader_is_named(folder, tmp_path):
    dataset = make_dataset(folder)
    dataset.data_list, dataset.serialize_data = [], False
    dataset.__class__ = type('Empty', (BaseSegDataset,), dict(__len__=lambda self: 0))
    for stage in ('val', 'test'):
        runner = make_runner(make_model(), dataset, tmp_path, [DenseCRFHook(workers=0)])
        with pytest.raises(ValueError, match=f'{stage}_dataloader has no image'):
            getattr(runner, stage)()


def test_averages_go_back_where_a_test_is_interrupted(folder, tmp_path):
    """EMAHook would leave them in the model, and the next test would exchange them once more."""
    model, dataset, ema = make_model(DeepLab), make_dataset(folder), EMAHook()
    own = {name: value.clone() for name, value in model.state_dict().items()}
    stop = Stop()
    runner = make_runner(model, dataset, tmp_path, [ema, stop], kind=DeepLabRunner)
    runner._test_evaluator[:] = [Labels()]
    runner.call_hook('before_run')
    for value in ema.ema_model.module.parameters():
        value.data.add_(1)
    ema.before_run = lambda runner: None
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            runner.test()
        assert all(torch.equal(value, own[name]) for name, value in model.state_dict().items())
    runner.hooks.remove(stop)
    runner.test()
    assert all(torch.equal(value, own[name]) for name, value in model.state_dict().items())


def test_a_segmentor_without_logits_is_named(folder, tmp_path):
    class LabelsOnly(EncoderDecoder):
        def postprocess_result(self, *args):
            samples = super().postprocess_result(*args)
            for sample in samples:
                del sample.seg_logits
            return samples

    runner = make_runner(make_model(LabelsOnly), make_dataset(folder), tmp_path, [DenseCRFHook(workers=0)])
    with pytest.raises(ValueError, match='LabelsOnly predicts label maps without seg_logits'):
        runner.test()
