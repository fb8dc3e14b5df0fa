"""Reading the pickle inside of a checkpoint: an interpreter that knows weights, plain values and nothing else.

Python's unpickler runs whatever a file names, and PyTorch's weights-only one lets a small file ask for any amount of
memory and hands numpy's own constructors what the file says. Here a pickle's instructions, as the standard library's
`pickletools` lists them, are carried out one by one: only what is in `FUNCTIONS` is ever called, each with its
arguments checked, and all that is made is counted against a budget.
"""

import math
import pickle
import pickletools
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from typing import IO, Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from torch import Tensor, nn

STATISTICS = ('min', 'max', 'mean', 'current')
STATISTICS_NAMES = {f'HistoryBuffer.{name}': getattr(HistoryBuffer, name) for name in STATISTICS}
HistoryBuffer()  # The first one that is made gives them to the class, and so to those that are read.
PLAIN = (type(None), bool, int, float, complex, str, bytes, bytearray)
LEAVES = (*PLAIN, Tensor, np.ndarray, np.generic, np.dtype, torch.dtype, torch.device, torch.Size, slice)
DEPTH = 100
"""How deep lists and the like may lie in each other."""
STORAGES = {
    f'{name}Storage': dtype
    for name, dtype in dict(
        Double=torch.float64, Float=torch.float32, Half=torch.float16, BFloat16=torch.bfloat16, Long=torch.int64,
        Int=torch.int32, Short=torch.int16, Char=torch.int8, Byte=torch.uint8, Bool=torch.bool, Untyped=torch.uint8,
        ComplexDouble=torch.complex128, ComplexFloat=torch.complex64,
    ).items()
}  # fmt: skip


class RefusedError(Exception):
    """A file asks for something that is no weights; the text names it."""


class CodeError(RefusedError):
    """A file names Python objects; the text is the name."""


class OtherKindError(RefusedError):
    """A file is whole, but none of PyTorch's; the text says what it is and what to do."""


class DamagedError(Exception):
    """A file contradicts itself."""


class Budget:
    """What the contents of a file may take in memory, in bytes."""

    def __init__(self, file_size: int):
        self.left = self.limit = 16 * file_size + 2**26

    def charge(self, size: int) -> None:
        """Count `size` bytes.

        Raises:
            RefusedError: If a file of this size can't honestly need that much.
        """
        self.left -= size
        if self.left < 0:
            raise RefusedError(f'a content of more than {self.limit / 2**20:.0f} MiB, many times the size of the file')


class Storage:
    """The elements that tensors are views of."""

    def __init__(self, data: torch.UntypedStorage, dtype: torch.dtype):
        self.data, self.dtype = data, dtype


class _Function:
    """What a pickle gets for a name in `FUNCTIONS`."""

    def __init__(self, name: str, call: Callable):
        self.name, self.call = name, call


class DtypeName:
    """A numpy type before its state: `numpy.dtype(name, align, copy)`."""

    kinds = 'biufcSU'  # of numpy, that a file may hold
    place: int | None = None  # in the memo

    def __init__(self, name: Any, align: Any = False, copy: Any = False):
        if not isinstance(name, str):
            raise CodeError(f'numpy type {name}')
        try:
            self.dtype = np.dtype(name)
        except TypeError as error:
            raise DamagedError(f'unknown numpy type {name}') from error
        if self.dtype.kind not in self.kinds or self.dtype.subdtype:
            raise CodeError(f'numpy type {self.dtype} is not allowed')

    def build(self, state: Any) -> np.dtype:
        """The type, if the state is that of a plain one: no fields, no size but its own."""
        if not (isinstance(state, tuple) and len(state) == 8) or any(part is not None for part in state[2:5]):
            raise CodeError(f'numpy type {self.dtype} with a state of its own is not allowed')
        order, size = state[1], state[5]
        if order not in ('<', '>', '|', '=') or size not in (-1, self.dtype.itemsize):
            raise CodeError(f'numpy type {self.dtype} with elements of {size} bytes is not allowed')
        return self.dtype.newbyteorder(order)


