#pragma once
// Many processes that train one network (docs/distributed.md). c10d (TCPStore, Gloo or NCCL, Reducer) lives
// behind this header. One process alone has no Processes: a null pointer, and nothing of this costs anything.

#include <ATen/core/Tensor.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "lacuna/core/error.h"

namespace lacuna::train {

/// Which process of how many this is, and where process 0 waits for the others.
struct Place {
  int64_t rank = 0, world = 1;
  int64_t local_rank = 0;  ///< among those of this machine: chooses the GPU
  std::string address;     ///< of process 0's machine; set when world > 1
  int64_t port = 0;
};
/// The value of an environment variable, or null.
using Environment = std::function<const char*(const char* name)>;
/// From RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT (torchrun); else Open MPI's variables; else
/// those of a Slurm step. None of them: one process. Error when they are half set, no numbers, or contradict
/// each other.
Place read_place(const Environment& variable);

/// Another process died, hangs or failed. The weights of this one are as they were after its last step.
class LostProcesses : public Error {
 public:
  using Error::Error;
};

/// One of several processes. Every method but rank(), world() and first() is a meeting: all processes call
/// it, in the same order. Who waits longer than the time-out, or loses another process, throws LostProcesses.
class Processes {
 public:
  /// Meets the others; Gloo for CPU tensors, NCCL for CUDA's. Error: nobody there, a port in use, another
  /// world size, a rank that is taken, a backend that this build lacks.
  Processes(const Place& place, at::Device device, double timeout_s);
  ~Processes();
  Processes(const Processes&) = delete;
  Processes& operator=(const Processes&) = delete;

  int64_t rank() const;
  int64_t world() const;
  bool first() const { return rank() == 0; }  ///< the one that speaks, writes and evaluates

  void mean(std::vector<double>& values);                            ///< element by element, in place
  void broadcast(const std::map<std::string, at::Tensor>& tensors);  ///< process 0's values, in place
  at::Tensor gather_rows(const at::Tensor& rows);  ///< [n_r, ...] -> [sum n_r, ...], by rank
  /// Sum over processes; its gradient is the sum of theirs (statistics of a batch that is spread over
  /// processes).
  at::Tensor sum(const at::Tensor& part);
  /// Error in every process when they do not all have this text; `why` and `remedy` as in fail().
  void require_same(const std::string& text, const std::string& what, const std::string& why,
                    const std::string& remedy);
  void barrier();

  /// Runs `job`. All processes leave it together; when it fails in one, the others are told why and end too.
  void run(const std::function<void()>& job);

 private:
  friend class GradientAverager;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Averages gradients over processes while backward still runs (c10d::Reducer, as DistributedDataParallel
/// drives it).
class GradientAverager {
 public:
  /// `parameters`: those that are trained, in the same order everywhere. `unused`: some get no gradient in
  /// some steps.
  GradientAverager(Processes& processes, const std::vector<at::Tensor>& parameters, bool unused);
  ~GradientAverager();
  GradientAverager(const GradientAverager&) = delete;
  GradientAverager& operator=(const GradientAverager&) = delete;

  /// loss.backward(). With `last`, .grad then holds the mean over processes of what they have accumulated.
  void backward(const at::Tensor& loss, bool last);
  Processes& processes() const { return processes_; }

 private:
  Processes& processes_;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Reads the environment and meets the other processes; null when there are none. A CUDA device becomes that
/// of the process's LOCAL_RANK. All but the first process then log only warnings.
std::unique_ptr<Processes> join_processes(at::Device device, double timeout_s);
/// processes->run(job), or just job().
void run_together(Processes* processes, const std::function<void()>& job);

}  // namespace lacuna::train
