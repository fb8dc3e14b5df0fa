# DeepLab v3 with ResNet-101 and ASPP with image pooling (v3, section 3.3 and Tables 5 and 6).
model = dict(
    type='DeepLab',
    output_stride=16,
    norm_cfg=dict(type='SyncBN', momentum=3e-4),  # the paper's decay of 0.9997
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
    ),
    backbone=dict(
        type='DeepLabResNet',
        depth=101,
        multi_grid=(1, 2, 4),
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet101'),
    ),
    decode_head=dict(type='DeepLabV3Head', rates=(6, 12, 18)),
)
