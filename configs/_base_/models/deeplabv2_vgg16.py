# DeepLab v2 with VGG-16: ASPP-L, four branches of fc6, fc7 and fc8, one input scale (v2, section 4.1; release).
# Starts from vgg16_20M as v1, with the same fc6 and fc7 in each branch: tools/convert_checkpoint.py --from vgg
model = dict(
    type='DeepLab',
    output_stride=8,
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[104.008, 116.669, 122.675],
        std=[1, 1, 1],
        pad_val=0,
        seg_pad_val=255,
    ),
    backbone=dict(
        type='DeepLabVGG',
        init_cfg=dict(type='Pretrained', checkpoint='pretrained/vgg16_20M.pth', prefix='backbone'),
    ),
    decode_head=dict(
        type='DeepLabV2Head',
        rates=(6, 12, 18, 24),
        fc_channels=1024,
        init_cfg=dict(type='Pretrained', checkpoint='pretrained/vgg16_20M.pth', prefix='decode_head'),
    ),
)
