#include "lacuna/data/loader.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "lacuna/core/draws.h"
#include "lacuna/core/error.h"
#include "lacuna/core/log.h"

namespace lacuna::data {

namespace {

using Order = std::shared_ptr<const std::vector<int64_t>>;  // null: as stored

/// A broken record that a row met, in the order in which it was met.
struct Broken {
  int64_t index;
  Error error;
};

/// A batch in the making. Workers write disjoint rows; `claimed` and `missing` are guarded by the loader's
/// mutex.
struct Job {
  LoaderPosition position;
  int64_t first = 0;  ///< running number of row 0
  int64_t rows = 0;
  Order order;
  int64_t epoch_first = 0;  ///< running number of the epoch's first sample
  std::unique_ptr<Filling> filling;
  Batch batch;                              ///< labels, samples and keys; `filling` holds the inputs
  std::vector<std::vector<Broken>> broken;  ///< by row
  std::vector<char> filled;                 ///< by row
  std::exception_ptr failure;               ///< of anything but a broken record
  int64_t claimed = 0, missing = 0;
};

// A row whose replacements are all broken too gives up after so many.
constexpr int kMaxReplacements = 64;

}  // namespace

struct Loader::Impl {
  Impl(std::shared_ptr<const Dataset> data, std::shared_ptr<const Transform> input_transform,
       LoaderConfig loader_config)
      : dataset(std::move(data)), transform(std::move(input_transform)), config(loader_config) {
    LACUNA_ASSERT(config.batch_size > 0 && config.workers >= 0 && config.max_bad >= 0);
    LACUNA_ASSERT(config.world > 0 && config.rank >= 0 && config.rank < config.world);
    config.prefetch = std::max<int64_t>(config.prefetch, 1);
    const int64_t size = dataset->size(), global = config.batch_size * config.world;
    batches = config.drop_last ? size / global : (size + global - 1) / global;
    if (batches == 0)
      fail(dataset->uri(), str("holds ", size, " records, fewer than one batch of ", global),
           "use a smaller train.batch_size or more data");
    epoch_samples = config.drop_last ? batches * global : size;
  }

  ~Impl() {
    {
      const std::scoped_lock lock(mutex);
      stopping = true;
    }
    work.notify_all();
    for (auto& thread : threads) thread.join();
  }

  // --- making batches ------------------------------------------------------------------------------------

  Order order_of(int64_t epoch) {
    if (!config.shuffle) return nullptr;
    if (!order || order_epoch != epoch) {
      order = std::make_shared<const std::vector<int64_t>>(
          Stream(config.seed, "shuffle", static_cast<uint64_t>(epoch)).permutation(dataset->size()));
      order_epoch = epoch;
    }
    return order;
  }

  std::shared_ptr<Job> make_job(LoaderPosition position) {
    auto job = std::make_shared<Job>();
    const int64_t from = (position.batch * config.world + config.rank) * config.batch_size;
    job->position = position;
    job->rows = std::clamp<int64_t>(epoch_samples - from, 0, config.batch_size);
    job->epoch_first = position.epoch * epoch_samples;
    job->first = job->epoch_first + from;
    job->order = order_of(position.epoch);
    job->missing = job->rows;
    job->broken.resize(static_cast<size_t>(job->rows));
    job->filled.resize(static_cast<size_t>(job->rows));
    Batch& batch = job->batch;
    job->filling = transform->begin(job->rows);
    batch.label = at::empty({job->rows}, at::kLong);
    batch.key.resize(static_cast<size_t>(job->rows));
    for (int64_t row = 0; row < job->rows; ++row) batch.sample.push_back(job->first + row);
    return job;
  }

  /// Reads record `index` into a row; false, and a note, when it is broken.
  bool read_into(Job& job, int64_t row, int64_t index) const {
    const auto sample = static_cast<uint64_t>(job.first + row);
    Batch& batch = job.batch;
    std::string key;
    try {
      Record record = dataset->get(index);
      key = record.key;
      job.filling->fill(row, record, Stream(config.seed, "augment", sample));
      batch.label.data_ptr<int64_t>()[row] = record.label;
      batch.key[static_cast<size_t>(row)] = std::move(record.key);
      return true;
    } catch (const Error& error) {
      const bool named = key.empty() || error.subject().find(key) != std::string::npos;
      const std::string what = named ? error.subject() : key + ": " + error.subject();
      job.broken[static_cast<size_t>(row)].push_back({index, Error(what, error.why(), error.remedy())});
      return false;
    }
  }

  void fill_row(Job& job, int64_t row) const {
    const int64_t sample = job.first + row, place = sample - job.epoch_first;
    bool good = read_into(job, row, job.order ? (*job.order)[static_cast<size_t>(place)] : place);
    if (!good && config.drop_last) {
      Stream random(config.seed, "replace", static_cast<uint64_t>(sample));
      for (int attempt = 0; !good && attempt < kMaxReplacements; ++attempt)
        good = read_into(job, row, random.below(dataset->size()));
      if (!good)
        fail(dataset->uri(), str("found no readable record in ", kMaxReplacements, " tries"),
             "look at it with `lacuna inspect`");
    }
    job.filled[static_cast<size_t>(row)] = good ? 1 : 0;
  }

  void try_fill_row(Job& job, int64_t row, std::exception_ptr& failure) const {
    try {
      fill_row(job, row);
    } catch (...) {
      failure = std::current_exception();
    }
  }

  // --- threads -------------------------------------------------------------------------------------------

  LoaderPosition after(LoaderPosition position) const {
    if (++position.batch == batches) position = {position.epoch + 1, 0};
    return position;
  }

