#include "lacuna/train/processes.h"

#include <ATen/DeviceAccelerator.h>

#include <cstdlib>
#include <limits>
#include <thread>

// What this build can use: Gloo's headers come from Debian (libgloo-dev), NCCL's with a CUDA wheel.
// LibTorch's own flags say what is compiled into it.
#if defined(USE_C10D_GLOO) && __has_include(<gloo/algorithm.h>)
#define LACUNA_GLOO
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#endif
#if defined(USE_C10D_NCCL) && __has_include(<nccl.h>)
#define LACUNA_NCCL
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>
#endif
#include <torch/csrc/distributed/c10d/logger.hpp>
#include <torch/csrc/distributed/c10d/reducer.hpp>

#include "lacuna/core/log.h"
#include "lacuna/core/torch.h"
#include "lacuna/train/rendezvous.h"

namespace lacuna::train {

namespace {

using at::Tensor;
using StorePtr = c10::intrusive_ptr<c10d::Store>;
using GroupPtr = c10::intrusive_ptr<c10d::ProcessGroup>;

std::chrono::milliseconds milliseconds(double seconds) {
  return std::chrono::milliseconds(static_cast<int64_t>(seconds * 1000));
}

using BackendPtr = c10::intrusive_ptr<c10d::Backend>;

BackendPtr make_gloo([[maybe_unused]] const StorePtr& store, [[maybe_unused]] const Place& place,
                     [[maybe_unused]] double timeout_s) {
#ifdef LACUNA_GLOO
  using Gloo = c10d::ProcessGroupGloo;
  const bool local = place.address == "localhost" || place.address.starts_with("127.");
  const bool named = std::getenv("GLOO_SOCKET_IFNAME") != nullptr;
  auto options = local && !named ? Gloo::Options::create() : Gloo::Options::create_default();
  if (options->devices.empty()) options->devices.push_back(Gloo::createDeviceForHostname("127.0.0.1"));
  options->timeout = milliseconds(timeout_s);
  return c10::make_intrusive<Gloo>(store, static_cast<int>(place.rank), static_cast<int>(place.world),
                                   options);
#else
  fail("several processes", "this build lacks Gloo", "install libgloo-dev (`make setup`) and build again");
#endif
}

BackendPtr make_nccl([[maybe_unused]] const StorePtr& store, [[maybe_unused]] const Place& place,
                     [[maybe_unused]] double timeout_s) {
#ifdef LACUNA_NCCL
  auto options = c10d::ProcessGroupNCCL::Options::create();
  options->timeout = milliseconds(3 * timeout_s);  // its own watchdog aborts without a word: ours comes first
  return c10::make_intrusive<c10d::ProcessGroupNCCL>(store, static_cast<int>(place.rank),
                                                     static_cast<int>(place.world), options);
#else
  fail("several processes", "this build lacks NCCL",
       "build it against a CUDA wheel that has nccl.h beside it, or set train.device = cpu");
#endif
}

GroupPtr make_group(const StorePtr& store, const Place& place, at::Device device, double timeout_s) {
  using Type = c10d::ProcessGroup::BackendType;
  auto group = c10::make_intrusive<c10d::ProcessGroup>(store, static_cast<int>(place.rank),
                                                       static_cast<int>(place.world));
  const auto type = device.is_cuda() ? Type::NCCL : Type::GLOO;
  group->setBackend(
      device.type(), type,
      device.is_cuda() ? make_nccl(store, place, timeout_s) : make_gloo(store, place, timeout_s));
  group->setDefaultBackend(type);
  return group;
}

}  // namespace

struct Processes::Impl {
  Impl(const Place& place, at::Device on, double timeout_s) : device(on), meeting(place, timeout_s) {}

  // After a failure nothing is taken down in order: it could wait for those who no longer answer.
  ~Impl() {
    if (!meeting.left()) (void)group.release();
  }

  void join() {
    meeting.join();
    meeting.guarded(
        [&] { group = make_group(meeting.store("group"), meeting.place(), device, meeting.timeout_s()); });
  }

