# DeepLab-LargeFOV (v1, VGG-16): CoinCheung/Deeplab-Large-FOV.
dense_crf = dict(iterations=10, pos_w=3, pos_xy_std=3, bi_w=4, bi_xy_std=121, bi_rgb_std=5)
