"""The parameter search: its path through the grid, its counts, its state file, its cached cases."""

import itertools
import json
import sys
from contextlib import contextmanager, nullcontext

import numpy as np
import pytest
import torch

from mmseg_deeplab.crf import DenseCRF
from mmseg_deeplab.search import search
from mmseg_deeplab.search.search import GRIDS, Score, Search, coarse_to_fine, is_case, load_case, save_case

densecrf = pytest.importorskip('pydensecrf.densecrf')

FIXED = dict(iterations=3, pos_w=3, pos_xy_std=2, backend='pydensecrf')
CANDIDATES = [dict(bi_w=5, bi_xy_std=10, bi_rgb_std=8), dict(bi_w=2, bi_xy_std=20, bi_rgb_std=20)]


@pytest.fixture(scope='module')
def cases(tmp_path_factory):
    """Two pictures with a square, its prediction too small and uncertain, and a void row: (image, logits, truth)."""
    folder = tmp_path_factory.mktemp('cases')
    rng = np.random.default_rng(0)
    made = {}
    for number in range(2):
        truth = np.zeros((24, 31), np.uint8)
        truth[6:18, 8 : 20 + number] = 1
        truth[0] = 255
        image = np.where(truth[..., None] == 1, [200, 60, 40], [70, 120, 80]) + rng.normal(0, 10, (24, 31, 3))
        image = image.clip(0, 255).astype(np.uint8)
        logits = rng.normal(0, 1, (3, 24, 31)).astype(np.float32)
        logits[0] += 1.5
        logits[1, 9:15, 11:17] += 5
        logits[2] -= 30
        path = folder / f'{number}.npz'
        save_case(path, image, torch.from_numpy(logits), truth)
        made[path] = image, logits, truth
    return made


def expected(cases, candidate) -> tuple[float, float]:
    """Mean IoU and pixel accuracy by pydensecrf itself and set arithmetic on pixels."""
    truths, labels = [], []
    for image, logits, truth in cases.values():
        p = np.exp(logits - logits.max(0)) / np.exp(logits - logits.max(0)).sum(0)
        if candidate is None:
            q = p
        else:
            crf = densecrf.DenseCRF2D(31, 24, 3)
            crf.setUnaryEnergy(np.ascontiguousarray(-np.log(p.clip(1e-5, 1)).reshape(3, -1).astype(np.float32)))
            crf.addPairwiseGaussian(sxy=2, compat=3)
            crf.addPairwiseBilateral(
                sxy=candidate['bi_xy_std'], srgb=candidate['bi_rgb_std'], rgbim=image, compat=candidate['bi_w']
            )
            q = np.array(crf.inference(3))
        truths.append(truth.ravel())
        labels.append(q.reshape(3, -1).argmax(0))
    truth, label = np.concatenate(truths), np.concatenate(labels)
    truth, label = truth[truth != 255], label[truth != 255]
    unions = [((truth == c) | (label == c)).sum() for c in range(3)]
    ious = [((truth == c) & (label == c)).sum() / union for c, union in enumerate(unions) if union]
    return float(np.mean(ious)), float((truth == label).mean())


def test_scores_are_those_of_the_reference(cases, tmp_path):
    """Also with half-precision cases on disk, and in worker processes."""
    candidates = [None, *CANDIDATES]
    with Search(tmp_path / 'state.jsonl', 3, FIXED, workers=2) as parallel:
        scores = parallel.scores(candidates, list(cases))
    for candidate, score in zip(candidates, scores, strict=True):
        assert (score.miou, score.pixel_acc) == pytest.approx(expected(cases, candidate), abs=1e-9)
        assert score.candidate == candidate
    assert scores[1].miou > scores[0].miou + 0.02, 'the CRF had nothing to do'


def test_only_the_chosen_classes_count(cases, tmp_path):
    """Class 2 is never there, class 0 is left out: what remains is the IoU of class 1."""
    score = Search(tmp_path / 'state.jsonl', 3, FIXED, [1, 2]).scores([None], list(cases))[0]
    hit = sum(((t == 1) & (z.argmax(0) == 1)).sum() for _, z, t in cases.values())
    union = sum((((t == 1) | (z.argmax(0) == 1)) & (t != 255)).sum() for _, z, t in cases.values())
    assert score.miou == pytest.approx(hit / union, abs=1e-9)


