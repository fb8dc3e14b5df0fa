# DeepLab v3 with ResNet-101 and ASPP with image pooling (v3, section 3.3 and Tables 5 and 6). The papers' ResNet is the
# TensorFlow release's resnet_v1_101_beta: stem of three 3x3 convolutions, the stride of a block in its last unit, input
# scaled to [-1, 1]. Starts from its ImageNet weights, converted: tools/convert_checkpoint.py --from tensorflow.
model = dict(
    type='DeepLab',
    output_stride=16,
    norm_cfg=dict(type='SyncBN', momentum=3e-4),  # the text's decay, 0.9997; the release has 0.95 in ResNets
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[127.5, 127.5, 127.5],
        std=[127.5, 127.5, 127.5],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
    ),
    backbone=dict(
        type='DeepLabResNet',
        depth=101,
        multi_grid=(1, 2, 4),
        stem_channels=(64, 64, 128),
        strided_unit='last',
        init_cfg=dict(type='Pretrained', checkpoint='pretrained/resnet_v1_101_beta.pth', prefix='backbone'),
    ),
    decode_head=dict(type='DeepLabV3Head', rates=(6, 12, 18)),
)
