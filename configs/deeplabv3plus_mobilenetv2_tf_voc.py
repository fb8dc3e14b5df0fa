# As deeplabv3plus_mobilenetv2_voc, from the TensorFlow release's ImageNet weights: input in [-1, 1], eps 1e-3.
# Their batch norm comes folded into the convolutions: convert them with --calibrate. No published figure.
# python tools/train.py configs/deeplabv3plus_mobilenetv2_tf_voc.py
# One device, batch 16, 30000 iterations; not timed here; short runs: docs/results.md.
_base_ = [
    '_base_/models/deeplabv3plus_mobilenetv2_tf.py',
    '_base_/datasets/voc12_aug.py',
    '_base_/schedules/poly_30k.py',
    '_base_/default_runtime.py',
]
model = dict(num_classes=_base_.num_classes, crop_size=_base_.crop_size)
optim_wrapper = dict(optimizer=dict(weight_decay=4e-5))  # TensorFlow release, for MobileNet