def test_a_false_class_less_is_no_gain_in_itself(tmp_path):
    """All candidates are judged among the classes of the truth."""
    image, truth = np.zeros((10, 10, 3), np.uint8), np.zeros((10, 10), np.uint8)
    truth[:, 5:] = 1
    logits = np.stack([truth == label for label in range(3)]).astype(np.float32) * 9
    logits[:, 0, 0] = 0, 0, 9
    save_case(tmp_path / '0.npz', image, torch.from_numpy(logits), truth)
    score = Search(tmp_path / 'state.jsonl', 3, FIXED).scores([None], [tmp_path / '0.npz'])[0]
    assert score.miou == pytest.approx((49 / 50 + 1) / 2)


def test_pixels_with_another_label_of_void_do_not_count(cases, tmp_path):
    wanted = Search(tmp_path / 'state.jsonl', 3, FIXED).scores([None], list(cases))
    for path, (image, logits, truth) in cases.items():
        save_case(tmp_path / path.name, image, torch.from_numpy(logits), np.where(truth == 255, 7, truth))
    paths = [tmp_path / path.name for path in cases]
    assert Search(tmp_path / 'other.jsonl', 3, FIXED, ignore_index=7).scores([None], paths) == wanted
    with pytest.raises(ValueError, match='the truth has the label 7, but there are 3 classes and ignore_index=255'):
        Search(tmp_path / 'wrong.jsonl', 3, FIXED).scores([None], paths)


def test_an_interrupted_search_goes_on_where_it_stopped(cases, tmp_path, monkeypatch):
    """What is counted is not counted again; a line cut off by the interruption is."""
    state = tmp_path / 'state.jsonl'
    whole = Search(state, 3, FIXED).scores(CANDIDATES, list(cases))
    text = state.read_text()
    assert len(text.splitlines()) == 1 + 4
    state.write_text(text[:-20])
    steps = []

    @contextmanager
    def shown(title, total):
        steps.append((title, total))
        yield steps.append

    monkeypatch.setattr(search, 'progress', shown)
    again = Search(state, 3, FIXED)
    assert again.scores(CANDIDATES, list(cases)) == whole
    assert steps == [('searching', 2), 1, 1]
    assert sorted(state.read_text().splitlines()) == sorted(text.splitlines())
    steps.clear()
    assert again.scores(CANDIDATES, list(cases)) == whole and not steps


@pytest.mark.parametrize('damage', [b'', b'{"origin"', b'\x00\x01\n', b'[]\n'])
def test_a_state_that_lost_its_first_line_is_begun_anew(cases, tmp_path, damage):
    state = tmp_path / 'state.jsonl'
    state.write_bytes(damage)
    with pytest.warns(UserWarning, match='counting begins anew') if damage else nullcontext():
        search = Search(state, 3, FIXED)
    with search:
        scores = search.scores([None], list(cases))
    with Search(state, 3, FIXED) as again:
        assert again.scores([None], list(cases)) == scores


COUNT = {'case': '0.npz', 'candidate': None, 'cells': [0, 4], 'counts': [5, 6]}
DAMAGE = {
    'cut': b'{"case": "0.npz", "cand',
    'garbled': b'\xff\xfe{\n',
    'zeros': bytes(100) + b'\n',
    'of another kind': b'{"case": 1}\n',
    'nested without end': b'[' * 100_000 + b'\n',
    **{
        str(change): json.dumps({**COUNT, **change}).encode() + b'\n'
        for change in (
            {'cells': 'x'},
            {'cells': [0, 9]},
            {'cells': [0, -1]},
            {'cells': [0, 1.5]},
            {'cells': [[0], [4]]},
            {'cells': [0]},
            {'counts': None},
            {'counts': [5, -6]},
            {'counts': [5, 'a']},
            {'counts': [5, float('nan')]},
            {'counts': [5, 10**30]},
        )
    },
}


@pytest.mark.parametrize('damage', DAMAGE)
def test_lines_from_a_damaged_one_on_are_counted_anew(cases, tmp_path, damage):
    state = tmp_path / 'state.jsonl'
    with Search(state, 3, FIXED) as search:
        scores = search.scores([None], list(cases))
    lines = state.read_bytes().splitlines(keepends=True)
    lines[1] = DAMAGE[damage]
    state.write_bytes(b''.join(lines))
    with Search(state, 3, FIXED) as search:
        assert search.scores([None], list(cases)) == scores
    assert len(state.read_bytes().splitlines()) == 1 + len(cases)


