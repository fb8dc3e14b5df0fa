# DeepLab v2 with ResNet-101 (1606.00915), all data sets: kazuto1011/deeplab-pytorch, configs/*.yaml.
dense_crf = dict(iterations=10, pos_w=3, pos_xy_std=1, bi_w=4, bi_xy_std=67, bi_rgb_std=3)