  /// Looks instead of waiting: NCCL's work would let the host wait for ever, Gloo's does not hear the news.
  void finish(const c10::intrusive_ptr<c10d::Work>& work) {
    const double start = log::monotonic_seconds();
    while (!work->isCompleted()) {
      if (log::monotonic_seconds() - start > meeting.timeout_s()) meeting.fail_late();
      if (meeting.ended_early()) meeting.lost("");
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
    work->wait();
  }

  void sum_in_place(const Tensor& tensor) {
    std::vector<Tensor> list{tensor};
    finish(group->allreduce(list));
  }

  std::vector<Tensor> gather_equal(const Tensor& tensor) {
    std::vector<std::vector<Tensor>> out(1);
    for (int64_t i = 0; i < meeting.place().world; ++i) out[0].push_back(at::empty_like(tensor));
    std::vector<Tensor> in{tensor};
    finish(group->allgather(out, in));
    return out[0];
  }

  at::Device device;
  Rendezvous meeting;
  GroupPtr group;
  const std::function<void(const Tensor&)> sum_together = [this](const Tensor& part) {
    meeting.guarded([&] { sum_in_place(part); });
  };
  int64_t barriers = 0;
};

Processes::Processes(const Place& place, at::Device device, double timeout_s)
    : impl_(std::make_unique<Impl>(place, device, timeout_s)) {
  LACUNA_ASSERT(place.world > 1);
  // c10d tells what went wrong with backtraces, our errors in one line.
  constexpr int kOnlyFatal = 3;
  if (std::getenv("TORCH_CPP_LOG_LEVEL") == nullptr) FLAGS_caffe2_log_level = kOnlyFatal;
  try {
    impl_->join();
  } catch (const std::exception& error) {
    impl_->meeting.announce(first_line(error));
    throw;
  }
}

Processes::~Processes() = default;

int64_t Processes::rank() const { return impl_->meeting.place().rank; }
int64_t Processes::world() const { return impl_->meeting.place().world; }

void Processes::mean(std::vector<double>& values) {
  impl_->meeting.guarded([&] {
    auto tensor = torch::tensor(values, at::kDouble).to(impl_->device);
    impl_->sum_in_place(tensor);
    tensor = (tensor / world()).cpu();
    std::copy_n(tensor.const_data_ptr<double>(), values.size(), values.begin());
  });
}

void Processes::broadcast(const std::map<std::string, Tensor>& tensors) {
  constexpr size_t kBuffer = size_t{250} << 20;
  std::vector<Tensor> list;
  for (const auto& [name, tensor] : tensors) list.push_back(tensor.detach());
  impl_->meeting.guarded([&] { c10d::broadcast_coalesced(impl_->group, list, kBuffer); });
}

Tensor Processes::gather_rows(const Tensor& rows) {
  constexpr int64_t kMostDimensions = 8;
  LACUNA_ASSERT(rows.dim() >= 1 && rows.dim() <= kMostDimensions);
  return impl_->meeting.guarded([&] {
    const auto on_device = rows.to(impl_->device).contiguous();
    auto shape = at::full({kMostDimensions}, -1, at::kLong);
    for (int64_t i = 0; i < rows.dim(); ++i) shape[i] = rows.size(i);
    std::vector<int64_t> counts, widest;
    for (const auto& other : impl_->gather_equal(shape.to(impl_->device))) {
      const auto size = other.cpu();
      const auto* data = size.const_data_ptr<int64_t>();
      counts.push_back(data[0]);
      if (!widest.empty() && data[0] <= widest[0]) continue;  // who has no rows need not know their shape
      widest.assign(data, std::find(data, data + kMostDimensions, -1));
    }
    auto padded = at::zeros(widest, on_device.options());
    if (rows.size(0) > 0) padded.slice(0, 0, rows.size(0)).copy_(on_device);
    auto parts = impl_->gather_equal(padded);
    for (size_t i = 0; i < parts.size(); ++i) parts[i] = parts[i].slice(0, 0, counts[i]);
    return at::cat(parts).to(rows.device());
  });
}

namespace {

/// y = sum over processes of x; dL/dx = sum over processes of dL/dy.
struct SumOverProcesses : torch::autograd::Function<SumOverProcesses> {
  using Context = torch::autograd::AutogradContext;
  using SumInPlace = std::function<void(const Tensor&)>;

