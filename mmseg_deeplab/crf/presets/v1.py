# DeepLab v1 (1412.7062): the authors' run_densecrf.sh (TheLegendAli/DeepLab-Context @20484a5), within the
# paper's search (section 4: pos 3/3, bi_w 5 or 10, bi_xy_std 50 to 100, bi_rgb_std 3 to 10).
dense_crf = dict(iterations=10, pos_w=3, pos_xy_std=3, bi_w=5, bi_xy_std=50, bi_rgb_std=3)
