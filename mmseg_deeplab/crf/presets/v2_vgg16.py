# DeepLab v2 with VGG-16 (1606.00915): the authors' values as quoted by HAL-42/FMA-WSSS, configs/patterns/crf.
dense_crf = dict(iterations=10, pos_w=2, pos_xy_std=2, bi_w=4, bi_xy_std=65, bi_rgb_std=3)