  static Tensor forward(Context* context, const Tensor& part, const SumInPlace* sum) {
    context->saved_data["sum"] = reinterpret_cast<int64_t>(sum);
    auto out = part.clone(at::MemoryFormat::Contiguous);
    (*sum)(out);
    return out;
  }
  static torch::autograd::variable_list backward(Context* context,
                                                 const torch::autograd::variable_list& gradient) {
    auto out = gradient[0].clone(at::MemoryFormat::Contiguous);
    (*reinterpret_cast<const SumInPlace*>(context->saved_data["sum"].toInt()))(out);
    return {out, Tensor()};
  }
};

}  // namespace

Tensor Processes::sum(const Tensor& part) { return SumOverProcesses::apply(part, &impl_->sum_together); }

void Processes::require_same(const std::string& text, const std::string& what, const std::string& why,
                             const std::string& remedy) {
  const auto hash = static_cast<int64_t>(std::hash<std::string>{}(text));
  const auto hashes = gather_rows(torch::tensor({hash}, at::kLong));
  for (int64_t i = 1; i < world(); ++i)
    if (hashes[i].item<int64_t>() != hashes[0].item<int64_t>())
      fail(what, str(why, " (process ", i, ", not as process 0)"), remedy);
}

void Processes::barrier() { impl_->meeting.meet(str("barrier/", impl_->barriers++)); }

void Processes::run(const std::function<void()>& job) {
  try {
    try {
      job();
    } catch (const Interrupted&) {
      impl_->meeting.leave();
      throw;
    }
    impl_->meeting.leave();
  } catch (const Interrupted&) {
    throw;
  } catch (const std::exception& error) {
    impl_->meeting.announce(first_line(error));
    throw;
  }
}

// --- gradients ---------------------------------------------------------------------------------------------

struct GradientAverager::Impl {
  std::shared_ptr<c10d::Reducer> reducer;
  std::shared_ptr<c10d::Logger> logger;  // the search for unused parameters writes to it unasked
  bool unused;
};

GradientAverager::GradientAverager(Processes& processes, const std::vector<Tensor>& parameters, bool unused)
    : processes_(processes), impl_(std::make_unique<Impl>()) {
  impl_->unused = unused;
  auto& together = *processes.impl_;
  together.meeting.guarded([&] {
    c10d::verify_params_across_processes(together.group, parameters, std::nullopt);
    const std::vector<bool> sparse(parameters.size(), false);
    // One bucket at first: the reducer cuts it anew by the order in which the first backward pass gives
    // gradients. Where it has to search for unused parameters it never does so, hence the sizes it would use.
    std::vector<size_t> sizes{std::numeric_limits<size_t>::max()};
    if (unused) sizes = {c10d::kDefaultFirstBucketBytes, c10d::kDefaultBucketBytesCap};
    auto buckets = std::get<0>(c10d::compute_bucket_assignment_by_size(parameters, sizes, sparse));
    std::reverse(buckets.begin(), buckets.end());  // the last layers' gradients come first
    impl_->reducer = std::make_shared<c10d::Reducer>(
        parameters, std::move(buckets), together.group, sparse, c10d::kDefaultBucketBytesCap,
        /*find_unused_parameters=*/unused, /*gradient_as_bucket_view=*/false,
        /*param_names=*/std::unordered_map<size_t, std::string>(), c10d::kDefaultFirstBucketBytes,
        /*skip_all_reduce_unused_params=*/false, /*use_python_reducer=*/false,
        /*bucket_bytes_cap_list=*/std::vector<int64_t>());
    impl_->logger = std::make_shared<c10d::Logger>(impl_->reducer);
    impl_->reducer->set_logger(impl_->logger);
  });
}

GradientAverager::~GradientAverager() = default;

void GradientAverager::backward(const Tensor& loss, bool last) {
  if (!last) {
    loss.backward();
    return;
  }
  processes_.impl_->meeting.guarded([&] {
    auto& reducer = *impl_->reducer;
    reducer.prepare_for_forward();
    reducer.rebuild_buckets();
    reducer.prepare_for_backward(impl_->unused ? std::vector<Tensor>{loss} : std::vector<Tensor>{});
    loss.backward();
  });
}

// --- starting ----------------------------------------------------------------------------------------------

std::unique_ptr<Processes> join_processes(at::Device device, double timeout_s) {
  const auto place = read_place([](const char* name) { return std::getenv(name); });
  if (place.world == 1) return nullptr;
  if (place.rank > 0) log::only_warnings();
  if (device.is_cuda()) {
    const int64_t count = at::accelerator::deviceCount();
    if (place.local_rank >= count)
      fail(str("LOCAL_RANK ", place.local_rank), str("this machine has ", count, " GPUs"),
           "start one process for each GPU");
    const auto index = static_cast<at::DeviceIndex>(place.local_rank);
    at::accelerator::setDeviceIndex(index);  // what "cuda" means from now on
    device = at::Device(at::kCUDA, index);
  }
  return std::make_unique<Processes>(place, device, timeout_s);
}

void run_together(Processes* processes, const std::function<void()>& job) {
  if (processes == nullptr)
    job();
  else
    processes->run(job);
}

}  // namespace lacuna::train