def test_damaged_cases_are_named_and_void_ones_do_not_count(cases, tmp_path):
    case = load_case(list(cases)[0])
    void = tmp_path / 'void.npz'
    save_case(void, case.image, torch.from_numpy(case.probabilities).log(), np.full_like(case.truth, 255))
    with Search(tmp_path / 'a.jsonl', 3, FIXED) as search:
        assert search.scores([None], [*cases, void]) == search.scores([None], list(cases))
        with pytest.raises(ValueError, match='all 1 images of the search are void'):
            search.scores([None], [void])
    for content in (b'', void.read_bytes()[:200], b'PK\x03\x04'):
        (tmp_path / 'cut.npz').write_bytes(content)
        assert not is_case(tmp_path / 'cut.npz') and is_case(void)
        with pytest.raises(ValueError, match=r'cut\.npz is damaged'):
            load_case(tmp_path / 'cut.npz')


def test_a_state_of_other_settings_is_refused(tmp_path):
    Search(tmp_path / 'state.jsonl', 3, FIXED)
    with pytest.raises(ValueError, match='other settings'):
        Search(tmp_path / 'state.jsonl', 3, {**FIXED, 'iterations': 5})
    with pytest.raises(ValueError, match='other settings'):
        Search(tmp_path / 'state.jsonl', 3, FIXED, origin='another network')


@pytest.mark.parametrize('grid', [*GRIDS.values(), dict(bi_w=[4], bi_xy_std=[10, 20], bi_rgb_std=[3], pos_w=[1, 2, 3])])
def test_coarse_to_fine_finds_the_top_of_a_smooth_surface(grid):
    """For every place the top may have, looking at each candidate once at most and at far fewer than all."""
    scales = {name: (max(values) - min(values)) or 1 for name, values in grid.items()}
    everything = list(itertools.product(*grid.values()))
    for top in everything:
        asked = []

        def scores(candidates, top=top, asked=asked):
            asked += [tuple(candidate.values()) for candidate in candidates]
            far = [
                sum(((v - t) / scales[name]) ** 2 for (name, v), t in zip(c.items(), top, strict=True))
                for c in candidates
            ]
            return [Score(c, 1 - d, 0) for c, d in zip(candidates, far, strict=True)]

        found = coarse_to_fine(grid, scores)
        assert tuple(found[0].candidate.values()) == top
        assert len(asked) == len(set(asked)) == len(found)
        assert found == sorted(found, key=lambda score: -score.miou)
        if len(everything) > 90:
            assert len(asked) < 0.6 * len(everything)


def test_a_case_is_small_and_hardly_changed(tmp_path):
    """Confident maps like a network's: the file is a tenth of the float32 logits, Q moves by less than 1e-2."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:120, :160]
    logits = np.stack([8 * np.cos((x * (c + 1) + 30 * c) / 60) * np.sin(y / (20 + c)) - c for c in range(21)])
    logits[0] += 14
    image = rng.integers(0, 40, (120, 160, 3), dtype=np.uint8)
    truth = np.zeros((120, 160), np.uint8)
    path = tmp_path / 'a.npz'
    save_case(path, image, torch.from_numpy(logits), truth)
    assert [file.name for file in tmp_path.iterdir()] == ['a.npz'], 'no unfinished file stays'
    case = load_case(path)
    np.testing.assert_array_equal(case.image, image)
    np.testing.assert_array_equal(case.truth, truth)
    assert path.stat().st_size - image.nbytes < 0.2 * 4 * logits.size
    crf = DenseCRF(backend='pydensecrf', input='logits')
    before = crf(image, logits)
    after = DenseCRF(backend='pydensecrf')(image, case.probabilities)
    assert np.abs(before - after).max() < 1e-2
    assert (before.argmax(0) == after.argmax(0)).mean() > 0.999


def test_the_room_does_not_import_mmseg(tmp_path):
    """The search works on arrays; a notebook without the OpenMMLab stack can use it."""
    import subprocess

    code = (
        'import sys, mmseg_deeplab.search.search; '
        'print(sorted(name for name in sys.modules if name in ("mmseg", "mmengine", "mmcv", "mmseg_deeplab.models")))'
    )
    out = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == '[]'
