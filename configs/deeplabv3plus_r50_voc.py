# No figure published for ResNet-50 with the v3+ decoder on VOC 2012; the recipe is the one of ResNet-101.
_base_ = [
    '_base_/models/deeplabv3plus_r50.py',
    '_base_/datasets/voc12_aug.py',
    '_base_/schedules/poly_30k.py',
    '_base_/default_runtime.py',
]
model = dict(
    data_preprocessor=dict(size=_base_.crop_size, test_cfg=dict(size=_base_.crop_size)),
    decode_head=dict(num_classes=_base_.num_classes),
)
