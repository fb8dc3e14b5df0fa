# v3, Table 6: ResNet-101 with ASPP on VOC 2012 val, 77.21 mIoU at output stride 16, 78.51 at 8.
_base_ = [
    '_base_/models/deeplabv3_r101.py',
    '_base_/datasets/voc12_aug.py',
    '_base_/schedules/poly_30k.py',
    '_base_/default_runtime.py',
]
model = dict(
    data_preprocessor=dict(size=_base_.crop_size, test_cfg=dict(size=_base_.crop_size)),
    decode_head=dict(num_classes=_base_.num_classes),
)
