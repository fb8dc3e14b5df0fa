"""A GPU for tests on machines without one: tensors that are computed on the CPU but say, and insist, to be elsewhere.

Within `gpu()` device='cuda' works everywhere in torch's Python interface, and what a GPU refuses is refused: operands
on two devices (but for numbers and indices), and numpy() without cpu(). Where there is a GPU, it is used. What only a
real one shows is not seen: its kernels and their rounding, mixed precision, memory, time.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map_only


def gpu() -> AbstractContextManager:
    """The context in which device='cuda' is to be used."""
    return nullcontext() if torch.cuda.is_available() else _PretendedGPU()


class _OnGPU(torch.Tensor):
    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        return _call(func, args, kwargs or {})


class _PretendedGPU(TorchFunctionMode):
    def __enter__(self):
        # A module moves to another device by new parameters, as a parameter can not change its class.
        self.overwrite = torch.__future__.get_overwrite_module_params_on_conversion()
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        return super().__enter__()

    def __exit__(self, *error):
        torch.__future__.set_overwrite_module_params_on_conversion(self.overwrite)
        return super().__exit__(*error)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        return _call(func, args, kwargs or {})


def _call(func: Any, args: tuple, kwargs: dict) -> Any:
    name = func.__name__
    with torch._C.DisableTorchFunctionSubclass():
        tensors = [value for value in tree_leaves((args, kwargs)) if isinstance(value, torch.Tensor)]
        on_gpu = any(isinstance(tensor, _OnGPU) for tensor in tensors)
        if name in ('to', 'cuda', 'cpu'):
            return _move(func, name, args, kwargs)
        if name == '__get__' and on_gpu and func.__self__.__name__ in ('device', 'is_cuda'):
            return torch.device('cuda', 0) if func.__self__.__name__ == 'device' else True
        if on_gpu and name in ('numpy', '__array__'):
            raise TypeError(f'{name}() of a tensor on the GPU: use cpu() first')
        indexed = name in ('__getitem__', '__setitem__') and isinstance(args[0], _OnGPU)
        if on_gpu and not indexed and name not in ('copy_', '__set__', '_has_compatible_shallow_copy_type'):
            elsewhere = [tuple(tensor.shape) for tensor in tensors if tensor.dim() and not isinstance(tensor, _OnGPU)]
            if elsewhere:
                raise RuntimeError(f'{name} on the GPU, with tensors {elsewhere} on the CPU')
        if kwargs.get('device') is not None:
            on_gpu = _names_gpu(kwargs['device'])
            kwargs = dict(kwargs, device='cpu' if on_gpu else kwargs['device'])
        result = func(*args, **kwargs)
        # A shape is a tuple, but of numbers.
        return tree_map_only(torch.Tensor, _placed, result) if on_gpu and not isinstance(result, torch.Size) else result


def _move(func: Any, name: str, args: tuple, kwargs: dict) -> torch.Tensor:
    tensor, *rest = args
    here = isinstance(tensor, _OnGPU)
    target = kwargs.pop('device', None)
    if rest and (rest[0] is None or isinstance(rest[0], str | int | torch.device | torch.Tensor)):
        target, rest[0] = rest[0], 'cpu'
        if isinstance(target, torch.Tensor):
            target, rest[0] = 'cuda' if isinstance(target, _OnGPU) else 'cpu', target.as_subclass(torch.Tensor)
    there = {'cuda': True, 'cpu': False}.get(name, here if target is None else _names_gpu(target))
    plain = tensor.as_subclass(torch.Tensor)
    moved = func(plain, *rest, **kwargs) if name == 'to' else plain
    if there == here and moved is plain:
        return tensor
    moved = moved.clone() if there != here else moved
    return _placed(moved) if there else moved


def _placed(tensor: torch.Tensor) -> torch.Tensor:
    return tensor if isinstance(tensor, _OnGPU) else tensor.as_subclass(_OnGPU)


def _names_gpu(device: Any) -> bool:
    return isinstance(device, int) or str(device).startswith('cuda')
