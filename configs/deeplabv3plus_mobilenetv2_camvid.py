# No figure published for v3+ on CamVid.
# python tools/train.py configs/deeplabv3plus_mobilenetv2_camvid.py
# One device, batch 8, 10000 iterations; time and score are not measured here.
_base_ = [
    '_base_/models/deeplabv3plus_mobilenetv2.py',
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
