# DeepLab v3+ with MobileNetV2: separable convolutions in ASPP and decoder, as the TensorFlow release sets them.
model = dict(
    type='DeepLab',
    output_stride=16,
    norm_cfg=dict(type='SyncBN', momentum=3e-4),  # decay of the release: 0.9997 in heads
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
    ),
    backbone=dict(
        type='DeepLabMobileNetV2',
        norm_cfg=dict(momentum=3e-3),  # 0.997 in MobileNetV2
        init_cfg=dict(type='Pretrained', checkpoint='mmcls://mobilenet_v2'),
    ),
    decode_head=dict(type='DeepLabV3PlusHead', rates=(6, 12, 18), separable_aspp=True, separable_decoder=True),
)
