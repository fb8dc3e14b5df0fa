"""`init_model(runtime='onnxruntime')`: the answers of the torch path, from one thread or several."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from export_helpers import MOBILENET, patches, small

from mmseg_deeplab.errors import UserError
from mmseg_deeplab.inference import ExportError, init_model, predict
from mmseg_deeplab.inference.runtime import move_to_onnxruntime


@pytest.fixture(params=[MOBILENET, 'deeplabv2_r101_voc'])
def models(repo, tmp_path, request):
    """A network in torch and in ONNX Runtime."""
    pytest.importorskip('onnxruntime', reason='onnxruntime is not installed')
    torch_model = small(repo, tmp_path, request.param)
    other = init_model(torch_model.cfg, tmp_path / 'model.pth', device='cpu', runtime='onnxruntime')
    return torch_model, other


def test_labels_and_probabilities_are_those_of_torch(models):
    for size in ((65, 65), (50, 80)):
        wanted, found = (predict(model, patches(*size)) for model in models)
        np.testing.assert_array_equal(found.labels, wanted.labels)
        np.testing.assert_allclose(found.probabilities(), wanted.probabilities(), atol=1e-3)
        assert len(np.unique(found.labels)) > 1


def test_the_network_does_not_run_in_torch(models, monkeypatch):
    wanted = predict(models[1], patches(65, 65)).labels
    monkeypatch.setattr(models[1].backbone, 'forward', None)
    np.testing.assert_array_equal(predict(models[1], patches(65, 65)).labels, wanted)


def test_batches_the_crf_test_time_augmentation_and_threads(models):
    pictures = [patches(40, 50), patches(40, 50)[::-1].copy(), patches(33, 70)]
    for options in (dict(batch_size=2), dict(crf='fast', workers=0), dict(tta=True)):
        wanted, found = ([p.labels for p in predict(model, pictures, **options)] for model in models)
        for one, other in zip(wanted, found, strict=True):
            assert (one == other).mean() > 0.999  # the CRF and the mean over views round on
    with ThreadPoolExecutor(4) as pool:
        for labels in pool.map(lambda _: predict(models[1], pictures[0]).labels, range(8)):
            np.testing.assert_array_equal(labels, predict(models[1], pictures[0]).labels)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(runtime='tensorrt'), "choose 'torch' or 'onnxruntime'"),
        (dict(runtime='onnxruntime', compile=True), 'compile=True is for'),
    ],
)
def test_options_that_do_not_go_together(repo, tmp_path, options, message):
    model = small(repo, tmp_path, MOBILENET)
    with pytest.raises(UserError, match=message):
        init_model(model.cfg, tmp_path / 'model.pth', device='cpu', **options)


def test_other_models_and_precisions(repo, tmp_path):
    with pytest.raises(UserError, match='not a Linear'):
        move_to_onnxruntime(torch.nn.Linear(1, 1))
    model = small(repo, tmp_path, MOBILENET)
    model.inference_dtype = torch.bfloat16
    with pytest.raises(UserError, match='leave precision out'):
        move_to_onnxruntime(model)


def test_a_runtime_that_answers_differently_is_refused(repo, tmp_path, monkeypatch):
    pytest.importorskip('onnxruntime', reason='onnxruntime is not installed')
    model = small(repo, tmp_path, MOBILENET)
    monkeypatch.setattr(
        'mmseg_deeplab.inference.runtime.onnxruntime_of',
        lambda path: ('another', lambda x: [np.random.default_rng(0).normal(size=(len(x), 21, 9, 7))]),
    )
    with pytest.raises(ExportError, match='another'):
        move_to_onnxruntime(model)
