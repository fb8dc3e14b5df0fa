# As deeplabv3plus_r101_cityscapes, on torchvision's ResNet-101 (7x7 stem, stride in a block's first unit):
# not the papers' network, but its weights download themselves. No figure published.
# python tools/train.py configs/deeplabv3plus_r101_cityscapes_torchvision.py
# One device, batch 16, 90000 iterations; time and score are not measured here.
_base_ = [
    '_base_/models/deeplabv3plus_r101_torchvision.py',
    '_base_/datasets/cityscapes.py',
    '_base_/schedules/poly_90k.py',
    '_base_/default_runtime.py',
]
model = dict(num_classes=_base_.num_classes, crop_size=_base_.crop_size)
