# U-Net, from MMSegmentation. It wants sides that are a multiple of 16, to which images are padded.
norm_cfg = dict(type='SyncBN')
loss = dict(type='SegCrossEntropy')
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
        size_divisor=16,
        test_cfg=dict(size_divisor=16),
    ),
    backbone=dict(type='UNet', norm_cfg=norm_cfg),
    decode_head=dict(
        type='FCNHead',
        in_channels=64,
        in_index=4,
        channels=64,
        num_convs=1,
        concat_input=False,
        norm_cfg=norm_cfg,
        loss_decode=loss,
    ),
    auxiliary_head=dict(
        type='FCNHead',
        in_channels=128,
        in_index=3,
        channels=64,
        num_convs=1,
        concat_input=False,
        norm_cfg=norm_cfg,
        loss_decode=dict(type='SegCrossEntropy', loss_weight=0.4),
    ),
    test_cfg=dict(mode='whole'),
)
