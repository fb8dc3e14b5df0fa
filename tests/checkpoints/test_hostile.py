"""Files that want to run code, to take the machine's memory or to hand out foreign memory; and damaged ones."""

import io
import json
import pickle
import resource
import struct
import zipfile

import numpy as np
import pytest
import safetensors.torch
import torch
from mmengine.logging import MessageHub
from torch import nn
from torch.utils._pytree import tree_leaves

from mmseg_deeplab.checkpoints import load_file, save_file
from mmseg_deeplab.checkpoints.conversion import read_source
from mmseg_deeplab.checkpoints.load import check_torch
from mmseg_deeplab.errors import UserError

MODERN = dict(_use_new_zipfile_serialization=True)
OLD = dict(_use_new_zipfile_serialization=False)


@pytest.fixture(autouse=True)
def little_memory():
    """No test may take 3 GiB more than it began with."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    with open('/proc/self/statm') as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 3 * 2**30, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def archive(path, data, records=(), compression=zipfile.ZIP_STORED):
    """A file of torch with a pickle of our own."""
    with zipfile.ZipFile(path, 'w', compression) as file:
        file.writestr('archive/data.pkl', data)
        file.writestr('archive/version', '3\n')
        for name, content in records:
            file.writestr(f'archive/{name}', content)


def storage(count=2, key='0', kind='FloatStorage'):
    """The instructions for a storage."""
    return (
        b'((U\x07storagectorch\n' + kind.encode() + b'\nU\x01' + key.encode() + b'U\x03cpu'
        b'\x8a\x08' + count.to_bytes(8, 'little') + b'tQ'
    )  # fmt: skip


def tensor(size, stride, count=2, offset=0, **kwargs):
    """The instructions for {'w': tensor}."""

    def ints(values):
        return b'(' + b''.join(b'\x8a\x08' + v.to_bytes(8, 'little', signed=True) for v in values) + b't'

    content = storage(count, **kwargs) + b'\x8a\x08' + offset.to_bytes(8, 'little', signed=True)
    content = content.replace(b'((', b'(', 1)
    build = b'ctorch._utils\n_rebuild_tensor_v2\n(' + content + ints(size) + ints(stride) + b'\x89Ntr'[:2] + b'tR'
    return b'\x80\x02}U\x01w' + build + b's.'


def numbers(*values):
    return [('data/0', struct.pack(f'<{len(values)}f', *values))]


def test_the_instructions_make_a_tensor(tmp_path):
    archive(tmp_path / 'a.pth', tensor((2,), (1,)), numbers(1, 2))
    assert load_file(tmp_path / 'a.pth')['w'].tolist() == [1, 2]
    assert torch.load(tmp_path / 'a.pth', weights_only=True)['w'].tolist() == [1, 2]


@pytest.mark.parametrize(
    'data, message',
    [
        (tensor((10**11,), (1,)), 'larger than its storage'),
        (tensor((10**13,), (0,)), 'a tensor of 10000000000000 elements'),
        (tensor((10**10,), (0,)), 'content of more than 64 MiB'),
        (tensor((2,), (1,), count=10**13), 'has 8 bytes, not 10000000000000 elements'),
        (tensor((2,), (1,), count=4), 'has 8 bytes, not 4 elements'),  # beyond the record lies foreign memory
        (tensor((2,), (1,), offset=1), 'larger than its storage'),
        (tensor((2,), (1,), offset=-1), 'without storage or shape'),
        (tensor((2,), (-1,)), 'without storage or shape'),
        (tensor((-2,), (1,)), 'without storage or shape'),
        (tensor((2, 2), (1,)), 'zip'),
        (tensor((2**62 - 1, 2**62 - 1), (0, 0)), 'a tensor of .* elements'),
        (tensor((2,), (1,), key='7'), 'record data/7 is missing'),
        (tensor((2,), (1,), kind='DoubleStorage'), 'has 8 bytes, not 2 elements'),
    ],
)
def test_tensors_that_are_not_there(data, message, tmp_path):
    archive(tmp_path / 'a.pth', data, numbers(1, 2))
    with pytest.raises(UserError, match=rf'a\.pth.*(refused|damaged).*{message}'):
        load_file(tmp_path / 'a.pth')


@pytest.mark.parametrize(
    'content, message',
    [
        (b'ctorch\ndevice\nU\x03cpq\x85R', "a device .'cpq',"),
        (b'ctorch\ndevice\n)R', 'a device'),
        (b'cmmengine.logging.history_buffer\nHistoryBuffer\n]]K\x01a\x86R', 'a call of .*HistoryBuffer'),
        (b'cbuiltins\nbytes\nK\x01\x85R', 'bytes without content'),
        (b'ctorch._utils\n_rebuild_sparse_tensor\n)R', 'not dense .sparse_tensor'),
        (b'ctorch\nFloatStorage\n)R', 'a call of what is no function'),
        (b'ccollections\nOrderedDict\n', 'a collections.OrderedDict by itself'),
        (b'c__builtin__\nset\nK\x07\x85R', 'a dict or set of what is no list'),
        (b'Q', 'cut short or damaged'),
        (b'U\x01aQ', 'a reference that is none to a storage'),
    ],
)
def test_what_the_instructions_may_not_do(content, message, tmp_path):
    archive(tmp_path / 'a.pth', b'\x80\x02}U\x01w' + content + b's.')
    with pytest.raises(UserError, match=rf'a\.pth.*{message}'):
        load_file(tmp_path / 'a.pth')


@pytest.mark.parametrize('place', ['header', 'location'])
def test_addresses_that_lead_nowhere(place, tmp_path):
    path = tmp_path / 'a.pth'
    if place == 'location':
        archive(path, tensor((2,), (1,)).replace(b'U\x03cpu', b'U\x03cpq'), numbers(1, 2))
    else:
        archive(path, tensor((2,), (1,)), numbers(1, 2))
        content = bytearray(path.read_bytes())
        entry = content.rindex(b'PK\x01\x02')  # of the last record, the storage
        content[entry + 42 : entry + 46] = b'\xff\xff\xff\x7f'
        path.write_bytes(content)
    with pytest.raises(UserError, match=r'a\.pth .*damaged'):
        load_file(path, None)


BOMBS = {
    'bytearray of a number': b'c__builtin__\nbytearray\n\x8a\x08' + (10**13).to_bytes(8, 'little') + b'\x85R',
    'bytes encoded again and again': (
        b'(c_codecs\nencode\nq\x00X' + struct.pack('<I', 10**6) + b'x' * 10**6 + b'X\x06\x00\x00\x00latin1\x86q\x01R'
        + b'h\x00h\x01R' * 5000 + b'l'
    ),
    'a set made again and again': b'(' + b'(' + b'K\x01' * 10**6 + b'lq\x00'
        + b'c__builtin__\nset\nh\x00\x85R' * 5000 + b'l',
    'a tensor class': b'ctorch\nFloatTensor\n\x8a\x08' + (10**12).to_bytes(8, 'little') + b'\x85R',
    'a tensor of a number': b'ctorch\nTensor\n\x8a\x08' + (10**12).to_bytes(8, 'little') + b'\x85R',
    'an empty array of a shape': b'cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n'
        b'\x8a\x08' + (10**13).to_bytes(8, 'little') + b'\x85C\x01btR',
    'a new array': b'cnumpy\nndarray\n\x8a\x08' + (10**13).to_bytes(8, 'little') + b'\x85\x81',
    'lists in lists in lists': b']q\x00' + b''.join(
        b'(' + b'h' + bytes([i]) + b'h' + bytes([i]) + b'lq' + bytes([i + 1]) for i in range(60)),
    'a deep list': b'(l' * 1 + b'\x85' * 10**5,
    'a deep key': b'}' + b')' + b'\x85' * 10**6 + b'K\x01s',
    'keys of one hash': b'}(' + b''.join(
        b'\x8a\x14' + (i * (2**61 - 1)).to_bytes(20, 'little') + b'N' for i in range(1, 50_000)) + b'u',
    'a list that holds itself': b']q\x00h\x00a',
    'a dict that holds itself': b'}q\x00U\x05modelh\x00s',
    'a long byte array': b'\x96' + (10**12).to_bytes(8, 'little') + b'x',
    'a long text': b'\x8d' + (10**12).to_bytes(8, 'little') + b'x',
    'a long memo': b'Nr\xff\xff\xff\xff0N',
}  # fmt: skip


@pytest.mark.parametrize('name', BOMBS)
def test_a_small_file_never_takes_much_memory_or_time(name, tmp_path):
    path = tmp_path / 'bomb.pth'
    archive(path, b'\x80\x02}U\x01w' + BOMBS[name] + b's.')
    with pytest.raises(UserError, match='bomb.pth'):
        load_file(path)


def test_records_that_unpack_or_overlap_are_refused(tmp_path):
    archive(tmp_path / 'deflated.pth', b'\x80\x02}U\x01a' + b'N0' * 10**7 + b'Ns.', compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(UserError, match=r'deflated\.pth is refused: .*(compressed|larger)'):
        load_file(tmp_path / 'deflated.pth')
    archive(tmp_path / 'small.pth', pickle.dumps({}, 2), compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(UserError, match='compressed records'):
        load_file(tmp_path / 'small.pth')
    out = io.BytesIO()
    with zipfile.ZipFile(out, 'w') as file:
        file.writestr('a/data.pkl', b'x' * 10**6)
        first = file.infolist()[0]
        for number in range(1000):
            info = zipfile.ZipInfo(f'a/data/{number}')
            info.file_size = info.compress_size = first.file_size
            info.CRC, info.header_offset = first.CRC, first.header_offset
            file.filelist.append(info)
    (tmp_path / 'overlap.pth').write_bytes(out.getvalue())
    with pytest.raises(UserError, match='lie on each other'):
        load_file(tmp_path / 'overlap.pth')


def forged(state):
    """A numpy array of 2 float64 whose type has another state; protocol 2."""
    values = np.arange(2.0)
    raw = pickle.dumps(dict(w=values), 2)
    plain = b'(K\x03X\x01\x00\x00\x00<q\x09NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tq\x0ab'
    position = raw.find(b'(K\x03X\x01\x00\x00\x00<')
    end = raw.index(b'b', raw.index(b'K\x00t', position))
    assert position > 0 and len(plain)
    return raw[:position] + pickle.dumps(state, 2)[2:-1].replace(b'q\x00', b'').replace(b'q\x01', b'') + raw[end:]


@pytest.mark.parametrize(
    'state',
    [
        (3, '<', None, None, None, 1, -1, 0),
        (3, '<', None, None, None, 4096, -1, 0),
        (3, '<', ('f8', (10**9,)), None, None, -1, -1, 0),
        (3, '<', None, ('a',), {'a': (1, 2)}, 8, 1, 0),
        (4, '<', None, None, None, -1, -1, 63, {'x': 1}),
        'x',
        None,
    ],
)  # fmt: skip
def test_forged_numpy_types_are_refused(state, tmp_path):
    archive(tmp_path / 'forged.pth', forged(state))
    with pytest.raises(UserError, match=r'forged\.pth'):
        load_file(tmp_path / 'forged.pth')


def test_a_plain_numpy_type_with_its_own_state_passes(tmp_path):
    archive(tmp_path / 'plain.pth', forged((3, '<', None, None, None, -1, -1, 0)))
    assert load_file(tmp_path / 'plain.pth')['w'].tolist() == [0, 1]


@pytest.mark.parametrize(
    'value, message',
    [
        (torch.rand(3, 3).to_sparse(), 'w|not dense .sparse'),
        (torch.rand(3, 3).to_sparse_csr(), 'not dense .sparse'),
        (torch.rand(3, dtype=torch.complex64), 'w holds complex numbers'),
        (torch.tensor([1.0, float('nan')]), 'w holds values that are not finite'),
        (torch.tensor([float('inf')], dtype=torch.float16), 'w holds values that are not finite'),
        (torch.tensor([float('nan')]).to(torch.float8_e5m2), 'w holds values that are not finite'),
        (np.array([np.nan]), 'w holds values that are not finite'),
        (np.array([1j]), 'w holds complex numbers'),
    ],
)
@pytest.mark.parametrize('place', ['state_dict', 'model', 'plain', 'ema_state_dict'])
def test_weights_are_dense_real_and_finite(value, message, place, tmp_path):
    state = dict(a=torch.zeros(2), w=value)
    content = dict(
        plain=state,
        state_dict=dict(state_dict=state),
        model=dict(model=state),
        ema_state_dict=dict(state_dict=dict(a=torch.zeros(2)), ema_state_dict=state),
    )
    torch.save(content[place], tmp_path / 'a.pth')
    with pytest.raises(UserError, match=rf'a\.pth is refused: .*({message})'):
        load_file(tmp_path / 'a.pth')


def test_quantised_and_nested_tensors_are_named(tmp_path):
    torch.save(dict(w=torch.quantize_per_tensor(torch.rand(3), 0.1, 0, torch.qint8)), tmp_path / 'q.pth')
    with pytest.raises(UserError, match='not dense .qtensor'):
        load_file(tmp_path / 'q.pth')


def test_the_state_of_a_training_may_hold_infinities(tmp_path):
    content = dict(state_dict=dict(w=torch.zeros(1)), optimizer=dict(best=float('inf'), s=torch.tensor([float('nan')])))
    torch.save(content, tmp_path / 'a.pth')
    assert load_file(tmp_path / 'a.pth')['optimizer']['best'] == float('inf')


def test_a_safetensors_file_with_nan_is_refused(tmp_path):
    safetensors.torch.save_file(dict(w=torch.tensor([float('nan')])), tmp_path / 'a.safetensors')
    with pytest.raises(UserError, match='w holds values that are not finite'):
        load_file(tmp_path / 'a.safetensors')


@pytest.fixture
def training(tmp_path):
    """A checkpoint with all that trainings keep, by PyTorch and OpenMMLab."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(30, 40), nn.BatchNorm1d(40))
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    model(torch.rand(5, 30)).sum().backward()
    optimizer.step()
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [1, 2])  # a Counter
    hub = MessageHub('test_hostile')
    for value in range(5):
        hub.update_scalar('train/loss', value)
    hub.update_info('best', np.float64(3))
    values = dict(
        size=torch.Size([1, 2]), dtype=torch.float16, device=torch.device('cpu'), data=b'a\xff', more=bytearray(b'x'),
        some={1, 'x'}, number=1j, long=-(2**70), transposed=torch.rand(3, 4).t(), one=torch.rand(1).expand(5),
        parameter=nn.Parameter(torch.rand(2)), frozen=nn.Parameter(torch.rand(2), requires_grad=False),
        half=torch.rand(3).half(), brain=torch.rand(3).bfloat16(), flag=torch.tensor([True]), empty=torch.rand(0, 3),
        array=np.arange(6).reshape(2, 3), fortran=np.asfortranarray(np.arange(6.0).reshape(2, 3)), piece=slice(1, 2),
        text=np.array(['ab', 'c']), big=np.arange(3, dtype='>i4'), nothing=np.zeros((0, 3)), deep=[[(1, [2])]],
    )  # fmt: skip
    return dict(
        meta=dict(iter=3, values=values),
        state_dict=model.state_dict(),
        optimizer=optimizer.state_dict(),
        param_schedulers=[schedule.state_dict()],
        message_hub=hub.state_dict(),
    )


