#include "lacuna/cli/machine.h"

#include <malloc.h>
#include <poll.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <iostream>

#include "lacuna/core/error.h"

namespace lacuna::cli {

void keep_freed_memory() {
  mallopt(M_MMAP_THRESHOLD, 32 << 20);  // glibc's largest
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
  mallopt(M_TOP_PAD, 64 << 20);
}

void survive_broken_pipes() { std::signal(SIGPIPE, SIG_IGN); }

void require_stdout_written() {
  std::cout.flush();
  if (std::cout) return;
  pollfd reader{.fd = STDOUT_FILENO, .events = POLLOUT, .revents = 0};
  if (poll(&reader, 1, 0) > 0 && (reader.revents & POLLERR) != 0) return;
  fail("stdout", "what was printed could not be written", "make room on its disk, or send it elsewhere");
}

}  // namespace lacuna::cli

// LibTorch's fp32 products are MKL's, and MKL leaves AVX2 and AVX-512 unused on processors of other makers
// than Intel: half of what they can do. MKL asks this function; the program's own answer comes before the one
// inside LibTorch. Which instructions there are MKL still finds out itself. LACUNA_MKL_DEFAULT=1 gives MKL's
// own choice back.
extern "C" __attribute__((visibility("default"))) int mkl_serv_intel_cpu_true() {
  static const bool yes =
      __builtin_cpu_is("intel") || (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                                    std::getenv("LACUNA_MKL_DEFAULT") == nullptr);
  return yes ? 1 : 0;
}
