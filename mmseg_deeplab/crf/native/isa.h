// DCRF_ISA is the instruction set that a file is compiled for: baseline, avx2 or avx512.
#pragma once

#define DCRF_JOIN(a, b) a##_##b
#define DCRF_PASTE(a, b) DCRF_JOIN(a, b)
#define DCRF_NAME(name) DCRF_PASTE(name, DCRF_ISA)
