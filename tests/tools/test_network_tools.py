"""tools/get_flops.py and tools/receptive_field.py, as a user calls them."""

import subprocess
import sys

CONFIG = 'configs/deeplabv3plus_mobilenetv2_demo.py'


def _run(repo, *command: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, *command], cwd=repo, capture_output=True, text=True, check=False)


def test_get_flops_prints_the_modules_and_the_papers_count(repo):
    done = _run(repo, 'tools/get_flops.py', CONFIG, '--shape', '65', '--depth', '1')
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[:4]] == ['module', 'total', 'backbone', 'decode_head']
    assert 'One image of 65 x 65 pixels' in done.stdout


def test_receptive_field_prints_the_layers_and_writes_the_picture(repo, tmp_path):
    out = tmp_path / 'field.png'
    options = ('--size', '65', '--out', str(out), '--cfg-options', 'model.output_stride=8')
    done = _run(repo, 'tools/receptive_field.py', CONFIG, *options)
    assert done.returncode == 0, done.stderr
    assert 'backbone.layer7.0.conv.1.conv' in done.stdout
    assert out.read_bytes()[1:4] == b'PNG'


def test_receptive_field_of_v1(repo, tmp_path):
    out = tmp_path / 'field.png'
    config = 'configs/deeplabv1_vgg16_demo.py'
    done = _run(repo, 'tools/receptive_field.py', config, '--size', '65', '--out', str(out))
    assert done.returncode == 0, done.stderr
    assert 'decode_head.fc6' in done.stdout and out.read_bytes()[1:4] == b'PNG'


def test_a_config_that_is_not_there_is_explained(repo):
    done = _run(repo, 'tools/get_flops.py', 'configs/nothing.py')
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith('error: config configs/nothing.py does not exist')
    assert 'Traceback' not in done.stderr
