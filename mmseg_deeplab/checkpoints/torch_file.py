"""PyTorch's files, the zip archives of today and the row of pickles of before 1.6, with every byte accounted for."""

import io
import struct
import zipfile
import zlib
from io import BufferedIOBase, BufferedReader
from pathlib import Path
from typing import IO, Any, cast

import torch

from .pickles import Budget, DamagedError, Machine, OtherKindError, RefusedError, Storage, device

MAGIC = 0x1950A86A20F9469CFC6C
"""First pickle of an old file."""
NAMES = ('little', 'big')


def read_torch_file(path: Path, map_location: Any = None) -> Any:
    """Read what `torch.save` wrote.

    Args:
        path: The file.
        map_location: As of `torch.load`: a device, a dict of devices or a function of storage and location; None puts
            tensors where they were.

    Raises:
        RefusedError: If it holds anything but weights and plain values, or more of them than fits its size.
        DamagedError: If it is cut short, or a record of it is not what it was.
    """
    budget = Budget(path.stat().st_size)
    with open(path, 'rb') as file:
        is_zip = file.read(4) == b'PK\x03\x04'
        file.seek(0)
        return (_ZipFile if is_zip else OldFile)(file, budget, map_location).read()


def _place(storage: torch.UntypedStorage, location: str, map_location: Any) -> torch.UntypedStorage:
    if callable(map_location):
        placed = map_location(storage, location)
        if placed is not None:
            return placed
    elif isinstance(map_location, dict):
        location = map_location.get(location, location)
    elif map_location is not None:
        location = str(map_location)
    return torch.serialization.default_restore_location(storage, str(location))


def _storage_of_bytes(data: bytearray) -> torch.UntypedStorage:
    if not data:
        return torch.UntypedStorage(0)
    return torch.frombuffer(data, dtype=torch.uint8).untyped_storage()


def _check_id(number: Any, count: int) -> tuple:
    if not isinstance(number, tuple) or len(number) != count or number[0] != 'storage':
        raise DamagedError('a reference that is none to a storage')
    _, dtype, key, location, size = number[:5]
    if not isinstance(dtype, torch.dtype) or not isinstance(location, str) or type(size) is not int or size < 0:
        raise DamagedError(f'the reference to storage {key}')
    device(location)
    return dtype, str(key), location, size


class _ZipFile:
    """A file of torch >= 1.6: one pickle, and a record for each storage."""

    def __init__(self, file: BufferedReader, budget: Budget, map_location: Any):
        self.file, self.budget, self.map_location = file, budget, map_location
        self.storages: dict[str, Storage] = {}
        self.size = file.seek(0, io.SEEK_END)
        try:
            with zipfile.ZipFile(file) as archive:
                infos = archive.infolist()
        except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error, OverflowError) as error:
            raise DamagedError(f'the list of its records can not be read: {error}') from error
        folder = infos[0].filename.split('/')[0] + '/' if infos else ''
        self.records = {info.filename.removeprefix(folder): info for info in infos}
        for name, what in OTHER_ARCHIVES.items():
            if name in self.records:
                raise RefusedError(what)
        # torch.serialization.set_crc32_options(False) writes zeros
        self.has_sums = any(info.CRC for info in infos)
        if len(self.records) < len(infos) or sum(info.file_size for info in infos) > self.size:
            raise RefusedError('records that lie on each other or are larger than the file')
        if any(info.compress_type != zipfile.ZIP_STORED for info in infos):
            raise RefusedError('compressed records, which PyTorch does not write')

    def read(self) -> Any:
        if 'data.pkl' not in self.records:
            raise OtherKindError(f'a zip archive that PyTorch did not write: {_advice(list(self.records))}')
        order = bytes(self._record('byteorder')).decode('ascii', 'replace') if 'byteorder' in self.records else 'little'
        if order not in NAMES:
            raise DamagedError(f'record byteorder says {order!r}')
        self.swapped = order == 'big'
        result = Machine(self.budget, self._storage).run(io.BytesIO(self._record('data.pkl')))
        for name in self.records:
            if name.removeprefix('data/') not in self.storages and name not in ('data.pkl', 'byteorder'):
                self._record(name)
        return result

    def _record(self, name: str) -> bytearray:
        """The content of a record, which must have its checksum."""
        info = self.records[name]
        if not 0 <= info.header_offset < self.size:
            raise DamagedError(f'record {name} is beyond the end of the file')
        self.file.seek(info.header_offset)
        header = self.file.read(30)
        if len(header) < 30 or header[:4] != b'PK\x03\x04':
            raise DamagedError(f'record {name} is not where it should be')
        begin = info.header_offset + 30 + sum(struct.unpack('<HH', header[26:30]))
        if begin + info.file_size > self.size or info.file_size != info.compress_size:
            raise DamagedError(f'record {name} goes beyond the end of the file')
        data = bytearray(info.file_size)
        self.file.seek(begin)
        if self.file.readinto(data) != info.file_size or (self.has_sums and zlib.crc32(data) != info.CRC):
            raise DamagedError(f'record {name} is not what was written: its checksum differs')
        return data

    def _storage(self, number: Any) -> Storage:
        dtype, key, location, size = _check_id(number, 5)
        if key not in self.storages:
            name = f'data/{key}'
            if name not in self.records:
                raise DamagedError(f'record {name} is missing')
            if size * dtype.itemsize != self.records[name].file_size:
                raise DamagedError(f'record {name} has {self.records[name].file_size} bytes, not {size} elements')
            data = _storage_of_bytes(self._record(name))
            if self.swapped:
                data.byteswap(dtype)
            self.storages[key] = Storage(_place(data, location, self.map_location), dtype)
        return self.storages[key]


