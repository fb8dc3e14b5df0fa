# No figure published for Xception-41 on VOC 2012; the recipe is the one of Xception-65.
# python tools/train.py configs/deeplabv3plus_xception41_voc.py
# One device, batch 16, 30000 iterations; time and score are not measured here.
_base_ = [
    '_base_/models/deeplabv3plus_xception41.py',
    '_base_/datasets/voc12_aug.py',
    '_base_/schedules/poly_30k.py',
    '_base_/default_runtime.py',
]
model = dict(num_classes=_base_.num_classes, crop_size=_base_.crop_size)
optim_wrapper = dict(optimizer=dict(weight_decay=4e-5))  # TensorFlow release, for Xception
