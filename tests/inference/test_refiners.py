"""The guided filter and SAM: against brute force, their peers, and what they are defined to do."""

import json
import sys

import cv2
import numpy as np
import pytest
import torch

from mmseg_deeplab.cli.options import refiner_of
from mmseg_deeplab.errors import UserError
from mmseg_deeplab.inference import GuidedFilter, SAMRefiner, make_refiner
from mmseg_deeplab.inference import sam as sam_module


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (13, 11, 3), dtype=np.uint8)


def fitted(image: np.ndarray, p: np.ndarray, radius: int, eps: float) -> np.ndarray:
    """The paper's definition: a ridge regression in every window, and the mean of those around a pixel."""
    height, width = p.shape
    colours = image / 255
    sums, counts = np.zeros_like(p), np.zeros_like(p)
    for y in range(height):
        for x in range(width):
            window = np.s_[max(y - radius, 0) : y + radius + 1, max(x - radius, 0) : x + radius + 1]
            guide, target = colours[window].reshape(-1, 3), p[window].ravel()
            centred = guide - guide.mean(0)
            a = np.linalg.solve(
                centred.T @ centred / len(guide) + eps * np.eye(3), centred.T @ (target - target.mean()) / len(guide)
            )
            sums[window] += colours[window] @ a + target.mean() - a @ guide.mean(0)
            counts[window] += 1
    return sums / counts


@pytest.mark.parametrize(('radius', 'eps'), [(1, 1e-3), (3, 1e-2), (20, 1e-4)])
def test_the_guided_filter_is_the_papers(image, radius, eps):
    logits = 3 * torch.randn(4, 13, 11, generator=torch.Generator().manual_seed(0))
    expected = np.stack([fitted(image, p, radius, eps) for p in logits.double().softmax(0).numpy()])
    expected = expected.clip(0)
    refined = GuidedFilter(radius, eps)(image, logits)
    assert refined.dtype == torch.float32
    np.testing.assert_allclose(refined.numpy(), expected / expected.sum(0), atol=1e-6)


def test_the_guided_filter_is_opencvs_away_from_the_borders():
    if not hasattr(cv2, 'ximgproc'):
        pytest.skip('this OpenCV has no ximgproc: pip install opencv-contrib-python')
    rng = np.random.default_rng(0)
    image = cv2.GaussianBlur(rng.integers(0, 256, (60, 70, 3), dtype=np.uint8), (0, 0), 2)
    p = cv2.GaussianBlur(rng.random((60, 70), np.float32), (0, 0), 2)
    p = (p - p.min()) / (p.max() - p.min())
    logits = torch.from_numpy(np.stack([p, 1 - p])).clamp(min=1e-12).log()
    peer = cv2.ximgproc.guidedFilter(image.astype(np.float32) / 255, p, 4, 1e-2)
    np.testing.assert_allclose(GuidedFilter(4, 1e-2)(image, logits)[0, 8:-8, 8:-8], peer[8:-8, 8:-8], atol=1e-4)


def test_an_edge_moves_to_the_pictures():
    image = np.full((40, 60, 3), 60, np.uint8)
    image[:, 30:] = 200
    logits = torch.stack([torch.linspace(3, -3, 60) + 0.3, torch.zeros(60)])[:, None].repeat(1, 40, 1)
    assert (logits.argmax(0) != (torch.arange(60) >= 30)).any()
    assert torch.equal(GuidedFilter()(image, logits).argmax(0), (torch.arange(60) >= 30).long().expand(40, 60))


def test_lists_give_lists_and_pictures_that_are_none_are_refused(image):
    logits = torch.randn(2, 13, 11)
    refined = GuidedFilter()([image, image[:9]], [logits, logits[:, :9]])
    assert [tuple(each.shape) for each in refined] == [(2, 13, 11), (2, 9, 11)]
    for picture, scores, told in (
        (image.astype(np.float32), logits, '8-bit RGB'),
        (image[..., :1], logits, '8-bit RGB'),
        (image[:9], logits, r'\(9, 11\) pixels, the logits \(13, 11\)'),
        (image, logits.log(), 'NaN or infinite'),
    ):
        with pytest.raises(UserError, match=told):
            GuidedFilter()(picture, scores)


@pytest.mark.parametrize(
    ('name', 'parameters', 'told'),
    [
        ('guided', dict(radius=0), 'radius=0'),
        ('guided', dict(radius=2.5), 'radius=2.5'),
        ('guided', dict(eps=0), 'eps=0'),
        ('guided', dict(eps='small'), "eps='small'"),
        ('guided', dict(sigma=1), "'sigma'; it takes radius, eps"),
        ('sam', dict(), "'weights'; it takes weights, agreement, background"),
        ('sam', dict(weights='x', agreement=2), 'agreement=2'),
        ('sam', dict(weights='x', background='sky'), "background='sky'"),
        ('crf', dict(), "no refiner 'crf'; there are guided, sam"),
    ],
)
def test_wrong_arguments_are_named(name, parameters, told):
    with pytest.raises(UserError, match=told):
        make_refiner(name, **parameters)


