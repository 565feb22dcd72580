#include "lacuna/train/rendezvous.h"

#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <thread>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#include <utility>

namespace lacuna::train {

namespace {

using Seconds = std::chrono::duration<double>;
using StorePtr = c10::intrusive_ptr<c10d::Store>;
using Clock = std::chrono::steady_clock;

constexpr const char* kEnd = "end";      // set once: empty when all is done, else why it ended early
constexpr const char* kHeard = "heard";  // how many processes know
constexpr const char* kLeft = "left";    // how many need the store no more
constexpr int kBadEnd = 2;               // the exit code of every Error

std::chrono::milliseconds milliseconds(double seconds) {
  return std::chrono::milliseconds(static_cast<int64_t>(seconds * 1000));
}

double since(Clock::time_point start) { return Seconds(Clock::now() - start).count(); }

std::string text(const std::vector<uint8_t>& bytes) { return {bytes.begin(), bytes.end()}; }

/// Ends the process, whatever its threads wait for.
[[noreturn]] void end_now(const std::string& last_words) {
  std::fprintf(stderr, "lacuna: %s\n", last_words.c_str());
  std::_Exit(kBadEnd);
}

/// Waits until `count` has reached `world`, at most `seconds`.
void await_count(c10d::Store& store, const char* count, int64_t world, double seconds) {
  const auto start = Clock::now();
  while (store.add(count, 0) < world && since(start) < seconds) std::this_thread::sleep_for(Seconds(0.002));
}

/// torchrun's agent keeps the store of its workers itself.
bool agent_keeps_store() {
  const char* value = std::getenv("TORCHELASTIC_USE_AGENT_STORE");
  return value != nullptr && std::string(value) == "True";
}

}  // namespace

std::string first_line(const std::exception& error) {
  const auto* c10_error = dynamic_cast<const c10::Error*>(&error);
  const std::string whole = c10_error ? c10_error->what_without_backtrace() : error.what();
  return whole.substr(0, whole.find('\n'));
}

/// What is known of the others, shared with the thread that listens for their end.
struct Rendezvous::News {
  std::mutex mutex;
  std::condition_variable changed;
  std::string cause;      ///< why the job ends early; empty while it goes on
  bool over = false;      ///< this process has done its part, or failed: whatever comes now does not matter
  bool listening = true;  ///< the thread still runs
  bool ending = false;    ///< this process has failed and may take the time-out to end

  std::string cause_within(double seconds) {
    std::unique_lock lock(mutex);
    changed.wait_for(lock, Seconds(seconds), [&] { return !cause.empty(); });
    return cause;
  }
  bool over_within(double seconds) {
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, Seconds(seconds), [&] { return over; });
  }
};

/// Waits in a thread of its own until the job is over. When it ends early and this process does not notice
/// (it hangs, or is busy for longer than the time-out), ends it.
void Rendezvous::listen(const std::shared_ptr<News>& news, const StorePtr& store, const std::string& name,
                        double timeout_s) {
  constexpr std::chrono::hours kLong{24 * 7};
  std::string cause;
  for (bool waiting = true; waiting;) {
    const auto start = Clock::now();
    try {
      store->wait({kEnd}, kLong);
      cause = text(store->get(kEnd));
      store->add(kHeard, 1);
      waiting = false;
    } catch (const std::exception&) {
      if (Clock::now() - start >= kLong) continue;
      if (cause.empty()) cause = "process 0, where all of them meet, is gone";
      waiting = false;
    }
  }
  {
    const std::scoped_lock lock(news->mutex);
    news->listening = false;
    if (!news->over) news->cause = cause;
    news->changed.notify_all();
  }
  if (cause.empty() || news->over_within(timeout_s)) return;
  end_now(str(name, ": ", cause, "; this process did not answer for ", timeout_s, " s and is ended"));
}

Rendezvous::Rendezvous(const Place& place, double timeout_s)
    : place_(place), timeout_s_(timeout_s), news_(std::make_shared<News>()) {}

// After a failure nothing is taken down in order: it could wait for those who no longer answer.
Rendezvous::~Rendezvous() {
  if (!over()) (void)store_.release();
  end_watch();
}

/// From now on nothing ends this process but itself.
void Rendezvous::end_watch() {
  const std::scoped_lock lock(news_->mutex);
  news_->over = true;
  news_->changed.notify_all();
}

std::string Rendezvous::name() const { return str("process ", place_.rank, " of ", place_.world); }

bool Rendezvous::keeps_store() const { return place_.rank == 0 && !agent_keeps_store(); }

bool Rendezvous::over() const {
  const std::scoped_lock lock(news_->mutex);
  return news_->over;
}

bool Rendezvous::ended_early() const { return !news_->cause_within(0).empty(); }

StorePtr Rendezvous::store(const std::string& prefix) const {
  return c10::make_intrusive<c10d::PrefixStore>(prefix, store_);
}

