# DeepLab v1 (LargeFOV, VGG-16) on pseudo masks of VOC 2012 trainaug. No published figure: those depend on the masks,
# see docs/pseudo_masks.md. Put the masks into VOC2012/PseudoMasks. Starts from ImageNet; schedule as of v2.
# python tools/train.py configs/wsss/deeplabv1_vgg16_voc_pseudo.py
# One device, batch 10, 20000 iterations; time and score are not measured here.
# With CRF: --crf v1 of tools/test.py: 10 iterations, pos_w 3, pos_xy_std 3, bi_w 5, bi_xy_std 50, bi_rgb_std 3.
_base_ = '../ablations/deeplabv1_vgg16_voc_poly_20k_batch10.py'
train_dataloader = dict(dataset=dict(data_prefix=dict(seg_map_path='PseudoMasks')))
