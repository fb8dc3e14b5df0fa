# As deeplabv3plus_mobilenetv2_voc, from the TensorFlow release's ImageNet weights: input in [-1, 1], eps 1e-3.
# Their batch norm comes folded into the convolutions: convert them with --calibrate. No published figure.
# python tools/train.py configs/deeplabv3plus_mobilenetv2_tf_voc.py
# One device, batch 16, 30000 iterations; not timed here; short runs: docs/results.md.
_base_ = './deeplabv3plus_mobilenetv2_voc.py'
model = dict(
    norm_cfg=dict(eps=1e-3),
    data_preprocessor=dict(mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5]),
    decode_head=dict(norm_cfg=dict(eps=1e-5)),
    backbone=dict(init_cfg=dict(checkpoint='pretrained/mobilenet_v2_imagenet.pth', prefix='backbone')),
)