@pytest.mark.parametrize(
    'how', [MODERN, OLD, dict(pickle_protocol=3), dict(pickle_protocol=4), dict(pickle_protocol=5)]
)
def test_all_that_a_training_saves_comes_back_as_pytorch_reads_it(how, training, tmp_path):
    path = tmp_path / 'a.pth'
    torch.save(training, path, **how)
    got, expected = load_file(path), torch.load(path, weights_only=False)
    hub, hub_expected = got.pop('message_hub'), expected.pop('message_hub')
    assert np.array_equal(hub['log_scalars']['train/loss'].data, hub_expected['log_scalars']['train/loss'].data)
    assert hub['log_scalars']['train/loss'].mean() == 2
    assert hub['runtime_info'] == hub_expected['runtime_info']
    assert list(got['state_dict']) == list(expected['state_dict'])
    assert got['state_dict']._metadata == expected['state_dict']._metadata
    leaves, leaves_expected = tree_leaves(got), tree_leaves(expected)
    assert len(leaves) == len(leaves_expected) > 40
    for a, b in zip(leaves, leaves_expected, strict=True):
        assert type(a) is type(b), (a, b)
        if isinstance(a, torch.Tensor):
            assert (a.dtype, a.stride(), a.requires_grad) == (b.dtype, b.stride(), b.requires_grad)
            assert torch.equal(a, b)
        elif isinstance(a, np.ndarray):
            assert (
                a.dtype.newbyteorder('=') == b.dtype.newbyteorder('=')
                and a.flags.f_contiguous == b.flags.f_contiguous
                and a.flags.writeable
            )
            assert np.array_equal(a, b)
        else:
            assert a == b


