# DeepLab v2 with ResNet-101 and MSC on pseudo masks of VOC 2012 trainaug, as weakly supervised work trains it. No
# published figure: those depend on the masks, see docs/pseudo_masks.md. Put the masks into VOC2012/PseudoMasks.
# Starts from ImageNet, which saw no masks. Many figures are of a start from COCO's masks, kazuto's
# deeplabv1_resnet101-coco.pth, converted: --cfg-options model.backbone.init_cfg.checkpoint=FILE
# model.backbone.init_cfg.prefix=backbone
# python tools/train.py configs/wsss/deeplabv2_r101_voc_pseudo.py
# One device, batch 10, 20000 iterations; time and score are not measured here.
# Figures with CRF are by --crf v2_r101 of tools/test.py: 10 iterations, pos_w 3, pos_xy_std 1, bi_w 4, bi_xy_std 67,
# bi_rgb_std 3.
_base_ = '../deeplabv2_r101_voc.py'
train_dataloader = dict(dataset=dict(data_prefix=dict(seg_map_path='PseudoMasks')))
