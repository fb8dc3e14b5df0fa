"""`init_model` and `segment`, on files and arrays, with and without the CRF."""

import copy
import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import init_default_scope
from mmseg.apis import inference_model
from mmseg.registry import MODELS
from PIL import Image
from pretended_gpu import gpu
from torch import nn

from mmseg_deeplab.apis import init_model, predict, segment
from mmseg_deeplab.checkpoints import CheckpointMismatchError
from mmseg_deeplab.crf import DenseCRF
from mmseg_deeplab.crf.presets import load_preset
from mmseg_deeplab.inference import GuidedFilter, UnreadablePicturesError, keep_logits


@pytest.fixture(scope='module')
def saved(repo, tmp_path_factory) -> tuple[Config, str]:
    """A small config of the demo, with SyncBN, and a checkpoint of it."""
    cfg = Config.fromfile(repo / 'configs' / 'deeplabv3plus_mobilenetv2_demo.py')
    init_default_scope('mmseg')
    cfg.model.backbone.width = 0.25
    cfg.model.decode_head.channels = 16
    cfg.model.norm_cfg.type = 'SyncBN'
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp('apis') / 'model.pth'
    model = MODELS.build(cfg.model)
    model.init_weights()
    nn.init.normal_(model.decode_head.conv_seg.weight, std=1)  # else one class wins everywhere
    torch.save(dict(state_dict=model.state_dict(), meta={}), path)
    return cfg, str(path)


@pytest.fixture(scope='module')
def picture() -> np.ndarray:
    patches = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return patches.repeat(20, axis=0).repeat(21, axis=1)


def test_file_and_array_give_the_same_labels_at_the_original_size(saved, picture, tmp_path):
    model = init_model(*saved, device='cpu')
    assert not model.training and not any(isinstance(layer, nn.SyncBatchNorm) for layer in model.modules())
    assert model.dataset_meta['classes'][1] == 'zebra'
    Image.fromarray(picture).save(tmp_path / 'picture.png')
    from_array = segment(model, picture)
    assert from_array.shape == (100, 126) and from_array.dtype == np.uint8
    np.testing.assert_array_equal(segment(model, tmp_path / 'picture.png'), from_array)
    np.testing.assert_array_equal(segment(model, picture), from_array)
    assert not np.array_equal(segment(model, picture[..., ::-1].copy()), from_array)  # so the order of colours counts


def test_windows_keep_no_logits_of_the_picture_s_size(saved, picture, monkeypatch, tmp_path):
    """MMSegmentation's slide mode: labels without them, probabilities those of its own inference."""
    cfg, checkpoint = copy.deepcopy(saved[0]), saved[1]
    cfg.model.test_cfg = dict(mode='slide', crop_size=(65, 65), stride=(43, 43))
    model = init_model(cfg, checkpoint, device='cpu')
    kept = []
    inference = type(model).slide_inference
    monkeypatch.setattr(type(model), 'slide_inference', lambda *args: kept.append(inference(*args)) or kept[-1])
    prediction = predict(model, picture)
    assert prediction.labels.shape == (100, 126) and not kept
    probabilities = prediction.probabilities()
    (logits,) = kept
    np.testing.assert_allclose(probabilities, logits[0].softmax(0), rtol=1e-6)
    np.testing.assert_array_equal(prediction.labels, logits[0].argmax(0))
    assert len(np.unique(prediction.labels)) > 1

    for name in 'good.png', 'bad.png':
        Image.fromarray(picture).save(tmp_path / name)
    clean = type(model).encode_decode

    def second_is_nan(self, inputs, metas):
        logits = clean(self, inputs, metas)
        return torch.cat([logits[:1], logits[1:] * torch.nan])

    monkeypatch.setattr(type(model), 'encode_decode', second_is_nan)
    with pytest.raises(ValueError, match='bad.png: .*NaN or infinite'):
        list(predict(model, [tmp_path / 'good.png', tmp_path / 'bad.png'], batch_size=2))