class EmptyArray:
    """A numpy array before its state: `numpy.core.multiarray._reconstruct(numpy.ndarray, (0,), b'b')`."""

    place: int | None = None  # in the memo

    def __init__(self, kind: Any, shape: Any, code: Any):
        if not (isinstance(kind, _Function) and kind.name == 'numpy.ndarray') or shape != (0,):
            raise RefusedError('a numpy array with a shape before its content')

    @staticmethod
    def build(state: Any) -> np.ndarray:
        """The array, if its bytes are those of its shape."""
        if not (isinstance(state, tuple) and len(state) == 5):
            raise DamagedError('a numpy array without content')
        _, shape, dtype, fortran, data = state
        if not isinstance(dtype, np.dtype) or not isinstance(data, bytes | bytearray) or not _is_shape(shape):
            raise RefusedError('a numpy array that is not of plain numbers')
        if dtype.itemsize == 0 or math.prod(shape) * dtype.itemsize != len(data):
            raise DamagedError(f'a numpy array {shape} of {dtype} with {len(data)} bytes')
        return np.frombuffer(bytearray(data), dtype).reshape(shape, order='F' if fortran else 'C')


def _array(data: Any, dtype: Any, shape: Any, order: Any, *_: Any) -> np.ndarray:
    """An array in one piece, as protocol 5 has it."""
    if order not in ('C', 'F'):
        raise DamagedError(f'a numpy array in the order {order!r}')
    return EmptyArray.build((1, shape, dtype, order == 'F', data))


def _is_shape(shape: Any) -> bool:
    return isinstance(shape, tuple) and all(type(side) is int and 0 <= side < 2**62 for side in shape)


def _scalar(dtype: Any, data: Any) -> np.generic:
    if not isinstance(dtype, np.dtype) or not isinstance(data, bytes) or len(data) != dtype.itemsize or not data:
        raise RefusedError('a numpy value that is no plain number')
    return np.frombuffer(data, dtype)[0]


def _statistic(owner: Any, name: Any) -> Callable:
    """What a pickle gets as `getattr`: a HistoryBuffer refers to its statistics by it, and nothing else may."""
    if isinstance(owner, _Function) and owner.call is HistoryBuffer and name in STATISTICS:
        return STATISTICS_NAMES[f'HistoryBuffer.{name}']
    raise CodeError(f'getattr({getattr(owner, "name", type(owner).__name__)}, {name!r}) is not allowed')


def _encode(text: Any, encoding: Any = 'latin1') -> bytes:
    if not isinstance(text, str) or encoding != 'latin1':
        raise RefusedError(f'bytes in the encoding {encoding}')
    return text.encode('latin1')


def _tuple(items: Any = ()) -> tuple:
    if not isinstance(items, list | tuple):
        raise DamagedError('a tuple of what is no list')
    return tuple(items)


def _empty_bytes(*args: Any) -> bytes:
    if args:  # of a number, they would be as many as that says
        raise RefusedError('bytes without content')
    return b''


def _bytearray(*args: Any) -> bytearray:
    if args and not isinstance(args[0], bytes | bytearray):  # of a number, it would be as long as that says
        raise RefusedError('a bytearray without content')
    return bytearray(*args[:1])


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *rest: Any, dtype: torch.dtype | None = None) -> Tensor:
    """A view of a storage; the rest of what PyTorch saves is requires_grad, hooks and metadata."""
    if not isinstance(storage, Storage) or not _is_shape(size) or not _is_shape(stride) or not _is_shape((offset,)):
        raise DamagedError('a tensor without storage or shape')
    dtype = dtype or storage.dtype
    if math.prod(size) > 2**40:
        raise RefusedError(f'a tensor of {math.prod(size)} elements')
    if offset * dtype.itemsize > storage.data.nbytes():
        raise DamagedError('a tensor that begins behind its storage')
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) if all(size) else -1
    if (last + 1) * dtype.itemsize > storage.data.nbytes():
        raise DamagedError(f'a tensor {tuple(size)} that is larger than its storage of {storage.data.nbytes()} bytes')
    tensor = torch.empty(0, dtype=dtype, device=storage.data.device).set_(storage.data, offset, size, stride)
    return tensor.requires_grad_(bool(rest and rest[0]) and dtype.is_floating_point)


def _tensor_v3(storage: Any, offset: Any, size: Any, stride: Any, grad: Any, hooks: Any, dtype: Any, *_: Any) -> Tensor:
    if not isinstance(dtype, torch.dtype):
        raise DamagedError('a tensor without a type')
    return _tensor(storage, offset, size, stride, grad, dtype=dtype)


def _parameter(data: Any, requires_grad: Any = True, *_: Any) -> nn.Parameter:
    if not isinstance(data, Tensor):
        raise DamagedError('a parameter without a tensor')
    return nn.Parameter(data.detach(), requires_grad=bool(requires_grad) and data.is_floating_point())


