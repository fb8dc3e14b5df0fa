# DeepLab v3 with MobileNetV2 as the TensorFlow release trained it: no atrous branch in ASPP, no decoder,
# input scaled to [-1, 1]. Starts from its ImageNet weights, converted: tools/convert_checkpoint.py --from tensorflow.
model = dict(
    type='DeepLab',
    output_stride=16,
    norm_cfg=dict(type='SyncBN', momentum=3e-4, eps=1e-3),  # decay of the release: 0.9997 in heads
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[127.5, 127.5, 127.5],
        std=[127.5, 127.5, 127.5],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
    ),
    backbone=dict(
        type='DeepLabMobileNetV2',
        norm_cfg=dict(momentum=3e-3),  # 0.997 in MobileNetV2
        init_cfg=dict(type='Pretrained', checkpoint='pretrained/mobilenet_v2_imagenet.pth', prefix='backbone'),
    ),
    decode_head=dict(type='DeepLabV3Head', rates=(), norm_cfg=dict(eps=1e-5)),
)