StorePtr Rendezvous::connect(bool as_server) const {
  c10d::TCPStoreOptions options;
  options.port = static_cast<uint16_t>(place_.port);
  options.isServer = as_server;
  options.waitWorkers = false;
  options.timeout = milliseconds(timeout_s_);
  const char* restart = std::getenv("TORCHELASTIC_RESTART_COUNT");
  return c10::make_intrusive<c10d::PrefixStore>(str("lacuna/", restart ? restart : "0"),
                                                c10::make_intrusive<c10d::TCPStore>(place_.address, options));
}

void Rendezvous::connect_all() {
  try {
    store_ = connect(keeps_store());
    std::thread(listen, news_, connect(false), name(), timeout_s_).detach();
  } catch (const std::exception& error) {
    if (keeps_store() && first_line(error).find("EADDRINUSE") != std::string::npos)
      fail(str("MASTER_PORT ", place_.port), "another program on this machine uses it", "choose a free port");
    fail(str(name(), " at ", place_.address, ":", place_.port),
         str("process 0 can't be reached there within ", timeout_s_, " s"),
         "start all processes, with process 0's machine as MASTER_ADDR and one MASTER_PORT");
  }
}

void Rendezvous::check_world() {
  if (store_->add(str("rank/", place_.rank), 1) != 1)
    fail(str("RANK ", place_.rank), "is taken by another process that meets here",
         "give each process its own, and each job its own MASTER_PORT");
  if (place_.rank == 0) store_->set("world", str(place_.world));
  const std::string world = text(store_->get("world"));
  if (world != str(place_.world))
    fail(str("WORLD_SIZE ", place_.world), str("process 0 has ", world), "give all processes the same");
}

void Rendezvous::join() {
  connect_all();
  guarded([&] { check_world(); });
  if (!met("here"))
    fail(name(), str("only ", store_->add("here", 0), " came within ", timeout_s_, " s"),
         "start all of them, or see why the others ended");
}

bool Rendezvous::met(const std::string& key) {
  constexpr double kSlice = 1;  // between two looks at the news
  const std::string all = key + "/all";
  guarded([&] {
    if (store_->add(key, 1) == place_.world) store_->set(all, key);
  });
  for (const auto start = Clock::now();;) {
    const double slice = std::min(kSlice, timeout_s_ - since(start));
    if (slice <= 0) return false;
    const auto slice_start = Clock::now();
    try {
      store_->wait({all}, milliseconds(slice) + std::chrono::milliseconds(1));
      return true;
    } catch (const c10::DistError& error) {
      if (since(slice_start) < 0.9 * slice || ended_early()) lost(error);
    }
  }
}

void Rendezvous::meet(const std::string& key) {
  if (!met(key)) fail_late();
}

void Rendezvous::announce(const std::string& why) {
  end_in_time(why);
  if (!store_ || ended_early()) return;
  try {
    store_->set(kEnd, str("process ", place_.rank, " ended: ", why));
    if (keeps_store()) await_count(*store_, kHeard, place_.world, 1);
  } catch (const std::exception&) {  // process 0 is gone, so the others know
  }
}

void Rendezvous::leave() {
  meet("leave");
  end_watch();
  try {
    store_->set(kEnd, "");
    store_->add(kLeft, 1);
    if (keeps_store()) await_count(*store_, kLeft, place_.world, 5);
  } catch (const std::exception&) {  // process 0 has seen all of us
  }
  std::unique_lock lock(news_->mutex);
  news_->changed.wait_for(lock, Seconds(1), [&] { return !news_->listening; });
}

// A failed process may still wait for something: a thread that reads from a dead file server, a GPU.
void Rendezvous::end_in_time(const std::string& why) const {
  const std::scoped_lock lock(news_->mutex);
  if (std::exchange(news_->ending, true)) return;
  std::thread([why, news = news_, seconds = timeout_s_] {
    if (!news->over_within(seconds))
      end_now(str(why, "; it did not end by itself within ", seconds, " s and is ended"));
  }).detach();
}

void Rendezvous::lost(const std::string& why) const {
  const std::string known = news_->cause_within(0.5);  // who ended first has said why, if it could
  end_in_time(str(name(), ": ", known.empty() ? why : known));
  throw LostProcesses(name(), known.empty() ? why : known, "start all of them again, pretrain with --resume");
}

void Rendezvous::lost(const std::exception& error) const {
  const std::string line = first_line(error);
  if (line.find("imed out") != std::string::npos || line.find("imeout") != std::string::npos) fail_late();
  lost("the connection to another process broke: it was killed, or its machine failed");
}

void Rendezvous::fail_late() const {
  lost(str("another process did not answer for ", timeout_s_, " s (train.timeout_s)"));
}

}  // namespace lacuna::train