class OldFile:
    """A file of torch < 1.6: magic number, version, system, content, keys of the storages, and these in that order."""

    machine = Machine

    def __init__(self, file: BufferedIOBase, budget: Budget, map_location: Any):
        self.file, self.budget, self.map_location = file, budget, map_location
        self.size = file.seek(0, io.SEEK_END)
        self.storages: dict[str, tuple[Storage, torch.UntypedStorage, int]] = {}

    def read(self) -> Any:
        self.file.seek(0)
        begin = self._pickle()
        if type(begin) is not int or begin != MAGIC:
            raise OtherKindError(
                'a pickle that PyTorch did not write: if it holds arrays by name, call it .pkl and convert it: python '
                'tools/convert_checkpoint.py FILE.pkl NEW.pth'
            )
        self._pickle()
        self._pickle()
        result = self._pickle()
        keys = self._pickle()
        if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(self.storages):
            raise DamagedError('the list of its storages differs from its content')
        for key in map(str, keys):
            self._fill(key)
        return result

    def _pickle(self) -> Any:
        return self.machine(self.budget, self._storage).run(cast(IO[bytes], self.file))

    def _storage(self, number: Any) -> Storage:
        dtype, key, location, size = _check_id(number, 6)
        if number[5] is not None:
            raise RefusedError('a view of a storage, which PyTorch has not written since 0.4')
        if key not in self.storages:
            bytes_here = sum(data.nbytes() for _, data, _ in self.storages.values())
            if bytes_here + size * dtype.itemsize > self.size:
                raise RefusedError(f'storages of more than the {self.size} bytes of the file')
            data = torch.UntypedStorage(size * dtype.itemsize)
            self.storages[key] = Storage(_place(data, location, self.map_location), dtype), data, size
        return self.storages[key][0]

    def _fill(self, key: str) -> None:
        storage, data, size = self.storages[key]
        header = self.file.read(8)
        if len(header) < 8 or struct.unpack('<q', header)[0] != size:
            raise DamagedError(f'storage {key} is not of the size that its content needs')
        content = bytearray(data.nbytes())
        if self.file.readinto(content) != len(content):
            raise DamagedError(f'storage {key} is cut short')
        if content and storage.data.device.type != 'meta':
            storage.data.copy_(_storage_of_bytes(content))


def _advice(names: list[str]) -> str:
    """What to do with a zip archive of these records."""
    if names and all(name.endswith('.npy') for name in names):
        return 'it holds arrays of numpy; call it .npz and convert it: tools/convert_checkpoint.py FILE.npz NEW.pth'
    weights = [
        name for name in names if name.endswith(('.pth', '.pt', '.safetensors', '.h5', '.index', '.pb', '.pdparams'))
    ]
    return f'unpack it and give the checkpoint inside; it holds {", ".join(weights[:3] or names[:3]) or "nothing"}'


OTHER_ARCHIVES: dict[str, str] = {
    'constants.pkl': 'a TorchScript program; for its weights: torch.save(torch.jit.load(FILE).state_dict(), NEW_FILE)',
    'archive_format': 'an exported program; for its weights: torch.save(torch.export.load(FILE).state_dict, NEW_FILE)',
    'model.json': 'an exported program',
    'word/document.xml': 'a text document',
    'config.json': 'a model of Keras',
}