def test_tied_weights_stay_tied(tmp_path):
    weight = torch.rand(3)
    torch.save(dict(a=weight, b=weight[:2]), tmp_path / 'a.pth')
    loaded = load_file(tmp_path / 'a.pth')
    loaded['a'].zero_()
    assert loaded['b'].tolist() == [0, 0]


@pytest.mark.parametrize('location', ['meta', torch.device('meta'), dict(cpu='meta'), lambda storage, location: None])
@pytest.mark.parametrize('how', [MODERN, OLD])
def test_map_location(location, how, tmp_path):
    torch.save(dict(a=torch.ones(2)), tmp_path / 'a.pth', **how)
    value = load_file(tmp_path / 'a.pth', location)['a']
    assert value.is_meta or value.tolist() == [1, 1] and callable(location)


@pytest.mark.parametrize('width', [1, 400])
def test_damage_in_any_record_is_found_and_named(width, training, tmp_path):
    path = tmp_path / 'a.pth'
    save_file(training, path)
    with zipfile.ZipFile(path) as file:
        infos = [info for info in file.infolist() if info.file_size >= width]
    whole = path.read_bytes()
    assert len(infos) > 2
    for info in infos:
        begin = whole.index(info.filename.encode(), info.header_offset) + len(info.filename)
        extra = struct.unpack('<H', whole[info.header_offset + 28 : info.header_offset + 30])[0]
        content = bytearray(whole)
        for i in range(begin + extra, begin + extra + width):
            content[i] ^= 0x55
        path.write_bytes(content)
        record = info.filename.split('/', 1)[1]
        with pytest.raises(UserError, match=rf'a\.pth \(\d+ bytes\) is cut short or damaged: record {record} '):
            load_file(path)


