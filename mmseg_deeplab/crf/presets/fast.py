# The values of v2_r101, without messages for the classes that stay below 1 % on every pixel: most of an image's classes
# do. See docs/dense_crf.md for the bound on what that changes.
dense_crf = dict(iterations=10, pos_w=3, pos_xy_std=1, bi_w=4, bi_xy_std=67, bi_rgb_std=3, prune=1e-2)