def test_the_crf_is_taken_for_one_call(saved, picture):
    pytest.importorskip('pydensecrf', reason='pydensecrf2 is not installed')
    model = init_model(*saved, device='cpu')
    plain = segment(model, picture)
    assert segment(model, picture, crf='v2_r101').shape == plain.shape
    np.testing.assert_array_equal(segment(model, picture), plain)


@pytest.mark.parametrize('workers', [0, 2])
def test_another_refiner_is_taken_as_the_crf_is(saved, picture, workers):
    model = init_model(*saved, device='cpu')
    network = predict(model, picture)
    expected = GuidedFilter()(picture, torch.from_numpy(network.probabilities()).log())
    refined = predict(model, picture, crf=GuidedFilter(), workers=workers)
    np.testing.assert_allclose(refined.probabilities(), expected, atol=1e-5)
    assert (refined.labels == expected.argmax(0).numpy()).mean() > 0.999
    assert (refined.labels != network.labels).any()


def test_a_gpu_gives_the_labels_of_the_cpu(saved, picture):
    wanted = segment(init_model(*saved, device='cpu'), picture, crf='fast')
    with gpu():
        labels = segment(init_model(*saved, device='cuda'), picture, crf='fast')
    assert isinstance(labels, np.ndarray) and (labels == wanted).mean() > 0.99


def test_classes_that_only_the_datasets_files_tell(saved, repo, tmp_path):
    cfg, checkpoint = saved
    cfg = Config(cfg.to_dict())
    folder = Config.fromfile(repo / 'configs/_base_/datasets/image_mask_folder.py').test_dataloader
    cfg.test_dataloader = {**folder, 'dataset': {**folder.dataset, 'data_root': str(tmp_path)}}
    with pytest.raises(ValueError, match=r'names no classes.*ImageMaskFolder.*classes\.txt'):
        init_model(cfg, checkpoint, device='cpu')
    (tmp_path / 'classes.txt').write_text('land, 1, 2, 3\nwater, 4, 5, 6\n')
    meta = init_model(cfg, checkpoint, device='cpu').dataset_meta
    assert list(meta['classes']) == ['land', 'water'] and meta['palette'] == [[1, 2, 3], [4, 5, 6]]


def test_mistakes_are_explained(saved, picture, tmp_path):
    cfg, checkpoint = saved
    with pytest.raises(FileNotFoundError, match='no_such_config.py'):
        init_model('no_such_config.py', checkpoint)
    other = Config(cfg.to_dict())
    other.model.num_classes = 3
    with pytest.raises(CheckpointMismatchError):
        init_model(other, checkpoint, device='cpu')
    model = init_model(cfg, checkpoint, device='cpu')
    with pytest.raises(FileNotFoundError, match='none.jpg'):
        segment(model, tmp_path / 'none.jpg')
    with pytest.raises(ValueError, match='uint8 pixels'):
        segment(model, picture.astype(np.float32))
    with pytest.raises(ValueError, match='v9'):
        segment(model, picture, crf='v9')


def labels_of_the_test_loop(cfg: Config, checkpoint: str, paths: list, crf: str | None = None, tta=False) -> list:
    """What a loop of MMEngine gets for files, without `predict`."""
    model = init_model(cfg, checkpoint, device='cpu')
    steps = cfg.tta_pipeline if tta else cfg.test_dataloader.dataset.pipeline
    steps = [step for step in steps if step['type'] != 'LoadLabels']
    if tta:
        steps = copy.deepcopy(steps)
        steps[1].transforms = [group for group in steps[1].transforms if group[0]['type'] != 'LoadLabels']
    pipeline = Compose(steps)
    network = MODELS.build({**cfg.tta_model, 'module': model}) if tta else model
    labels = []
    for path in paths:
        with torch.no_grad(), keep_logits(network):
            sample = network.test_step(pseudo_collate([pipeline(dict(img_path=str(path)))]))[0]
        if crf:
            q = DenseCRF(**load_preset(crf), input='logits')(np.array(Image.open(path)), sample.seg_logits.data)
            labels.append(q.argmax(0).numpy())
        else:
            labels.append(sample.seg_logits.data.argmax(0).numpy())
    return labels