def test_the_option_is_a_name_and_its_parameters():
    class Args:
        crf = None
        refine = ['guided', 'radius=4', 'eps=1e-2']

    assert refiner_of(Args) == dict(refiner='guided', radius=4, eps=0.01)
    Args.refine = ['sam', 'weights=/some/folder', 'background=None']
    assert refiner_of(Args) == dict(refiner='sam', weights='/some/folder', background=None)
    Args.refine = ['guided', 'refiner=sam']
    with pytest.raises(UserError, match='once'):
        refiner_of(Args)
    Args.refine, Args.crf = ['guided'], 'v1'
    with pytest.raises(UserError, match='--crf and --refine'):
        refiner_of(Args)


class Masks(SAMRefiner):
    """SAM whose masks are given: those that `answers` has for the regions' innermost pixels."""

    def __init__(self, answers, **kwargs):
        self.answers, self.asked = answers, []
        self.agreement, self.background = kwargs.get('agreement', 0.5), kwargs.get('background', 0)
        self.model = self
        self.side = 64

    def to(self, device):
        return self

    def get_image_embeddings(self, pixels):
        return pixels

    def _mask(self, features, region, size):
        self.asked.append(region.sum())
        return torch.where(torch.from_numpy(self.answers(region)), 9.0, -9.0)


def scores(labels: np.ndarray, runner_up: int = 0) -> torch.Tensor:
    """Logits of three classes: the label is likely, `runner_up` comes next."""
    logits = torch.zeros(3, *labels.shape)
    logits[runner_up] += 2
    return logits.scatter(0, torch.from_numpy(labels).long()[None], 6.0)


def box(y: int, x: int, height: int, width: int) -> np.ndarray:
    mask = np.zeros((40, 60), bool)
    mask[y : y + height, x : x + width] = True
    return mask


def test_a_region_becomes_its_mask_and_what_is_left_the_next_best_class():
    region, mask = box(5, 5, 20, 20), box(5, 10, 20, 20)
    refiner = Masks(lambda _: mask)
    refined = refiner(np.zeros((40, 60, 3), np.uint8), scores(np.where(region, 1, 0), runner_up=2))
    # Outside of the region background was likely, and stays; within, but not in the mask, class 2 came next.
    expected = np.where(mask, 1, np.where(region, 2, 0))
    np.testing.assert_array_equal(refined.argmax(0), expected)
    np.testing.assert_allclose(refined.sum(0), 1, atol=1e-6)
    untouched = scores(np.where(region, 1, 0), runner_up=2).softmax(0)[:, ~(region | mask)]
    np.testing.assert_allclose(refined[:, ~(region | mask)], untouched, atol=1e-6)


def test_certain_scores_give_numbers():
    """The others' probability is 0 in single precision."""
    region, mask = box(5, 5, 20, 20), box(5, 10, 20, 20)
    logits = 1000 * torch.stack([torch.from_numpy(~region), torch.from_numpy(region)]).float()
    refined = Masks(lambda _: mask)(np.zeros((40, 60, 3), np.uint8), logits)
    np.testing.assert_array_equal(refined.argmax(0), mask)


def test_masks_of_other_things_small_regions_and_the_background_leave_the_answer():
    labels = np.where(box(5, 5, 20, 20), 1, np.where(box(30, 30, 7, 9), 2, 0))
    refiner = Masks(lambda region: box(5, 20, 20, 40))
    refined = refiner(np.zeros((40, 60, 3), np.uint8), scores(labels))
    np.testing.assert_array_equal(refined.argmax(0), labels)
    assert refiner.asked == [400]  # the region of 63 pixels does not ask
    refiner = Masks(lambda region: region, background=None)
    refiner(np.zeros((40, 60, 3), np.uint8), scores(labels))
    assert refiner.asked == [2400 - 400 - 63, 400]


def test_smaller_regions_lie_on_larger_ones():
    labels = np.where(box(0, 0, 40, 30), 1, np.where(box(10, 30, 10, 10), 2, 0))
    refiner = Masks(lambda region: box(0, 0, 40, 36) if region.sum() > 500 else box(10, 30, 10, 10))
    refined = refiner(np.zeros((40, 60, 3), np.uint8), scores(labels)).argmax(0)
    np.testing.assert_array_equal(refined == 2, labels == 2)
    assert (refined[:, 30:36][labels[:, 30:36] == 0] == 1).all()


