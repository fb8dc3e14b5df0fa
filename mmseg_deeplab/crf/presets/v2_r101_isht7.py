# DeepLab v2 with ResNet-101: comment in isht7/pytorch-deeplab-resnet, data/test.prototxt.
dense_crf = dict(iterations=10, pos_w=4, pos_xy_std=1, bi_w=5, bi_xy_std=21, bi_rgb_std=3)
