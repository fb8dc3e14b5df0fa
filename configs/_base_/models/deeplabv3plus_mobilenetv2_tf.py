# As deeplabv3plus_mobilenetv2, for the TensorFlow release's ImageNet weights: input in [-1, 1], eps 1e-3. Their batch
# norm comes folded into the convolutions: convert them with --calibrate (docs/checkpoints.md, start weights).
_base_ = './deeplabv3plus_mobilenetv2.py'
model = dict(
    norm_cfg=dict(eps=1e-3),
    data_preprocessor=dict(mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5]),
    decode_head=dict(norm_cfg=dict(eps=1e-5)),
    backbone=dict(init_cfg=dict(checkpoint='pretrained/mobilenet_v2_imagenet.pth', prefix='backbone')),
)
