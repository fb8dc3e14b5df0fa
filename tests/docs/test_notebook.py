"""docs/notebook.ipynb does what it says, on stand-ins of the demo's data and network; Jupyter is not needed."""

import ast
import json
from pathlib import Path

import numpy as np
import pytest
from lively_network import save_lively_checkpoint
from PIL import Image

from mmseg_deeplab.datasets.demo import OBJECTS, make_demo_dataset
from mmseg_deeplab.inference import Prediction, predict


@pytest.fixture(scope='module')
def notebook(repo) -> dict:
    return json.loads((repo / 'docs/notebook.ipynb').read_text(encoding='utf-8'))


def code_of(notebook: dict) -> list[str]:
    return [''.join(cell['source']) for cell in notebook['cells'] if cell['cell_type'] == 'code']


def run(code: str, names: dict) -> object:
    """Run a cell; the value of its last line, which a notebook shows, or None."""
    tree = ast.parse(code)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, 'cell', 'exec'), names)
    return last and eval(compile(ast.Expression(last.value), 'cell', 'eval'), names)


def test_it_is_a_notebook_without_outputs(notebook):
    assert (notebook['nbformat'], notebook['nbformat_minor']) == (4, 5)
    assert len({cell['id'] for cell in notebook['cells']}) == len(notebook['cells'])
    for cell in notebook['cells']:
        assert cell['cell_type'] in ('code', 'markdown') and cell['metadata'] == {}
        if cell['cell_type'] == 'code':
            assert cell['outputs'] == [] and cell['execution_count'] is None


def test_its_cells_run(notebook, repo, tmp_path, monkeypatch):
    make_demo_dataset(tmp_path / 'data/demo', 1, 3, 0)
    work = tmp_path / 'work_dirs/demo'
    work.mkdir(parents=True)
    save_lively_checkpoint(repo / 'configs/deeplabv3plus_mobilenetv2_demo.py', work / 'iter_800.pth')
    (work / 'last_checkpoint').write_text('work_dirs/demo/iter_800.pth')
    (tmp_path / 'docs').mkdir()
    monkeypatch.chdir(tmp_path / 'docs')
    names: dict = {}
    shown = [run(code, names) for code in code_of(notebook)]

    picture = tmp_path / 'data/demo/JPEGImages/val_0000.jpg'
    plain, refined = names['prediction'], names['refined']
    assert [value for value in shown if isinstance(value, Prediction)] == [plain, refined]
    assert np.array_equal(plain.image, Image.open(picture)) and plain._repr_png_().startswith(b'\x89PNG')
    assert (plain.labels != refined.labels).any()
    shape, areas, confidence = shown[2]
    assert shape == plain.labels.shape and sum(areas.values()) == plain.labels.size and 1 / 7 < confidence < 1
    assert set(areas) <= {'background', *OBJECTS}
    assert isinstance(shown[3], Image.Image) and shown[3].size == shape[::-1]
    assert sum(shown[5].values()) == 0 and any(shown[5].values())
    for number in range(3):
        labels = predict(names['model'], tmp_path / f'data/demo/JPEGImages/val_{number:04}.jpg').labels
        assert np.array_equal(Image.open(Path('answers', f'val_{number:04}.mask.png')), labels)
