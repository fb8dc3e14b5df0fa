# No figure published for v3 on CamVid.
# python tools/train.py configs/deeplabv3_r50_camvid.py
# One device, batch 8, 10000 iterations; time and score are not measured here.
_base_ = [
    '_base_/models/deeplabv3_r50.py',
    '_base_/datasets/camvid.py',
    '_base_/schedules/poly_10k.py',
    '_base_/default_runtime.py',
]
model = dict(
    num_classes=_base_.num_classes,
    crop_size=_base_.crop_size,
    decode_head=dict(initial_weights='kaiming'),  # few iterations
)
auto_scale_lr = dict(base_batch_size=8)
