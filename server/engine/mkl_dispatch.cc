// Lets LibTorch's matrix products use AVX2 and AVX-512 on every processor that has them.
//
// The MKL inside LibTorch asks `mkl_serv_intel_cpu_true` whether the processor is Intel's, and takes slow generic code
// where it is not: on AMD, matrix products are 2.25 and vectorised exponentials 5.6 times slower than they need to be
// (measured on Zen 5). This definition in the executable stands before the library's. It says yes where the
// instructions that the fast code begins with are there, and answers as the library does elsewhere, so that no
// instruction is executed that the processor lacks: MKL still chooses between AVX2 and AVX-512 by CPUID itself.
//
// Linked as an object file: an archive's member would not be taken, since nobody in the program refers to it.

#if defined(__x86_64__)

extern "C" __attribute__((visibility("default"))) int mkl_serv_intel_cpu_true() {
  // MKL may ask before the constructors of this program have run.
  __builtin_cpu_init();
  const bool has_fast_instructions = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  return has_fast_instructions || __builtin_cpu_is("intel") ? 1 : 0;
}

#endif
