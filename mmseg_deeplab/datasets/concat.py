"""Several datasets, one after the other."""

from collections.abc import Sequence

from mmengine.dataset import BaseDataset
from mmengine.dataset import ConcatDataset as StockConcatDataset
from mmseg.registry import DATASETS

from ..errors import UserError

OWN = ('label_map', 'reduce_zero_label')
"""What MMSegmentation counts to a dataset's meta information and is each member's own: how its files are read."""


# Under the stock name, which hides MMEngine's in mmseg's scope.
@DATASETS.register_module()
class ConcatDataset(StockConcatDataset):
    """MMEngine's ConcatDataset, for members whose masks count alike when they are loaded.

    Classes must be the same in the same order. How members come to them may differ: a mapping of theirs to a subset
    (`metainfo=dict(classes=...)`) or `reduce_zero_label` acts on the samples of the member that states it.

    Raises:
        UserError: It names two members and what differs.
    """

    def __init__(
        self,
        datasets: Sequence[BaseDataset | dict],
        lazy_init: bool = False,
        ignore_keys: str | list[str] | None = None,
    ) -> None:
        if not datasets:
            raise UserError('ConcatDataset has no datasets to join; name one or more')
        # Built without their lists of files; MMEngine takes wrapped members as configs only.
        members = [
            DATASETS.build({**member, 'lazy_init': True}) if isinstance(member, dict) else member for member in datasets
        ]
        ignored = [ignore_keys] if isinstance(ignore_keys, str) else [*(ignore_keys or [])]
        for number, member in enumerate(members[1:], 1):
            for key in sorted({*members[0].metainfo, *member.metainfo} - {*OWN, *ignored}):
                first, other = (each.metainfo.get(key) for each in (members[0], member))
                if _plain(first) != _plain(other):
                    raise UserError(
                        f'ConcatDataset: datasets.0 ({type(members[0]).__name__}) and datasets.{number} '
                        f'({type(member).__name__}) differ in {key}: {_short(first)} and {_short(other)}. Labels and '
                        f'scores are those of one list of classes: give both the same, by metainfo=dict({key}=...)'
                    )
        super().__init__(datasets, lazy_init, [*ignored, *OWN, *_same_but_for_type(members)])


def _same_but_for_type(members: list[BaseDataset]) -> list[str]:
    """Keys whose values are lists in one member and tuples in another, which MMEngine tells apart."""
    return [key for key in members[0].metainfo if len({type(member.metainfo.get(key)) for member in members}) > 1]


def _plain(value: object) -> object:
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 120 else f'{text[:117]}...'