def _tensor_with_attributes(rebuild: Any, kind: Any, args: Any, state: Any) -> Tensor:
    """A tensor to which Python attributes were added; they are no weights and stay away."""
    if not isinstance(rebuild, _Function) or rebuild.call not in (_tensor, _tensor_v3, _parameter):
        raise RefusedError('a tensor of another class')
    return rebuild.call(*args)


def device(*args: Any) -> torch.device:
    """A device by its name and number; it need not be there.

    Raises:
        DamagedError: If PyTorch knows none of that name.
    """
    try:
        return torch.device(*args)
    except (RuntimeError, TypeError) as error:
        raise DamagedError(f'a device {args}') from error


def _never(*_: Any) -> Any:
    raise CodeError('a class that is called')


FUNCTIONS: dict[str, Callable] = {
    'collections.OrderedDict': OrderedDict,
    'collections.Counter': Counter,  # of a scheduler's milestones
    'builtins.set': set,
    'builtins.tuple': _tuple,
    'builtins.frozenset': frozenset,
    'builtins.complex': complex,
    'builtins.slice': slice,
    'builtins.bytes': _empty_bytes,
    'builtins.bytearray': _bytearray,
    'builtins.getattr': _statistic,
    '_codecs.encode': _encode,
    'mmengine.logging.history_buffer.HistoryBuffer': HistoryBuffer,
    'numpy.dtype': DtypeName,
    'numpy.ndarray': _never,
    **{
        f'numpy.{core}.multiarray.{name}': function
        for core in ('core', '_core')
        for name, function in (('_reconstruct', EmptyArray), ('scalar', _scalar))
    },
    **{f'numpy.{core}.numeric._frombuffer': _array for core in ('core', '_core')},
    'torch.Size': torch.Size,
    'torch.device': device,
    'torch.Tensor': _never,
    'torch.nn.parameter.Parameter': _parameter,
    'torch._utils._rebuild_tensor': _tensor,
    'torch._utils._rebuild_tensor_v2': _tensor,
    'torch._utils._rebuild_tensor_v3': _tensor_v3,
    'torch._utils._rebuild_parameter': _parameter,
    'torch._utils._rebuild_parameter_with_state': _parameter,
    'torch._tensor._rebuild_from_type_v2': _tensor_with_attributes,
}
MOVED = {'__builtin__': 'builtins', 'copy_reg': 'copyreg', 'torch.tensor': 'torch._tensor'}


def find(module: str, name: str, functions: Mapping[str, Callable] = FUNCTIONS) -> Any:
    """What a pickle gets for a global name, of which `functions` may be called.

    Raises:
        RefusedError: For all but weights and plain values.
    """
    module = MOVED.get(module, module)
    full = f'{module}.{name}'
    if full in functions:
        return _Function(full, functions[full])
    if module == HistoryBuffer.__module__ and name in STATISTICS_NAMES:
        return STATISTICS_NAMES[name]
    if module in ('torch', 'torch.storage', 'torch.cuda') and name in STORAGES:
        return STORAGES[name]
    if module == 'torch' and isinstance(getattr(torch, name, None), torch.dtype):
        return getattr(torch, name)
    if module == 'torch._utils' and name.startswith('_rebuild_'):
        raise RefusedError(f'a tensor that is not dense ({name.removeprefix("_rebuild_")})')
    raise CodeError(full)


