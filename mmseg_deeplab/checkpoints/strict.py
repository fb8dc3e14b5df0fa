"""Fitting a checkpoint to a whole model: all of it or none, with an explanation."""

from collections.abc import Mapping
from typing import Any

from mmengine.logging import print_log
from mmengine.model import BaseTTAModel, is_model_wrapper
from torch import Tensor, nn

from .comparison import compare, mismatch_error, weights
from .diagnose import explain

CRF = 'crf.'
"""Prefix of the parameters of a CRF that is trained with the network."""


def unwrap(model: nn.Module) -> nn.Module:
    """The model inside of data-parallel and test-time-augmentation wrappers."""
    inner: Any = model
    while is_model_wrapper(inner) or isinstance(inner, BaseTTAModel):
        inner = inner.module
    return inner


def load_state_dict(
    model: nn.Module, state_dict: Mapping, source: str = 'the checkpoint', drop_classifier: bool = False
) -> list[str]:
    """Load weights into a model, all of them.

    Args:
        model: The model; wrappers are looked through.
        state_dict: A state dict, or a checkpoint with one.
        source: Where it comes from, for messages.
        drop_classifier: Keep the model's own classifiers, the convolutions with one output channel for each class:
            fine-tuning from another set of classes.

    Returns:
        The parameters that were not loaded because of `drop_classifier`.

    Raises:
        CheckpointMismatchError: If a parameter is missing, unexpected or has another shape. The model is unchanged.
    """
    model = unwrap(model)
    state = weights(state_dict)
    dropped = take_own_classifier(model, state, source) if drop_classifier else []
    check_fit(model, state, source)
    model.load_state_dict(state, strict=False)
    return dropped


def check_fit(model: nn.Module, state: Mapping[str, Tensor], source: str, own_crf: bool = True) -> None:
    """Raise a `CheckpointMismatchError` that explains itself unless a state dict fits a model.

    With `own_crf`, a network's weights fit one with a CRF behind it, whose few numbers stay those of its config; it is
    said in the log.
    """
    own = unwrap(model).state_dict()
    crf = [key for key in own if key.startswith(CRF)]
    if own_crf and crf and not any(key.startswith(CRF) for key in state):
        print_log(f'{source} holds no CRF: {", ".join(crf)} stay as the config gives them', logger='current')
        own = {key: value for key, value in own.items() if key not in crf}
    mismatch = compare(own, state)
    if mismatch:
        cause, advice = explain(own, state, mismatch, set(classifier_keys(unwrap(model))))
        raise mismatch_error(source, 'the model', own, state, mismatch, cause, advice)


def classifier_keys(model: nn.Module) -> list[str]:
    """The parameters whose shape depends on the number of classes.

    Those are of every convolution of a head with a bias and one output channel for each class; v1 and v2 classify in
    several places. All others of a DeepLab head have batch norm instead of a bias, or 128, 1024 or 4096 channels.
    """
    keys = []
    for prefix, head in model.named_modules():
        if not (hasattr(head, 'num_classes') and hasattr(head, 'out_channels')):
            continue
        for name, conv in head.named_modules():
            if isinstance(conv, nn.Conv2d) and conv.out_channels == head.out_channels and conv.bias is not None:
                keys += [f'{prefix}.{name}.{parameter}'.lstrip('.') for parameter in ('weight', 'bias')]
    return list(dict.fromkeys(keys))


def take_own_classifier(model: nn.Module, state: dict[str, Tensor], source: str) -> list[str]:
    """Replace the classifiers in `state` by the model's own, name them in the log, and return their names."""
    own = model.state_dict()
    keys = [key for key in classifier_keys(model) if key in own]
    layers = []
    for key in keys:
        if key.endswith('.weight'):
            before = f'{len(state[key])} classes' if getattr(state.get(key), 'ndim', 0) else 'absent'
            layers.append(f'{key.removesuffix(".weight")} (in the file: {before}; now {len(own[key])}, untrained)')
        state[key] = own[key].clone()
    print_log(f'drop_classifier: not taken from {source}: {", ".join(layers)}', logger='current')
    return keys
