"""Fetching checkpoints: a download is believed if it is whole, and never kept otherwise."""

import hashlib
import http.client
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from urllib.parse import unquote, urlparse

import torch
from mmengine.dist import barrier, get_dist_info
from mmengine.logging import print_log

from ..errors import UserError, UserFileNotFoundError, UserOSError
from .save import USERS_CAUSES, atomic_write

TRIES = 3
TIMEOUT = 60  # seconds without a byte
CHUNK = 2**20
HASH = re.compile(r'-(?!20\d\d(?:0[1-9]|1[0-2])[0-3]\d\.)([0-9a-f]{8,64})\.\w+$')
"""The first digits of a file's SHA-256 in its name, as torch and OpenMMLab put them there; a date is none."""


class _Unfinished(Exception):
    """A download that may do better when it is tried again."""


@contextmanager
def writing_cache() -> Generator[None, None, None]:
    """A context in which a cache that can't be written is said with what to do."""
    try:
        yield
    except UserOSError as error:
        raise UserOSError(f'{error}: let TORCH_HOME name a folder for downloads that can be written') from error


def fetch(url: str) -> Path:
    """Return where a file of the internet lies on this machine; it is downloaded at its first use.

    A file whose name holds its hash lies where torch keeps it, others in a folder for their URL. A hash is compared at
    every use, since anyone may have put a file there; a length that the server gave, after the download.

    Raises:
        UserFileNotFoundError: If it can't be had, or is another file than its name says.
    """
    path, problem = _place_of(url), None
    first = get_dist_info()[0] == 0
    if first and not _is_there(path):
        try:
            _download(url, path)
        except UserError as error:
            problem = error  # told when the others don't wait any more
    barrier()
    if problem is not None:
        raise problem
    if not first and not _is_there(path):  # another machine than that of the first process
        _download(url, path)
    return path


def _place_of(url: str) -> Path:
    folder, name = Path(torch.hub.get_dir()) / 'checkpoints', os.path.basename(unquote(urlparse(url).path))
    if not name:
        raise UserFileNotFoundError(f'{url} names no file')
    if HASH.search(name):
        return folder / name
    return folder / hashlib.sha256(url.encode()).hexdigest()[:8] / name


def _is_there(path: Path) -> bool:
    """Whether a file was downloaded before, and is what its name says."""
    if not path.is_file():
        return False
    wanted = HASH.search(path.name)
    if wanted is None:
        return True
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    found = digest.hexdigest()
    if found.startswith(wanted[1]):
        return True
    print_log(f'{path} is not the file that its name says (its hash begins with {found[:8]}): downloading it again')
    return False


def _download(url: str, path: Path) -> None:
    """Download to a hidden file and put it in place when length and hash are right; what came is gone on from."""
    with writing_cache(), atomic_write(path) as file:
        transfer = _Transfer(url, path, file)
        for attempt in range(1, TRIES + 1):
            try:
                return transfer.go_on()
            except urllib.error.HTTPError as error:
                problem: Exception = error
                if error.code < 500 and error.code not in (408, 416, 429):
                    break
            except (_Unfinished, OSError, http.client.HTTPException) as error:
                if getattr(error, 'errno', None) in USERS_CAUSES:  # a full disk
                    raise
                problem = error
            if attempt < TRIES:
                print_log(f'{url}: {problem}; trying again ({attempt} of {TRIES - 1})')
                time.sleep(2 ** (attempt - 1))
        raise UserFileNotFoundError(
            f'cannot download {url} ({problem}): download it by other means and give the path of the file'
        ) from problem


class _Transfer:
    """A download in one or several requests.

    A second request asks for the rest alone, if the server has said by what to know that the file is still the same.
    """

    def __init__(self, url: str, path: Path, file: IO[bytes]):
        self.url, self.path, self.file = url, path, file
        self.version = ''
        self._start_again()

    def _start_again(self) -> None:
        self.file.seek(0)
        self.file.truncate()
        self.size, self.digest = 0, hashlib.sha256()

    def go_on(self) -> None:
        """Get what is missing.

        Raises:
            _Unfinished: If the connection ends before the file does, or it is another file than its name says.
        """
        headers = {'User-Agent': 'mmseg_deeplab'}
        if self.size and self.version:
            headers |= {'Range': f'bytes={self.size}-', 'If-Range': self.version}
        request = urllib.request.Request(self.url, headers=headers)
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
            if response.status != 206 or not response.headers.get('Content-Range', '').startswith(
                f'bytes {self.size}-'
            ):
                self._start_again()
            etag = response.headers.get('ETag', '')
            self.version = '' if etag.startswith('W/') else etag or response.headers.get('Last-Modified', '')
            length = response.headers.get('Content-Length', '')
            whole = self.size + int(length) if length.isdigit() else None
            print_log(f'downloading {self.url} ({_megabytes(length)}) to {self.path}')
            while chunk := response.read(CHUNK):
                self.file.write(chunk)
                self.digest.update(chunk)
                self.size += len(chunk)
        if whole is not None and self.size != whole:
            raise _Unfinished(f'only {self.size} of {whole} bytes came')
        wanted, found = HASH.search(self.path.name), self.digest.hexdigest()
        if wanted and not found.startswith(wanted[1]):
            self._start_again()
            raise _Unfinished(
                f'its SHA-256 begins with {found[: len(wanted[1])]}, not with {wanted[1]} as its name says'
            )


def _megabytes(length: str) -> str:
    return f'{int(length) / 1e6:.1f} MB' if length.isdigit() else 'of unknown size'
