# DeepLab v3+ with MobileNetV2 from ImageNet on the animals of VOC 2012 (docs/results.md). No published figure.
# python tools/train.py configs/recipes/deeplabv3plus_mobilenetv2_voc_animals.py
# One device, batch 8, 4000 iterations; time and score: docs/results.md.
_base_ = [
    '../_base_/models/deeplabv3plus_mobilenetv2_short.py',
    '../_base_/datasets/voc12_animals.py',
    '../_base_/schedules/finetune.py',
    '../_base_/default_runtime.py',
    '../_base_/fast_cpu.py',
]
model = dict(num_classes=_base_.num_classes, crop_size=_base_.crop_size)
optim_wrapper = _base_.fast
default_hooks = dict(checkpoint=dict(save_best='mIoU_subset'))
