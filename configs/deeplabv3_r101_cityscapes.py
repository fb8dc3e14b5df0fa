# v3, section 4.3: Cityscapes val, 77.23 mIoU at output stride 16, 77.82 at 8.
_base_ = [
    '_base_/models/deeplabv3_r101.py',
    '_base_/datasets/cityscapes.py',
    '_base_/schedules/poly_90k.py',
    '_base_/default_runtime.py',
]
model = dict(
    data_preprocessor=dict(size=_base_.crop_size, test_cfg=dict(size=_base_.crop_size)),
    decode_head=dict(num_classes=_base_.num_classes),
)
