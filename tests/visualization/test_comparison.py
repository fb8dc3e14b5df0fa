"""Several evaluations side by side, from the files that their reports write."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from mmseg_deeplab.cli.compare import main, names_of
from mmseg_deeplab.errors import UserError
from mmseg_deeplab.evaluation.results import read_results
from mmseg_deeplab.visualization.comparison import as_markdown, overview


@pytest.fixture
def reports(run_test, tmp_path):
    """Two reports, the second with a CRF, and the metrics that their tests returned."""
    folders, metrics = [], []
    for crf in (False, True):
        folders.append(tmp_path / f'report {crf:d}')
        metrics.append(run_test([{'type': 'ReportHook', 'out_dir': str(folders[-1])}], crf=crf)[0])
    return folders, metrics


def test_a_report_holds_its_numbers_for_programs(reports):
    folders, (plain, refined) = reports
    for folder, metrics in zip(folders, (plain, refined), strict=True):
        results = read_results(folder)
        assert results.metrics == metrics
        assert results.classes == ['background', 'disc', 'box'] and results.images == 6
        assert round(float(np.mean(results.iou)), 2) == metrics['mIoU']
        assert round(results.trimap[9], 2) == metrics['trimap/mIoU_10px'] and len(results.trimap) == 40
        assert results.parameters == 1 and results.multiply_adds is None  # ShiftedTruth is no network
        assert 0 < results.seconds < 60 and results.facts['test data'].startswith('BaseSegDataset, 6 images')
    assert results.iou_before_crf is not None and results.trimap_before_crf is not None
    assert round(float(np.mean(results.iou_before_crf)), 2) == refined['before_crf/mIoU']


def test_the_comparison_has_the_numbers_of_both(reports, tmp_path, capsys):
    folders, (plain, refined) = reports
    main([*map(str, folders), '--out', str(tmp_path / 'out')])
    printed = capsys.readouterr().out
    rows = list(csv.DictReader((tmp_path / 'out' / 'comparison.csv').open()))
    assert [row['run'] for row in rows] == ['report 0', 'report 1']
    for row, metrics in zip(rows, (plain, refined), strict=True):
        assert row['mIoU'] == f'{metrics["mIoU"]:.2f}' and row['FWIoU'] == f'{metrics["FWIoU"]:.2f}'
        assert row['mIoU within 5 px'] == f'{metrics["trimap/mIoU_5px"]:.2f}'
    assert rows[0]['before CRF'] == '' and rows[1]['before CRF'] == f'{refined["before_crf/mIoU"]:.2f}'
    assert rows[1]['CRF gain'] == f'{refined["mIoU"] - refined["before_crf/mIoU"]:+.2f}'
    results = read_results(folders[1])
    assert rows[1]['IoU disc'] == f'{results.iou[1]:.2f}'
    assert 'multiply-adds (B)' not in rows[0]  # known of neither
    markdown = (tmp_path / 'out' / 'comparison.md').read_text()
    assert (
        markdown in printed and f'| disc | {read_results(folders[0]).iou[1]:.2f} | {results.iou[1]:.2f} |' in markdown
    )
    page = (tmp_path / 'out' / 'index.html').read_text()
    assert f'<td>{refined["mIoU"]:.2f}</td>' in page and 'src="data:image/png' in page and 'http' not in page
    assert Image.open(tmp_path / 'out' / 'comparison.png').size[0] > 600


def _changed(folder, target, **changes):
    content = json.loads((folder / 'results.json').read_text())
    target.mkdir()
    (target / 'results.json').write_text(json.dumps({**content, **changes}))
    return target


def test_what_does_not_compare_is_said(reports, tmp_path):
    folders, _ = reports
    other = _changed(folders[0], tmp_path / 'other', classes=['a|b', '<i>', 'disc'], facts={'device': 'elsewhere'})
    runs = {'one': read_results(folders[0]), 'other': read_results(other)}
    text = as_markdown(runs)
    assert 'differ in their classes' in text and 'differ in their test data' in text and 'different devices' in text
    assert r'| a\|b |' in text
    main([str(folders[0]), str(other), '--out', str(tmp_path / 'out')])
    assert '&lt;i&gt;' in (tmp_path / 'out' / 'index.html').read_text()
    assert 'differ' not in as_markdown({'one': runs['one'], 'two': runs['one']})
    costs = overview({'one': read_results(_changed(folders[0], tmp_path / 'more', multiply_adds=12_340_000_000))})
    assert dict(zip(*costs, strict=True))['multiply-adds (B)'] == '12.34'


@pytest.mark.parametrize(
    'content, told',
    [
        ('{', 'is not the results.json'),
        ('[1]', 'is not the results.json'),
        ('[' * 10**5, 'is not the results.json'),
        ('{"format": "other"}', 'its format is not'),
        ('{"format": "mmseg_deeplab results 1"}', "'title' is missing"),
    ],
)
def test_what_is_no_result_is_refused(tmp_path, content, told):
    (tmp_path / 'results.json').write_text(content)
    with pytest.raises(UserError, match='results.json') as error:
        main([str(tmp_path)])
    assert told in str(error.value)


def test_folders_that_hold_none_or_several(tmp_path, reports):
    folders, _ = reports
    for path, told in ((tmp_path / 'nowhere', 'does not exist'), (folders[0].parent, 'holds 2 reports')):
        with pytest.raises(UserError, match=told):
            read_results(path)
    (tmp_path / 'empty').mkdir()
    with pytest.raises(UserError, match='--report'):
        read_results(tmp_path / 'empty')
    with pytest.raises(UserError, match='named twice'):
        main([str(folders[0]), str(folders[0] / 'results.json')])


def test_runs_of_one_name_are_told_apart(tmp_path):
    paths = [tmp_path / 'a' / 'report', tmp_path / 'b' / 'report', tmp_path / 'c']
    assert names_of(paths) == ['a/report', 'b/report', f'{tmp_path.name}/c']
