"""Fetching checkpoints: a download is believed if it is whole, and never kept otherwise."""

import hashlib
import http.client
import os
import re
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import unquote, urlparse

import torch
from mmengine.dist import barrier, get_dist_info
from mmengine.logging import print_log

from ..errors import UserError, UserFileNotFoundError
from .save import atomic_write

TRIES = 3
TIMEOUT = 60  # seconds without a byte
CHUNK = 2**20
HASH = re.compile(r'-(?!20\d\d(?:0[1-9]|1[0-2])[0-3]\d\.)([0-9a-f]{8,64})\.\w+$')
"""The first digits of a file's SHA-256 in its name, as torch and OpenMMLab put them there; a date is none."""


class _Unfinished(Exception):
    """A download that may do better when it is tried again."""


def fetch(url: str) -> Path:
    """Return where a file of the internet lies on this machine; it is downloaded at its first use.

    A file whose name holds its hash lies where torch keeps it, others in a folder for their URL. A hash is compared at
    every use, since anyone may have put a file there; a length that the server gave, after the download.

    Raises:
        UserFileNotFoundError: If it can't be had, or is another file than its name says.
    """
    path, problem = _place_of(url), None
    if get_dist_info()[0] == 0 and not _is_there(path):
        try:
            _download(url, path)
        except UserError as error:
            problem = error  # told when the others don't wait any more
    barrier()
    if problem is not None:
        raise problem
    if not _is_there(path):  # another machine than that of the first process
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
    for attempt in range(1, TRIES + 1):
        try:
            return _download_once(url, path)
        except urllib.error.HTTPError as error:
            problem: Exception = error
            if error.code < 500 and error.code not in (408, 429):
                break
        except UserError:  # a full disk
            raise
        except (_Unfinished, OSError, http.client.HTTPException) as error:
            problem = error
        if attempt < TRIES:
            print_log(f'{url}: {problem}; trying again ({attempt} of {TRIES - 1})')
            time.sleep(2 ** (attempt - 1))
    raise UserFileNotFoundError(
        f'cannot download {url} ({problem}): download it by other means and give the path of the file'
    ) from problem


def _download_once(url: str, path: Path) -> None:
    """Download to a hidden file and put it in place when length and hash are right."""
    request = urllib.request.Request(url, headers={'User-Agent': 'mmseg_deeplab'})
    digest, size = hashlib.sha256(), 0
    with atomic_write(path) as file, urllib.request.urlopen(request, timeout=TIMEOUT) as response:
        length = response.headers.get('Content-Length', '')
        print_log(f'downloading {url} ({_megabytes(length)}) to {path}')
        while chunk := response.read(CHUNK):
            file.write(chunk)
            digest.update(chunk)
            size += len(chunk)
        if length.isdigit() and size != int(length):
            raise _Unfinished(f'only {size} of {length} bytes came')
        wanted = HASH.search(path.name)
        if wanted and not digest.hexdigest().startswith(wanted[1]):
            raise _Unfinished(
                f'its SHA-256 begins with {digest.hexdigest()[: len(wanted[1])]}, not with {wanted[1]} as its name says'
            )


def _megabytes(length: str) -> str:
    return f'{int(length) / 1e6:.1f} MB' if length.isdigit() else 'of unknown size'
