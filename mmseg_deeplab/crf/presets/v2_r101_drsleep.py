# DeepLab v2 with ResNet-101: branch crf of DrSleep/tensorflow-deeplab-resnet.
dense_crf = dict(iterations=10, pos_w=4, pos_xy_std=1, bi_w=5, bi_xy_std=49, bi_rgb_std=13)