  /// The next row that nobody works on, opening a new batch when the bound allows; null when there is none.
  /// Evaluation never works ahead of the epoch that is being read.
  std::shared_ptr<Job> claim() {
    for (auto& job : jobs)
      if (job->claimed < job->rows) return job;
    if (static_cast<int64_t>(jobs.size()) >= config.prefetch) return nullptr;
    if (!config.drop_last && next_made.epoch > reading_epoch) return nullptr;
    jobs.push_back(make_job(next_made));
    next_made = after(next_made);
    if (jobs.back()->rows > 0) return jobs.back();
    done.notify_all();  // nothing of this batch belongs to this process
    return claim();
  }

  void run_worker() {
    std::unique_lock lock(mutex);
    for (;;) {
      std::shared_ptr<Job> job;
      work.wait(lock, [&] { return stopping || (job = claim()); });
      if (stopping) return;
      const int64_t row = job->claimed++;
      lock.unlock();
      std::exception_ptr failure;
      try_fill_row(*job, row, failure);
      lock.lock();
      if (failure) job->failure = failure;
      if (--job->missing == 0) done.notify_all();
    }
  }

  std::shared_ptr<Job> take_front() {
    if (config.workers == 0) {
      auto job = make_job(current);
      for (int64_t row = 0; row < job->rows && !job->failure; ++row) try_fill_row(*job, row, job->failure);
      return job;
    }
    std::unique_lock lock(mutex);
    reading_epoch = current.epoch;
    while (threads.size() < static_cast<size_t>(config.workers))
      threads.emplace_back([this] { run_worker(); });
    work.notify_all();
    done.wait(lock, [&] { return !jobs.empty() && jobs.front()->missing == 0; });
    auto job = jobs.front();
    jobs.pop_front();
    work.notify_all();
    return job;
  }

  // --- the reader's side ---------------------------------------------------------------------------------

  /// Names and counts broken records in the order of the batches, whatever thread met them first.
  void account(const Job& job) {
    for (const auto& row : job.broken)
      for (const auto& [index, error] : row) {
        if (!seen_bad.insert(index).second) continue;
        const auto bad = static_cast<int64_t>(seen_bad.size());
        if (bad > config.max_bad)
          fail(error.subject(), error.why(),
               str(error.remedy(), error.remedy().empty() ? "" : ", or ",
                   "let more broken records pass (data.max_bad is ", config.max_bad, ")"));
        log::warn(str("skipped ", error.subject(), ": ", error.why(), " (", bad, " of at most ",
                      config.max_bad, ")"));
      }
  }

  Batch finish(Job& job) {
    account(job);
    if (job.failure) std::rethrow_exception(job.failure);
    Batch& batch = job.batch;
    std::vector<int64_t> kept;
    for (int64_t row = 0; row < job.rows; ++row)
      if (job.filled[static_cast<size_t>(row)] != 0) kept.push_back(row);
    Batch out = job.filling->finish(kept);
    Batch known = static_cast<int64_t>(kept.size()) == job.rows ? std::move(batch) : batch.select(kept);
    out.label = std::move(known.label);
    out.sample = std::move(known.sample);
    out.key = std::move(known.key);
    return out;
  }

  Batch next() {
    const double start = log::monotonic_seconds();
    const auto job = take_front();
    waited += log::monotonic_seconds() - start;
    LACUNA_ASSERT(job->position == current);
    at_epoch_end = current.batch + 1 == batches;
    current = after(current);
    return finish(*job);
  }

  void seek(LoaderPosition position) {
    LACUNA_ASSERT(position.epoch >= 0 && position.batch >= 0 && position.batch <= batches);
    if (position.batch == batches) position = {position.epoch + 1, 0};
    current = position;
    at_epoch_end = false;
    const std::scoped_lock lock(mutex);
    jobs.clear();  // a worker in the middle of a row keeps its batch alive until it is done with it
    next_made = position;
  }

  std::shared_ptr<const Dataset> dataset;
  std::shared_ptr<const Transform> transform;
  LoaderConfig config;
  int64_t batches = 0, epoch_samples = 0;

  // The reader's own.
  LoaderPosition current;
  bool at_epoch_end = false;
  std::set<int64_t> seen_bad;
  double waited = 0;

  // Guarded by the mutex (without workers there is nobody to guard against).
  std::mutex mutex;
  std::condition_variable work, done;
  std::deque<std::shared_ptr<Job>> jobs;
  LoaderPosition next_made;
  int64_t reading_epoch = 0;
  Order order;
  int64_t order_epoch = -1;
  bool stopping = false;
  std::vector<std::thread> threads;
};

Loader::Loader(std::shared_ptr<const Dataset> dataset, std::shared_ptr<const Transform> transform,
               LoaderConfig config)
    : impl_(std::make_unique<Impl>(std::move(dataset), std::move(transform), config)) {}

Loader::~Loader() = default;

int64_t Loader::batches_per_epoch() const { return impl_->batches; }
void Loader::seek(LoaderPosition position) { impl_->seek(position); }
LoaderPosition Loader::position() const { return impl_->current; }
Batch Loader::next() { return impl_->next(); }

std::optional<Batch> Loader::next_in_epoch() {
  if (std::exchange(impl_->at_epoch_end, false)) return std::nullopt;
  return impl_->next();
}

double Loader::wait_seconds() const { return impl_->waited; }
const std::set<int64_t>& Loader::bad_records() const { return impl_->seen_bad; }
void Loader::set_bad_records(std::set<int64_t> records) { impl_->seen_bad = std::move(records); }

}  // namespace lacuna::data
