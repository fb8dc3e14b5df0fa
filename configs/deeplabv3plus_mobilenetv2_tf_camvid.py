# As deeplabv3plus_mobilenetv2_camvid, from the TensorFlow release's ImageNet weights: input in [-1, 1], eps 1e-3.
# Their batch norm comes folded into the convolutions: convert them with --calibrate. No published figure.
# python tools/train.py configs/deeplabv3plus_mobilenetv2_tf_camvid.py
# One device, batch 8, 10000 iterations; not timed here; a short run: docs/results.md.
_base_ = [
    '_base_/models/deeplabv3plus_mobilenetv2_tf.py',
    '_base_/datasets/camvid.py',
    '_base_/schedules/poly_10k.py',
    '_base_/default_runtime.py',
]
model = dict(
    num_classes=_base_.num_classes,
    crop_size=_base_.crop_size,
    decode_head=dict(initial_weights='kaiming'),  # few iterations
)
optim_wrapper = dict(optimizer=dict(weight_decay=4e-5))  # TensorFlow release, for MobileNet
auto_scale_lr = dict(base_batch_size=8)
