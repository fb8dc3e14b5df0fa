# FCN on a ResNet-50 of output stride 8, from MMSegmentation.
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
    ),
    backbone=dict(
        type='ResNetV1c',
        depth=50,
        strides=(1, 2, 1, 1),
        dilations=(1, 1, 2, 4),
        contract_dilation=True,
        norm_cfg=norm_cfg,
        init_cfg=dict(type='Pretrained', checkpoint='open-mmlab://resnet50_v1c'),
    ),
    decode_head=dict(
        type='FCNHead', in_channels=2048, in_index=3, channels=512, num_convs=2, norm_cfg=norm_cfg, loss_decode=loss
    ),
    auxiliary_head=dict(
        type='FCNHead',
        in_channels=1024,
        in_index=2,
        channels=256,
        num_convs=1,
        concat_input=False,
        norm_cfg=norm_cfg,
        loss_decode=dict(type='SegCrossEntropy', loss_weight=0.4),
    ),
    test_cfg=dict(mode='whole'),
)
