#pragma once

namespace lacuna::train {

/// While it lives, SIGINT and SIGTERM only set a flag: the loop ends after its step, with a checkpoint. A
/// second signal ends the process at once.
class SignalGuard {
 public:
  SignalGuard();
  ~SignalGuard();
  SignalGuard(const SignalGuard&) = delete;
  SignalGuard& operator=(const SignalGuard&) = delete;
  static bool requested();
};

}  // namespace lacuna::train
