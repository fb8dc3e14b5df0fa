# No figure published for v3+ on CamVid.
_base_ = [
    '_base_/models/deeplabv3plus_r50.py',
    '_base_/datasets/camvid.py',
    '_base_/schedules/poly_10k.py',
    '_base_/default_runtime.py',
]
model = dict(
    data_preprocessor=dict(size=_base_.crop_size, test_cfg=dict(size=_base_.crop_size)),
    decode_head=dict(num_classes=_base_.num_classes),
)
