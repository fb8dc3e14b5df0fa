# DeepLab v3+ with Aligned Xception-65 (v3+, section 3.3): separable convolutions in ASPP and decoder, input scaled to
# [-1, 1]; ImageNet weights of the TensorFlow release, as timm converted them.
model = dict(
    type='DeepLab',
    output_stride=16,
    norm_cfg=dict(type='SyncBN', momentum=3e-4),  # decay of 0.9997, paper and release
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[127.5, 127.5, 127.5],
        std=[127.5, 127.5, 127.5],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
    ),
    backbone=dict(
        type='AlignedXception',
        depth=65,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-weights/tf_xception_65-c9ae96e8.pth',
        ),
    ),
    decode_head=dict(type='DeepLabV3PlusHead', rates=(6, 12, 18), separable_aspp=True, separable_decoder=True),
)