def test_files_without_checksums_are_read(tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(dict(a=torch.ones(2)), tmp_path / 'a.pth')
    finally:
        torch.serialization.set_crc32_options(True)
    assert load_file(tmp_path / 'a.pth')['a'].tolist() == [1, 1]


@pytest.mark.parametrize('change', ['longer', 'shorter', 'header', 'length', 'offsets', 'shape', 'no dict'])
def test_safetensors_extents(change, tmp_path):
    path = tmp_path / 'a.safetensors'
    save_file(dict(w=torch.rand(10)), path)
    content = path.read_bytes()
    length = struct.unpack('<Q', content[:8])[0]
    header, rest = json.loads(content[8 : 8 + length]), content[8 + length :]
    if change == 'offsets':
        header['w']['data_offsets'] = [0, 10**14]
    if change == 'shape':
        header['w']['shape'] = [10**13]
    header = [1] if change == 'no dict' else header
    packed = json.dumps(header).encode()
    packed = packed[:-1] if change == 'header' else packed
    size = 10**15 if change == 'length' else len(packed)
    rest = {'longer': rest + b'xx', 'shorter': rest[:-4]}.get(change, rest)
    path.write_bytes(struct.pack('<Q', size) + packed + rest)
    with pytest.raises(UserError, match=r'a\.safetensors \(\d+ bytes\) is cut short or damaged'):
        load_file(path)


def npz(path, header, content, compression=zipfile.ZIP_DEFLATED):
    text = repr(header).encode() + b'\n'
    member = b'\x93NUMPY\x01\x00' + struct.pack('<H', len(text)) + text + content
    with zipfile.ZipFile(path, 'w', compression) as file:
        file.writestr('w.npy', member)


@pytest.mark.parametrize(
    'header, content',
    [
        (dict(descr='<f4', fortran_order=False, shape=(10**13,)), b'x' * 8),
        (dict(descr='<f4', fortran_order=False, shape=(2,)), b'x' * 4),
        (dict(descr='<c8', fortran_order=False, shape=(1,)), b'x' * 8),
        (dict(descr='|O', fortran_order=False, shape=(1,)), pickle.dumps([1])),
        (dict(descr='<f4', fortran_order=False, shape=(10**8,)), b'\0' * 4 * 10**8),
        (dict(descr='<f4', fortran_order=False, shape=(1,)), struct.pack('<f', float('nan'))),
        ('x' * 60_000, b''),
        ([[[[[[]]]]]], b''),
    ],
)  # fmt: skip
def test_npz(header, content, tmp_path):
    npz(tmp_path / 'a.npz', header, content)
    with pytest.raises(UserError, match=r'a\.npz'):
        read_source(tmp_path / 'a.npz')


def test_npz_that_is_whole(tmp_path):
    npz(tmp_path / 'a.npz', dict(descr='>f4', fortran_order=True, shape=(2, 1)), struct.pack('>2f', 1, 2))
    assert read_source(tmp_path / 'a.npz')[0]['w'].tolist() == [[1], [2]]
    content = bytearray((tmp_path / 'a.npz').read_bytes())
    np.savez(tmp_path / 'a.npz', w=np.arange(100.0))
    content = bytearray((tmp_path / 'a.npz').read_bytes())
    content[400] ^= 1
    (tmp_path / 'a.npz').write_bytes(content)
    with pytest.raises(UserError, match='a.npz is damaged .*CRC'):
        read_source(tmp_path / 'a.npz')


def test_strange_but_honest_states_are_explained(tmp_path):
    for content, message in [
        (dict(state_dict=torch.zeros(1)), 'its state_dict is a Tensor'),
        (dict(state_dict={1: torch.zeros(1)}), 'a parameter is called 1'),
        ({3: torch.zeros(1)}, 'a parameter is called 3'),
    ]:
        torch.save(content, tmp_path / 'a.pth')
        with pytest.raises(UserError, match=message):
            load_file(tmp_path / 'a.pth')


@pytest.mark.parametrize('version', ['2.6.0', '2.9.1+cu128', '1.13'])
def test_a_torch_with_a_hole_is_refused(version):
    with pytest.raises(ImportError, match=rf'torch {version.replace("+", ".")} .*CVE-2026-24747.*torch>=2\.10'):
        check_torch(version)
    check_torch('2.10.0')
    check_torch('2.13.0+cpu')
    check_torch('3.0.0a0')
