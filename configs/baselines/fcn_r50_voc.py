# Baseline: FCN with the data and the schedule of deeplabv3plus_r50_voc. No DeepLab paper gives a figure.
# python tools/train.py configs/baselines/fcn_r50_voc.py
# One device, batch 16, 30000 iterations; time and score are not measured here.
_base_ = [
    '../_base_/models/fcn_r50.py',
    '../_base_/datasets/voc12_aug.py',
    '../_base_/schedules/poly_30k.py',
    '../_base_/default_runtime.py',
]
model = dict(
    data_preprocessor=dict(size=_base_.crop_size, test_cfg=dict(size=_base_.crop_size)),
    decode_head=dict(num_classes=_base_.num_classes),
    auxiliary_head=dict(num_classes=_base_.num_classes),
)
