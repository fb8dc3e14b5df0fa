# DeepLab v2 with ResNet-101: ASPP-L, input scales 1, 0.75 and 0.5, batch norm frozen; the ResNet of the Caffe models,
# whose ImageNet weights it starts from (v2, section 4.1; release).
model = dict(
    type='DeepLab',
    output_stride=8,
    multi_scale_inputs=(1.0, 0.75, 0.5),
    frozen_bn=('backbone',),
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[104.008, 116.669, 122.675],
        std=[1, 1, 1],
        pad_val=0,
        seg_pad_val=255,
    ),
    backbone=dict(
        type='DeepLabResNet',
        depth=101,
        strided_conv='1x1',
        rate_of_lost_stride='new',
        ceil_mode=True,
        init_cfg=dict(type='Pretrained', checkpoint='open-mmlab://detectron2/resnet101_caffe'),
    ),
    decode_head=dict(type='DeepLabV2Head', rates=(6, 12, 18, 24)),
)
