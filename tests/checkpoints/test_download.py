"""A download is whole and what its name says, or it is not kept."""

import hashlib
import http.server

import pytest
import torch
from mmengine.runner import CheckpointLoader

from mmseg_deeplab.checkpoints import download
from mmseg_deeplab.errors import UserError


@pytest.fixture
def content(tmp_path):
    torch.save(dict(w=torch.arange(1000.0)), tmp_path / 'file.pth')
    return (tmp_path / 'file.pth').read_bytes()


@pytest.fixture
def server(serve):
    """A web server that answers each request by the next of `answers`: (status, announced length, body)."""
    answers, requests = [], []

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def do_GET(self):
            requests.append(self.path)
            status, length, body = answers.pop(0)
            self.send_response(status)
            if length is not None:
                self.send_header('Content-Length', str(length))
            self.end_headers()
            self.wfile.write(body)

    return serve(Handler), answers, requests


def cached(tmp_path):
    return sorted(path.name for path in (tmp_path / 'cache').rglob('*') if path.is_file())


def load(url):
    return CheckpointLoader.load_checkpoint(url)['w']


def hashed(content):
    return f'model-{hashlib.sha256(content).hexdigest()[:8]}.pth'


def test_a_download_that_breaks_off_is_tried_again(tmp_path, server, content):
    url, answers, requests = server
    size = len(content)
    answers += [(200, size, content[: size // 2]), (503, None, b''), (200, size, content), (200, size, content)]
    assert len(load(f'{url}/file.pth')) == 1000
    assert len(requests) == 3
    assert len(load(f'{url}/file.pth')) == 1000 and len(requests) == 3  # kept
    assert cached(tmp_path) == ['file.pth']


@pytest.mark.parametrize('name', ['file.pth', 'hashed'])
def test_a_half_file_is_never_kept(name, tmp_path, server, content):
    url, answers, requests = server
    name = hashed(content) if name == 'hashed' else name
    answers += [(200, len(content), content[:2000])] * 3
    with pytest.raises(UserError, match=rf'cannot download .*only 2000 of {len(content)} bytes.*give the path'):
        load(f'{url}/{name}')
    assert len(requests) == 3 and cached(tmp_path) == []
    answers += [(200, len(content), content)]
    assert len(load(f'{url}/{name}')) == 1000


class Ranges(http.server.BaseHTTPRequestHandler):
    """Breaks off after each `PART` bytes, and goes on where it is asked to, unless the file has changed."""

    PART = 3000
    content, version, asked = b'', '"one"', []
    ignores = False

    def log_message(self, *args):
        pass

    def do_GET(self):
        begin = 0
        self.asked.append(self.headers['Range'])
        if self.headers['Range'] and self.headers['If-Range'] == self.version and not self.ignores:
            begin = int(self.headers['Range'].removeprefix('bytes=').removesuffix('-'))
        self.send_response(206 if begin else 200)
        rest = self.content[begin:]
        self.send_header('Content-Length', str(len(rest)))
        self.send_header('ETag', self.version)
        if begin:
            self.send_header('Content-Range', f'bytes {begin}-{len(self.content) - 1}/{len(self.content)}')
        self.end_headers()
        self.wfile.write(rest[: self.PART])
        self.changed()

    def changed(self):
        pass


@pytest.mark.parametrize('kind', ['goes on', 'changes', 'ignores'])
def test_a_download_goes_on_where_it_broke_off(kind, tmp_path, content, serve):
    other = content[:-100] + bytes(100)

    class Handler(Ranges):
        asked = []
        ignores = kind == 'ignores'
        PART = len(content) // 2 + 1

        def changed(self):
            if kind == 'changes':
                Handler.version, Handler.content, Handler.PART = '"two"', other, 10**6

    Handler.content = content
    url = f'{serve(Handler)}/model.pth'
    if kind == 'ignores':
        with pytest.raises(UserError, match='cannot download'):
            download.fetch(url)
    else:
        assert download.fetch(url).read_bytes() == (other if kind == 'changes' else content)
    again = f'bytes={Handler.PART if kind != "changes" else len(content) // 2 + 1}-'
    assert Handler.asked == [None, again, again][: 3 if kind == 'ignores' else 2]
    assert cached(tmp_path) == ([] if kind == 'ignores' else ['model.pth'])


def test_without_a_length_the_file_itself_tells(tmp_path, server, content):
    url, answers, _ = server
    answers += [(200, None, content[:2000])] * 3
    with pytest.raises(UserError, match='its SHA-256 begins with'):
        load(f'{url}/{hashed(content)}')
    assert cached(tmp_path) == []


def test_another_file_under_a_hashed_name_is_not_kept(tmp_path, server, content):
    """Else any host's resnet50-0676ba61.pth would be torchvision's for every program of this user."""
    url, answers, requests = server
    answers += [(200, len(content), content)] * 3
    with pytest.raises(UserError, match=r'resnet50-0676ba61\.pth.*SHA-256 begins with \w{8}, not with 0676ba61'):
        load(f'{url}/resnet50-0676ba61.pth')
    assert cached(tmp_path) == []


def test_what_lies_in_the_cache_is_only_believed_if_its_hash_fits(tmp_path, server, content):
    url, answers, requests = server
    place = tmp_path / 'cache' / 'checkpoints' / hashed(content)
    place.parent.mkdir(parents=True)
    place.write_bytes(content[:-1] + b'x')
    answers += [(200, len(content), content)]
    assert len(load(f'{url}/{place.name}')) == 1000
    assert place.read_bytes() == content and len(requests) == 1
    assert len(load(f'{url}/{place.name}')) == 1000 and len(requests) == 1


def test_a_file_is_hashed_once_at_each_use(server, content, monkeypatch):
    url, answers, _ = server
    answers += [(200, len(content), content)]
    real, checked = download._is_there, []
    monkeypatch.setattr(download, '_is_there', lambda path: checked.append(path) or real(path))
    for uses in (1, 2):
        assert download.fetch(f'{url}/{hashed(content)}').read_bytes() == content
        assert len(checked) == uses


def test_files_of_one_name_are_kept_apart(tmp_path, server):
    url, answers, _ = server
    for number in range(2):
        torch.save(dict(w=torch.tensor(number)), tmp_path / 'model.pth')
        body = (tmp_path / 'model.pth').read_bytes()
        answers.append((200, len(body), body))
    assert [load(f'{url}/{folder}/model.pth').item() for folder in 'ab'] == [0, 1]


@pytest.mark.parametrize('name, wanted', [
    ('resnet50-0676ba61.pth', '0676ba61'), ('a_20200605_022449-acadc2f8.pth', 'acadc2f8'), ('a-1234567.pth', None),
    ('iter-20240131.pth', None), ('a.pth', None), ('a-deadbeef.d/b.pth', None), ('a-20999999.pth', '20999999'),
])  # fmt: skip
def test_hashes_are_told_from_dates(name, wanted):
    match = download.HASH.search(name.split('/')[-1])
    assert (match[1] if match else None) == wanted


def test_a_missing_file_is_not_asked_for_again(server):
    url, answers, requests = server
    answers += [(404, 0, b'')]
    with pytest.raises(FileNotFoundError, match=r'cannot download .*absent\.pth.*404'):
        load(f'{url}/absent.pth')
    assert len(requests) == 1
    with pytest.raises(UserError, match='names no file'):
        load(f'{url}/')
    with pytest.raises(UserError, match='cannot download'):
        load('http://127.0.0.1:1/file.pth')
