"""What the tests of downloads share."""

import contextlib
import http.server
import threading

import pytest
import torch

from mmseg_deeplab.checkpoints import download


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """Starts a web server on this machine with a handler of requests and gives its address, until the test ends.

    Downloads go to `tmp_path / 'cache'`, and are tried again at once.
    """
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'cache'))
    monkeypatch.setattr(download.time, 'sleep', lambda seconds: None)
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    with contextlib.ExitStack() as running:

        def start(handler):
            httpd = running.enter_context(http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler))
            threading.Thread(target=httpd.serve_forever, kwargs=dict(poll_interval=0.02), daemon=True).start()
            running.callback(httpd.shutdown)
            return f'http://127.0.0.1:{httpd.server_port}'

        yield start