@pytest.fixture(scope='module')
def pictures(tmp_path_factory) -> list:
    """Five pictures of three sizes."""
    folder = tmp_path_factory.mktemp('pictures')
    rng = np.random.default_rng(1)
    paths = []
    for number, (height, width) in enumerate(((50, 60), (50, 60), (41, 77), (33, 33), (33, 33))):
        patches = rng.integers(0, 256, (height // 10 + 1, width // 10 + 1, 3), dtype=np.uint8)
        pixels = patches.repeat(10, axis=0).repeat(10, axis=1)[:height, :width]
        paths.append(folder / f'{number}.png')
        Image.fromarray(pixels).save(paths[-1])
    return paths


@pytest.mark.parametrize(
    'options', [{}, dict(batch_size=2), dict(crf='v2_r101'), dict(crf='v2_r101', workers=0), dict(tta=True)]
)
def test_predictions_are_those_of_a_test(saved, pictures, options):
    cfg, checkpoint = saved
    model = init_model(cfg, checkpoint, device='cpu')
    before = {key: value.clone() for key, value in model.state_dict().items()}
    wanted = labels_of_the_test_loop(cfg, checkpoint, pictures, options.get('crf'), options.get('tta', False))
    found = list(predict(model, pictures[0].parent, **options))
    assert [prediction.name for prediction in found] == [str(path) for path in pictures]
    for prediction, labels in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(prediction.labels, labels)
        p = prediction.probabilities()
        assert p.dtype == np.float32 and p.shape == (7, *labels.shape)
        np.testing.assert_allclose(p.sum(0), 1, atol=1e-5)
        assert (p.argmax(0) == labels).mean() > 0.999
        assert sum(prediction.areas.values()) == labels.size
    assert len({label for labels in wanted for label in np.unique(labels)}) > 1
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert not model.keep_seg_logits and 'test_step' not in vars(model)


def test_any_segmentor_of_mmsegmentation(pictures):
    """With what MMSegmentation's own `init_model` hangs on it."""
    init_default_scope('mmseg')
    preprocessor = dict(type='SegDataPreProcessor', mean=[127.5] * 3, std=[127.5] * 3, bgr_to_rgb=True)
    head = dict(type='FCNHead', in_channels=3, in_index=1, channels=4, num_classes=4, num_convs=1)
    one = dict(strides=(1, 1), enc_num_convs=(1, 1), dec_num_convs=(1,), enc_dilations=(1, 1), dec_dilations=(1,))
    backbone = dict(type='UNet', base_channels=3, num_stages=2, downsamples=(False,), **one)
    cfg = dict(type='EncoderDecoder', data_preprocessor=preprocessor, backbone=backbone, decode_head=head)
    torch.manual_seed(0)
    model = MODELS.build({**cfg, 'test_cfg': ConfigDict(mode='whole')}).eval()
    model.cfg = Config(dict(test_pipeline=[dict(type='LoadImageFromFile'), dict(type='PackSegInputs')]))
    model.dataset_meta = dict(classes=list('abcd'), palette=[[k, k, k] for k in range(4)])
    for path in pictures[:2]:
        expected = inference_model(model, str(path))
        prediction = predict(model, path)
        np.testing.assert_array_equal(prediction.labels, expected.pred_sem_seg.data[0].numpy())
        np.testing.assert_allclose(prediction.probabilities(), expected.seg_logits.data.softmax(0).numpy(), atol=1e-6)


def test_eight_threads_on_one_model_give_what_one_gives(saved, pictures):
    model = init_model(*saved, device='cpu')
    jobs = [(path, crf) for path in pictures[:4] for crf in (None, 'v1')]
    wanted = [predict(model, path, crf=crf, workers=0).labels for path, crf in jobs]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda job: predict(model, job[0], crf=job[1], workers=0).labels, jobs * 2))
    for labels, expected in zip(found, wanted * 2, strict=True):
        np.testing.assert_array_equal(labels, expected)