class Machine:
    """Carries out the instructions of one pickle.

    Args:
        budget: Of the file.
        storage_of: Gives the storage for a persistent id.
        functions: What the pickle may call, by name.
    """

    def __init__(
        self,
        budget: Budget,
        storage_of: Callable[[tuple], Storage],
        functions: Mapping[str, Callable] = FUNCTIONS,
    ):
        self.budget, self.storage_of, self.functions = budget, storage_of, functions
        self.stack: list[Any] = []
        self.outer: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def run(self, file: IO[bytes]) -> Any:
        """Read a pickle, of any protocol, up to its end.

        Raises:
            RefusedError: If it holds anything but weights and plain values.
            DamagedError: If it is no whole pickle.
        """
        try:
            for opcode, argument, _ in pickletools.genops(file):
                name = opcode.name
                if name in CONSTANTS:
                    self.stack.append(CONSTANTS[name]())
                elif name in LITERALS:
                    self.stack.append(argument)
                elif name in OPERATIONS:
                    OPERATIONS[name](self, argument)
                elif name == 'STOP':
                    return self.check(self.stack.pop())
                elif name == 'PROTO' and argument is not None and argument > pickle.HIGHEST_PROTOCOL:
                    raise RefusedError(f'a pickle of protocol {argument}, newer than this Python knows')
                elif name not in ('PROTO', 'FRAME'):
                    raise CodeError(f'the pickle instruction {name}')
        except (ValueError, IndexError, KeyError, TypeError, OverflowError, AttributeError) as error:
            raise DamagedError(str(error)) from error
        raise DamagedError('it has no end')

    def check(self, root: Any) -> Any:
        """`check_values` of what the pickle holds."""
        return check_values(root, self.budget)

    def pop_mark(self) -> list[Any]:
        """What was pushed since the last mark."""
        items, self.stack = self.stack, self.outer.pop()
        return items

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def mark(self, _: Any) -> None:
        self.outer.append(self.stack)
        self.stack = []

    def put(self, index: int | None) -> None:
        index = len(self.memo) if index is None else index
        self.memo[index] = self.stack[-1]
        if isinstance(self.stack[-1], DtypeName | EmptyArray):
            self.stack[-1].place = index

    def get(self, index: int) -> None:
        self.stack.append(self.memo[index])

    def append(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise DamagedError('items for what is no list')
        self.stack[-1].extend(items)

    def set_items(self, items: list[Any]) -> None:
        if type(self.stack[-1]) not in (dict, OrderedDict, Counter):
            raise DamagedError('items for what is no dict')
        self.stack[-1].update(_pairs(items))

    def add_items(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not set:
            raise DamagedError('items for what is no set')
        self.stack[-1].update(_keys(items))

    def tuple_of(self, count: int) -> None:
        if len(self.stack) < count:
            raise DamagedError('a tuple of nothing')
        self.stack[-count:] = [tuple(self.stack[-count:])]

    def push_global(self, argument: str) -> None:
        self.stack.append(find(*argument.split(' ', 1), self.functions))

    def push_stacked_global(self, _: Any) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.stack.append(find(str(module), str(name), self.functions))

    def reduce(self, _: Any) -> None:
        args, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, _Function) or not isinstance(args, tuple):
            raise CodeError('a call of what is no function')
        if function.call is HistoryBuffer:  # a class, of which `new` makes objects
            raise CodeError(f'a call of {function.name}')
        self.budget.charge(sum(_cost(argument) for argument in args))
        if function.call in (OrderedDict, Counter, set, frozenset) and args:
            args = (_hashable(args[0]),)
        result = function.call(*args)
        if isinstance(result, Tensor):
            self.budget.charge(result.numel() * result.element_size())
        self.stack.append(result)

    def new(self, _: Any) -> None:
        args, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, _Function) or function.call is not HistoryBuffer or args:
            raise CodeError(f'an object of {getattr(function, "name", type(function).__name__)}')
        self.stack.append(HistoryBuffer.__new__(HistoryBuffer))

    def build(self, _: Any) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        self.budget.charge(_cost(state))
        if isinstance(target, DtypeName | EmptyArray):
            if isinstance(target, EmptyArray) and isinstance(state, tuple):
                self.budget.charge(_cost(state[-1]))
            self.stack[-1] = built = target.build(state)
            if target.place is not None:
                self.memo[target.place] = built
        elif type(target) in (OrderedDict, HistoryBuffer) and type(state) is dict and all(map(_is_text, state)):
            vars(target).update(state)
        else:
            raise CodeError(f'a state for {type(target).__name__}')

    def persistent(self, _: Any) -> None:
        self.stack.append(self.storage_of(self.stack.pop()))


def _is_text(value: Any) -> bool:
    return type(value) is str


def _cost(value: Any) -> int:
    """Bytes that an argument may be copied to."""
    if isinstance(value, str | bytes | bytearray):
        return len(value)
    return 64 * len(value) if isinstance(value, list | tuple | dict | set | frozenset) else 0


def _key(key: Any) -> Any:
    """A key of a dict or set: nothing whose hash takes long, or is everybody's."""
    parts = key if type(key) is tuple else (key,)
    numbers = (int(part) for part in parts if isinstance(part, int | np.integer))
    if not all(isinstance(part, (*PLAIN, np.integer)) for part in parts) or any(abs(n) >= 2**60 for n in numbers):
        raise RefusedError(f'a key that is a {type(key).__name__}')
    return key


def _keys(items: Any) -> list[Any]:
    return [_key(item) for item in items]


def _pairs(items: list[Any]) -> dict[Any, Any]:
    return {_key(key): value for key, value in zip(items[::2], items[1::2], strict=True)}


