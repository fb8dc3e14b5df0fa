"""Output stride to strides and atrous rates: the one place where that is decided.

The rule is the one of the DeepLab releases (v3, section 3.1; v3+, section 4): walk through the units of a network with
their nominal strides; as soon as the features are as coarse as `output_stride` asks, a unit that would stride further
does not, and whatever follows it is convolved with a rate larger by that stride. The unit that lost its stride keeps
the old rate itself, which makes the features of a smaller output stride, subsampled, equal to those of a larger one.
"""

from collections.abc import Sequence

from ..errors import UserError

OUTPUT_STRIDES = (8, 16, 32)
"""Output strides of the published models; the cascade of v3 goes on to 64, 128 and 256."""

ASPP_BASE_STRIDE = 16
"""Output stride at which configs state the rates of atrous spatial pyramid pooling (v3, section 3.3)."""


def atrous_plan(
    strides: Sequence[int], output_stride: int, stem_stride: int = 1, rate_of_lost_stride: str = 'old'
) -> list[tuple[int, int]]:
    """Turn nominal unit strides into (stride, rate) pairs for an output stride.

    Args:
        strides: Nominal stride of each unit, in order.
        output_stride: Input size divided by feature size, in pixels.
        stem_stride: Stride of what comes before the first unit.
        rate_of_lost_stride: Rate of a unit that lost its stride: 'old' is the rule of the v3 and v3+ releases,
            'new' the one of the Caffe models of v2, where all units of such a stage take the larger rate.

    Raises:
        ValueError: If `output_stride` is none of those that the network passes through.
    """
    if rate_of_lost_stride not in ('old', 'new'):
        raise UserError(f"rate_of_lost_stride={rate_of_lost_stride!r} is unknown; choose 'old' or 'new'")
    plan = []
    current, rate = stem_stride, 1
    reachable = [current]
    for stride in strides:
        if stride > 1 and reachable[-1] * stride > output_stride:
            plan.append((1, rate if rate_of_lost_stride == 'old' else rate * stride))
            rate *= stride
        else:
            plan.append((stride, rate))
            current *= stride
        if stride > 1:
            reachable.append(reachable[-1] * stride)
    if current != output_stride:
        raise UserError(
            f'output_stride={output_stride} cannot be reached: the features of this network pass through the strides '
            f'{reachable}; choose one of {[s for s in reachable if s >= OUTPUT_STRIDES[0]]}'
        )
    return plan


def atrous_layer(input_stride: int, stride: int, output_stride: int) -> tuple[int, int]:
    """(stride, rate) of one layer, by the nominal stride of its input: the same rule where layers are no chain.

    Args:
        input_stride: Stride of the layer's input in the network as it is.
        stride: The layer's own.
        output_stride: As of `atrous_plan`.
    """
    left = max(output_stride // input_stride, 1)
    return min(stride, left), max(input_stride // output_stride, 1)


def check_output_stride(output_stride: int, allowed: Sequence[int] = OUTPUT_STRIDES, reason: str = '') -> int:
    """Return `output_stride`, or raise UserError, with the reason, if it is none of `allowed`."""
    if isinstance(output_stride, bool) or output_stride not in allowed:
        raise UserError(
            f'output_stride={output_stride!r} is not possible for this model; choose one of {allowed}'
            f'{reason and f": {reason}"}'
        )
    return output_stride


def multi_grid_rates(block_rate: int, multi_grid: Sequence[int], num_units: int) -> list[int]:
    """Rates of the units of a block: unit i takes multi_grid[i] x block rate (v3, section 3.2.1)."""
    if len(multi_grid) != num_units or any(grid < 1 for grid in multi_grid):
        raise UserError(
            f'multi_grid={tuple(multi_grid)} must hold one positive factor for each of the {num_units} units'
        )
    return [block_rate * grid for grid in multi_grid]


def aspp_rates(base_rates: Sequence[int], output_stride: int) -> list[int]:
    """Scale ASPP rates, stated at output stride 16, to `output_stride`: (6, 12, 18) is (12, 24, 36) at 8.

    Raises:
        ValueError: If a rate would become a fraction.
    """
    scaled = [rate * ASPP_BASE_STRIDE / output_stride for rate in base_rates]
    if any(rate < 1 or rate != int(rate) for rate in scaled):
        raise UserError(
            f'ASPP rates {tuple(base_rates)} (stated at output stride {ASPP_BASE_STRIDE}) become {tuple(scaled)} at '
            f'output_stride={output_stride}, but a rate must be a whole number of cells; change the rates or the stride'
        )
    return [int(rate) for rate in scaled]