def test_what_can_not_be_read_is_named_and_the_rest_goes_on(saved, pictures, tmp_path):
    model = init_model(*saved, device='cpu')
    (tmp_path / 'broken.png').write_bytes(pictures[0].read_bytes()[:60])
    (tmp_path / 'empty.jpg').write_bytes(b'')
    source = [pictures[0], tmp_path / 'broken.png', pictures[1], tmp_path / 'empty.jpg', pictures[2]]
    found = []
    with pytest.raises(UnreadablePicturesError, match=r'2 pictures could not be used') as error:
        for prediction in predict(model, source, batch_size=2):
            found.append(prediction.name)
    assert found == [str(path) for path in pictures[:3]]
    assert [name for name, _ in error.value.errors] == [str(source[1]), str(source[3])]
    with pytest.raises(ValueError, match=r'broken\.png'):
        predict(model, tmp_path / 'broken.png')


def test_a_network_of_nan_is_named(saved, picture):
    model = init_model(*saved, device='cpu')
    nn.init.constant_(model.decode_head.conv_seg.bias, float('nan'))
    with pytest.raises(ValueError, match='image 0: the network answers with NaN'):
        predict(model, picture)


def test_files_of_a_prediction(saved, picture, tmp_path):
    prediction = predict(init_model(*saved, device='cpu'), picture)
    files = {kind: tmp_path / 'new' / f'{kind}{suffix}' for kind, suffix in
             (('mask', '.png'), ('overlay', '.jpg'), ('probabilities', '.npz'), ('confidence', '.png'))}  # fmt: skip
    prediction.save(**files)
    mask = Image.open(files['mask'])
    np.testing.assert_array_equal(np.array(mask), prediction.labels)
    assert mask.mode == 'P' and mask.getpalette()[3:6] == list(prediction.palette[1])
    p = np.load(files['probabilities'])
    np.testing.assert_allclose(p['probabilities'], prediction.probabilities(), atol=1e-3)
    assert p['classes'][1] == 'zebra'
    levels = np.array(Image.open(files['confidence'])).astype(np.float64)
    np.testing.assert_allclose(levels / 65535, prediction.confidence, atol=1e-5)
    assert Image.open(files['overlay']).width >= picture.shape[1]
    assert Image.open(io.BytesIO(prediction._repr_png_())).width >= picture.shape[1]
    with pytest.raises(ValueError, match=r'mask\.gif can not be written: name it \.png'):
        prediction.save(mask=tmp_path / 'mask.gif')
    assert sorted(path.name for path in (tmp_path / 'new').iterdir()) == sorted(path.name for path in files.values())


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(batch_size=0), 'batch_size=0'),
        (dict(crf=DenseCRF()), "use DenseCRF\\(input='logits'\\)"),
        (dict(crf='v9'), 'v9'),
    ],
)
def test_wrong_options_are_named_at_once(saved, options, message):
    model = init_model(*saved, device='cpu')
    with pytest.raises(ValueError, match=message):
        predict(model, ['never_looked_at.png'], **options)


def test_another_output_stride_and_precision(saved, picture, monkeypatch, caplog):
    cfg, checkpoint = saved
    dense = init_model(cfg, checkpoint, device='cpu', output_stride=8)
    assert dense.output_stride == 8 and cfg.model.get('output_stride', 16) == 16
    for precision, message in (('fp16', 'needs a GPU'), ('int8', "precision='int8'")):
        with pytest.raises(ValueError, match=message):
            init_model(cfg, checkpoint, device='cpu', precision=precision)
    plain = predict(init_model(cfg, checkpoint, device='cpu'), picture).labels
    for pays in (True, False):
        monkeypatch.setattr('mmseg_deeplab.inference.model.bf16_pays', lambda pays=pays: pays)
        model = init_model(cfg, checkpoint, device='cpu', precision='bf16')
        assert (model.inference_dtype is torch.bfloat16) == pays
        assert (predict(model, picture).labels == plain).mean() > 0.9