def _hashable(argument: Any) -> Any:
    """The argument of a dict or set, with its keys looked at."""
    if isinstance(argument, dict):
        return argument
    if not isinstance(argument, list | tuple | set | frozenset):
        raise DamagedError('a dict or set of what is no list')
    for item in argument:
        _key(item[0] if type(item) is list and item else item)
    return argument


def check_values(root: Any, budget: Budget) -> Any:
    """Return `root` if it holds nothing but weights and plain values, and is a tree of sane depth and size.

    Raises:
        RefusedError: If it holds itself, is nested too deep, or refers to its parts so often that it would need more
            than the budget written out.
    """
    measured: dict[int, tuple[int, int]] = {}  # of a container: depth and number of values, written out
    inside: set[int] = set()
    waiting: list[tuple[Any, list[Any] | None]] = [(root, None)]
    while waiting:
        value, parts = waiting.pop()
        if isinstance(value, LEAVES) or (parts is None and id(value) in measured):
            continue
        if parts is None:
            if id(value) in inside:
                raise RefusedError('a list or dict that holds itself')
            inside.add(id(value))
            parts = _parts(value)
            waiting.append((value, parts))
            waiting += [(part, None) for part in parts]
            continue
        inside.discard(id(value))
        depths, sizes = zip((0, 1), *(measured.get(id(part), (0, 1)) for part in parts), strict=True)
        measured[id(value)] = 1 + max(depths), sum(sizes)
        if 1 + max(depths) > DEPTH:
            raise RefusedError(f'lists in each other, more than {DEPTH} deep')
        if 64 * sum(sizes) > budget.limit:
            budget.charge(64 * sum(sizes))
    return root


def _parts(value: Any) -> list[Any]:
    if isinstance(value, HistoryBuffer):
        return list(vars(value).values())
    if isinstance(value, dict):
        return [*value.values(), *(vars(value).values() if isinstance(value, OrderedDict) else ())]
    if isinstance(value, list | tuple | set | frozenset):
        return list(value)
    if any(value is function for function in STATISTICS_NAMES.values()):
        return []
    raise RefusedError(f'a {getattr(value, "name", type(value).__name__)} by itself')


CONSTANTS: dict[str, Callable[[], Any]] = {
    'NONE': lambda: None,
    'NEWTRUE': lambda: True,
    'NEWFALSE': lambda: False,
    'EMPTY_LIST': list,
    'EMPTY_TUPLE': tuple,
    'EMPTY_DICT': dict,
    'EMPTY_SET': set,
}
LITERALS = {
    *('INT', 'BININT', 'BININT1', 'BININT2', 'LONG', 'LONG1', 'LONG4', 'FLOAT', 'BINFLOAT'),
    *('STRING', 'BINSTRING', 'SHORT_BINSTRING', 'UNICODE', 'BINUNICODE', 'SHORT_BINUNICODE', 'BINUNICODE8'),
    *('BINBYTES', 'SHORT_BINBYTES', 'BINBYTES8', 'BYTEARRAY8'),
}
OPERATIONS: dict[str, Callable[[Machine, Any], None]] = {
    'MARK': Machine.mark,
    **dict.fromkeys(('PUT', 'BINPUT', 'LONG_BINPUT', 'MEMOIZE'), Machine.put),
    **dict.fromkeys(('GET', 'BINGET', 'LONG_BINGET'), Machine.get),
    'APPEND': lambda machine, _: machine.append([machine.stack.pop()]),
    'APPENDS': lambda machine, _: machine.append(machine.pop_mark()),
    'LIST': lambda machine, _: machine.push(machine.pop_mark()),
    'SETITEM': lambda machine, _: machine.set_items([machine.stack.pop(-2), machine.stack.pop()]),
    'SETITEMS': lambda machine, _: machine.set_items(machine.pop_mark()),
    'DICT': lambda machine, _: machine.push(_pairs(machine.pop_mark())),
    'ADDITEMS': lambda machine, _: machine.add_items(machine.pop_mark()),
    'FROZENSET': lambda machine, _: machine.push(frozenset(_keys(machine.pop_mark()))),
    'TUPLE': lambda machine, _: machine.push(tuple(machine.pop_mark())),
    **{f'TUPLE{count}': lambda machine, _, count=count: machine.tuple_of(count) for count in (1, 2, 3)},
    'GLOBAL': Machine.push_global,
    'STACK_GLOBAL': Machine.push_stacked_global,
    'REDUCE': Machine.reduce,
    'NEWOBJ': Machine.new,
    'BUILD': Machine.build,
    'BINPERSID': Machine.persistent,
}
