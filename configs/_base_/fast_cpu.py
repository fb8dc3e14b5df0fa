# Faster steps on a CPU with units for bfloat16, 1.7 times for v3+ on MobileNetV2 (docs/benchmarks.md). Take it so:
#   _base_ = ['CONFIG.py', '_base_/fast_cpu.py']
#   optim_wrapper = _base_.fast
fast = dict(type='CPUAmpOptimWrapper')
custom_hooks = [dict(type='ChannelsLastHook')]
