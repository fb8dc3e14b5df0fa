"""Starting a part of a model from a file: what `init_cfg=dict(type='Pretrained')` of this package's parts comes to."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from mmengine.logging import print_log
from mmengine.runner import CheckpointLoader
from mmseg.registry import WEIGHT_INITIALIZERS
from torch import Tensor, nn

from .bands import inflate_bands
from .comparison import compare, mismatch_error, weights
from .diagnose import explain_part


@WEIGHT_INITIALIZERS.register_module()
class StrictPretrained:
    """Initialise modules from a checkpoint, all of their layers or those named, or refuse it.

    MMEngine's `PretrainedInit` skips what the file lacks, so that a training goes on from random weights. The file is
    read once, however many modules are initialised.

    Args:
        checkpoint: File or URL.
        prefix: What the names of the part begin with in the file, with or without the dot.
        layers: Children of the module to initialise; empty means all of it.
        beside: Beginnings of names, behind the prefix, that the file may hold besides.
        bands: Of the images; convolutions of three in the file are inflated to them, see `inflate_bands`.
        map_location: As of `torch.load`.
        optional: Beginnings of names that the file may lack, all of them together; they are left as they are.
    """

    def __init__(
        self,
        checkpoint: str,
        prefix: str | None = None,
        layers: Sequence[str] = (),
        beside: Sequence[str] = (),
        bands: int = 3,
        map_location: Any = 'cpu',
        optional: Sequence[str] = (),
    ):
        self.checkpoint = checkpoint
        self.prefix = prefix.removesuffix('.') + '.' if prefix else ''
        self.layers = tuple(f'{layer}.' for layer in layers) or ('',)
        self.beside = tuple(beside)
        self.bands = bands
        self.map_location = map_location
        self.optional = tuple(optional)

    @cached_property
    def _file(self) -> dict[str, Tensor]:
        return weights(CheckpointLoader.load_checkpoint(self.checkpoint, map_location=self.map_location))

    def __call__(self, module: nn.Module) -> None:
        """Initialise one module.

        Raises:
            CheckpointMismatchError: If the file leaves a parameter unset, or holds one that the module has not.
        """
        own = {key: value for key, value in module.state_dict().items() if key.startswith(self.layers)}
        state = {
            name: value
            for key, value in self._file.items()
            if key.startswith(self.prefix)
            and (name := key.removeprefix(self.prefix)).startswith(self.layers)
            and not name.startswith(self.beside)
        }
        name = type(module).__name__
        if not any(key.startswith(self.optional) for key in state):  # a tuple of none begins nothing
            own = {key: value for key, value in own.items() if not key.startswith(self.optional)}
        inflate_bands(module, state, self.bands, f'{name} from {self.checkpoint}')
        mismatch = compare(own, state)
        if mismatch:
            cause, advice = explain_part(own, state, mismatch, self._file, self.prefix)
            raise mismatch_error(self.checkpoint, name, own, state, mismatch, cause, advice)
        module.load_state_dict(state, strict=False)
        random = len(module.state_dict()) - len(own) if self.optional else 0
        rest = f', {random} tensors of {", ".join(self.optional)} that it lacks at random' if random else ''
        print_log(f'{name}: {len(own)} tensors initialised from {self.checkpoint}{rest}', logger='current')
