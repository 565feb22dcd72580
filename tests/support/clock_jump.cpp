// Preloaded into the program by tests/cli/faults_slow_test.cpp: every second question for the time of day is
// answered a day too early. The steady clock is left alone.

#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>

extern "C" int clock_gettime(clockid_t clock, timespec* time) noexcept {
  static std::atomic<unsigned> asked = 0;
  const int result = static_cast<int>(syscall(SYS_clock_gettime, clock, time));
  if (clock == CLOCK_REALTIME && ++asked % 2 == 0) time->tv_sec -= 24 * 3600;
  return result;
}
