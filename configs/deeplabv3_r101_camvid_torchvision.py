# As deeplabv3_r101_camvid, on torchvision's ResNet-101 (7x7 stem, stride in a block's first unit):
# not the papers' network, but its weights download themselves. No figure published.
# python tools/train.py configs/deeplabv3_r101_camvid_torchvision.py
# One device, batch 8, 10000 iterations; time and score are not measured here.
_base_ = [
    '_base_/models/deeplabv3_r101_torchvision.py',
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
