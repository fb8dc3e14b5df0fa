"""The 'poly' policy of the papers."""

from typing import Any

from mmengine.optim import PolyLR
from mmseg.registry import PARAM_SCHEDULERS

from ..errors import UserError


# Under the stock name too, which hides MMEngine's in mmseg's scope: its formula is not what the papers' configs mean.
@PARAM_SCHEDULERS.register_module(name=['DeepLabPolyLR', 'PolyLR'])
class DeepLabPolyLR(PolyLR):
    """Learning rate of iteration i of N, counted from 0: rate x (1 - i / N)^power (v2, section 4.1; v3, section 4.1).

    MMEngine's PolyLR divides by N - 1, so that the last iteration has a rate of 0 and learns nothing. Here that rate is
    rate x (1 / N)^power, and 0 (or `eta_min`, which the rate falls to) is that of what comes after the N iterations.

    Args:
        kwargs: As of MMEngine's PolyLR; `begin` and `end`, which is N if not given, bound the iterations.
    """

    begin: int
    end: int

    def __init__(self, optimizer: Any, *args, **kwargs) -> None:
        power = kwargs.get('power', 1.0)
        if power <= 0:
            raise UserError(f'power={power}: the rate falls with a positive power only, 0.9 in the papers')
        super().__init__(optimizer, *args, **kwargs)

    def _get_value(self) -> list[float]:
        rates = [group[self.param_name] for group in self.optimizer.param_groups]
        left = self.end - self.begin - self.last_step
        factor = (left / (left + 1)) ** self.power if self.last_step else 1.0  # of the iteration before
        return [(rate - self.eta_min) * factor + self.eta_min for rate in rates]

    def step(self) -> None:
        """Go on to the next iteration."""
        super().step()
        if self._global_step == self.end:
            groups: Any = self.optimizer.param_groups
            for group in groups:
                group[self.param_name] = self.eta_min