def test_prompts_are_the_box_and_the_innermost_pixel():
    rng = np.random.default_rng(0)
    region = cv2.GaussianBlur(rng.random((30, 40)), (0, 0), 3) > 0.5
    _, parts = cv2.connectedComponents(region.astype(np.uint8))
    region = parts == np.bincount(parts.ravel())[1:].argmax() + 1
    rows, columns = np.nonzero(region)
    (x1, y1, x2, y2), (x, y) = sam_module._prompts(region)
    assert (x1, y1, x2, y2) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    other = np.argwhere(~np.pad(region, 1)) - 1
    depth = np.array([np.hypot(*(other - place).T).min() for place in zip(rows, columns, strict=True)])
    here = np.hypot(*(other - (y - 0.5, x - 0.5)).T).min()
    assert region[int(y), int(x)] and here == pytest.approx(depth.max(), abs=1e-3)


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    """The folder of a tiny SAM with random weights."""
    transformers = pytest.importorskip('transformers', reason="pip install 'mmseg_deeplab[sam]'")
    torch.manual_seed(0)
    config = transformers.SamConfig(
        vision_config=dict(
            hidden_size=32, output_channels=16, num_hidden_layers=2, num_attention_heads=2, image_size=64,
            patch_size=8, window_size=4, global_attn_indexes=[1], num_pos_feats=8, mlp_dim=32, initializer_range=0.2,
        ),
        prompt_encoder_config=dict(hidden_size=16, image_size=64, patch_size=8, mask_input_channels=4),
        mask_decoder_config=dict(hidden_size=16, mlp_dim=16, num_attention_heads=2, iou_head_hidden_dim=16),
    )  # fmt: skip
    folder = tmp_path_factory.mktemp('sam')
    transformers.SamModel(config).save_pretrained(folder)
    return folder


def test_a_mask_is_that_of_transformers_own_pipeline(weights):
    """Its processor's picture and prompts, its model, its way back to the picture's size."""
    from transformers import SamModel
    from transformers.models.sam import image_processing_pil_sam

    height, width = 37, 50
    image = cv2.resize(np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8), (width, height))
    processor = image_processing_pil_sam.SamImageProcessorPil(
        size=dict(longest_edge=64), pad_size=dict(height=64, width=64)
    )
    made = processor(image, return_tensors='pt')
    refiner = SAMRefiner(weights)
    size, pixels = refiner._input(image)
    assert tuple(made['reshaped_input_sizes'][0]) == size
    # Pillow rounds to whole grey levels on the way.
    np.testing.assert_allclose(pixels, made['pixel_values'], atol=1.5 / min(sam_module.STD))

    region = np.zeros((height, width), bool)
    region[8:30, 12:44] = True
    (x1, y1, x2, y2), (x, y) = sam_module._prompts(region)
    scale = np.array([size[1] / width, size[0] / height])
    model = SamModel.from_pretrained(weights).eval()
    with torch.no_grad():
        answer = model(
            pixel_values=pixels,
            input_boxes=torch.tensor([[[*((x1, y1) * scale), *((x2, y2) * scale)]]], dtype=torch.float32),
            input_points=torch.tensor(np.array([x, y]) * scale, dtype=torch.float32)[None, None, None],
            multimask_output=False,
        )
        (expected,) = processor.post_process_masks(
            answer.pred_masks, [(height, width)], made['reshaped_input_sizes'], binarize=False
        )
        mask = refiner._mask(refiner.model.get_image_embeddings(pixels), region, size)
    np.testing.assert_allclose(mask, expected[0, 0], atol=1e-5)
    assert mask.std() > 0


def test_sam_refines_whatever_its_masks(weights):
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    logits = scores(np.where(box(5, 5, 20, 20), 1, np.where(box(22, 30, 15, 25), 2, 0)))
    refined = SAMRefiner(weights, agreement=0)(image, logits)
    np.testing.assert_allclose(refined.sum(0), 1, atol=1e-5)
    assert (refined >= 0).all() and not torch.allclose(refined, logits.softmax(0), atol=0.1)


def test_folders_that_hold_no_sam_are_named(weights, tmp_path):
    from safetensors.torch import load_file, save_file

    with pytest.raises(UserError, match='config.json is not there'):
        SAMRefiner(tmp_path)
    config = json.loads((weights / 'config.json').read_text())
    (tmp_path / 'config.json').write_text('{')
    with pytest.raises(UserError, match='can not be read'):
        SAMRefiner(tmp_path)
    (tmp_path / 'config.json').write_text(json.dumps({**config, 'model_type': 'bert'}))
    with pytest.raises(UserError, match="type 'bert'"):
        SAMRefiner(tmp_path)
    (tmp_path / 'config.json').write_text(json.dumps(config))
    with pytest.raises(UserError, match='can not be loaded'):
        SAMRefiner(tmp_path)
    state = load_file(weights / 'model.safetensors')
    state.pop('mask_decoder.iou_token.weight')
    save_file(state, tmp_path / 'model.safetensors', metadata=dict(format='pt'))
    with pytest.raises(UserError, match='weights are missing: mask_decoder.iou_token.weight'):
        SAMRefiner(tmp_path)


def test_without_transformers_it_is_said(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, 'transformers', None)
    with pytest.raises(ImportError, match=r"pip install 'mmseg_deeplab\[sam\]'"):
        SAMRefiner(tmp_path)
