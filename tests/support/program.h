#pragma once
// Runs the built program as a user would.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <pty.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

namespace lacuna::testing {

namespace fs = std::filesystem;

inline std::string slurp(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

/// A folder of its own for each test, removed at its end.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (fs::temp_directory_path() / "lacuna-test-XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const fs::path& path() const { return path_; }
  fs::path operator/(const fs::path& name) const { return path_ / name; }

 private:
  fs::path path_;
};

struct Outcome {
  int code = -1;  ///< exit code, or -signal
  std::string out, err;
};

/// A running program; stdout and stderr go to files in `folder`. `environment`: variables besides those of
/// the test.
class Running {
 public:
  Running(const std::vector<std::string>& arguments, const fs::path& folder,
          const std::map<std::string, std::string>& environment = {},
          const std::string& program = LACUNA_PROGRAM)
      : out_(folder / "stdout"), err_(folder / "stderr") {
    std::vector<char*> argv = {const_cast<char*>(program.c_str())};
    for (const auto& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
    argv.push_back(nullptr);
    process_ = fork();
    if (process_ != 0) return;
    redirect(out_, STDOUT_FILENO);
    redirect(err_, STDERR_FILENO);
    // Threads that spin while they wait for each other make a busy machine ten times slower still.
    setenv("OMP_WAIT_POLICY", "passive", 0);
    for (const auto& [name, value] : environment) setenv(name.c_str(), value.c_str(), 1);
    execv(program.c_str(), argv.data());
    _exit(127);
  }

  ~Running() {
    if (waited_) return;
    signal(SIGKILL);
    wait();
  }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;

  void signal(int number) const { kill(process_, number); }

  /// True once it has ended; wait() then returns at once.
  bool ended() const {
    siginfo_t end{};
    return waitid(P_PID, static_cast<id_t>(process_), &end, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           end.si_pid != 0;
  }

  Outcome wait() const {
    int status = 0;
    waitpid(process_, &status, 0);
    waited_ = true;
    const int code = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    return {code, slurp(out_), slurp(err_)};
  }

 private:
  static void redirect(const fs::path& path, int descriptor) {
    const int file = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    dup2(file, descriptor);
    close(file);
  }

  fs::path out_, err_;
  pid_t process_;
  mutable bool waited_ = false;
};

inline Outcome run_program(const std::vector<std::string>& arguments) {
  const TemporaryFolder folder;
  return Running(arguments, folder.path()).wait();
}

/// What the program writes to a terminal of its own. `environment`: "NAME=value" to add.
inline std::string run_in_terminal(const std::vector<std::string>& arguments,
                                   const std::vector<std::string>& environment = {}) {
  int terminal = -1;
  const pid_t process = forkpty(&terminal, nullptr, nullptr, nullptr);
  if (process == 0) {
    setenv("TERM", "xterm", 1);
    for (const auto& variable : environment) putenv(const_cast<char*>(variable.c_str()));
    std::vector<char*> argv = {const_cast<char*>(LACUNA_PROGRAM)};
    for (const auto& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
    argv.push_back(nullptr);
    execv(LACUNA_PROGRAM, argv.data());
    _exit(127);
  }
  std::string out;
  char buffer[4096];
  for (ssize_t n; (n = read(terminal, buffer, sizeof buffer)) > 0;)
    out.append(buffer, static_cast<size_t>(n));
  close(terminal);
  waitpid(process, nullptr, 0);
  return out;
}

/// True as soon as `ready` holds; false when that takes longer than `seconds`.
template <class Condition>
bool wait_until(Condition ready, double seconds) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  while (!ready()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

}  // namespace lacuna::testing
