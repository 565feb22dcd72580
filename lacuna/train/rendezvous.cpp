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

/// What this process knows of the others, and until when it may wait for them. Shared with two threads, which
/// outlive a Rendezvous that they can't be made to leave.
struct Rendezvous::News {
  std::mutex mutex;
  std::condition_variable changed;
  std::string cause;       ///< why the job ends early; empty while it goes on
  bool listening = false;  ///< the thread that hears of it runs
  bool left = false;       ///< all have done their part: whatever comes now does not matter
  bool failed = false;     ///< this process is about to end
  bool gone = false;       ///< nobody waits for the others any more
  Clock::time_point deadline = Clock::time_point::max();
  std::string last_words;  ///< when it has passed

  std::string cause_within(double seconds) {
    std::unique_lock lock(mutex);
    changed.wait_for(lock, Seconds(seconds), [&] { return !cause.empty(); });
    return cause;
  }
  template <class Change>
  void set(const Change& change) {
    const std::scoped_lock lock(mutex);
    change();
    changed.notify_all();
  }
  /// A failed process may still wait for something: a file server, a GPU, a process that hangs.
  void fail_by(double seconds, const std::string& words) {
    set([&] { failed = true, deadline = after(seconds), last_words = words; });
  }
  static Clock::time_point after(double seconds) {
    return Clock::now() + std::chrono::duration_cast<Clock::duration>(Seconds(seconds));
  }
};

/// In a thread of its own: ends the process when a deadline has passed, whatever its other threads wait for.
void Rendezvous::watch(const std::shared_ptr<News>& news) {
  std::unique_lock lock(news->mutex);
  while (!news->gone) {
    if (Clock::now() >= news->deadline) {
      std::fprintf(stderr, "lacuna: %s\n", news->last_words.c_str());
      std::_Exit(kBadEnd);
    }
    if (news->deadline == Clock::time_point::max())
      news->changed.wait(lock);
    else
      news->changed.wait_until(lock, news->deadline);
  }
}

/// In a thread of its own: waits until the job is over. When it ends early, this process has the time-out to
/// notice.
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
  news->set([&] {
    news->listening = false;
    if (news->left || cause.empty()) return;
    news->cause = cause;
    if (news->failed) return;
    news->deadline = News::after(timeout_s);
    news->last_words =
        str(name, ": ", cause, "; this process did not answer for ", timeout_s, " s and is ended");
  });
}

Rendezvous::Limit::Limit(const Rendezvous& meeting, double timeouts) : news_(meeting.news_) {
  const double seconds = timeouts * meeting.timeout_s_;
  news_->set([&] {
    if (news_->deadline != Clock::time_point::max()) return;
    mine_ = true;
    news_->deadline = News::after(seconds);
    news_->last_words = str(meeting.name(), ": the others did not answer for ", seconds, " s (", timeouts,
                            " times train.timeout_s); start all of them again, pretrain with --resume");
  });
}

Rendezvous::Limit::~Limit() {
  news_->set([&] {
    if (mine_ && !news_->failed && news_->cause.empty()) news_->deadline = Clock::time_point::max();
  });
}

Rendezvous::Rendezvous(const Place& place, double timeout_s)
    : place_(place), timeout_s_(timeout_s), news_(std::make_shared<News>()) {
  std::thread(watch, news_).detach();
}

// After a failure nothing is taken down in order: it could wait for those who no longer answer.
Rendezvous::~Rendezvous() {
  if (!left()) (void)store_.release();
  news_->set([&] { news_->gone = true; });
}

std::string Rendezvous::name() const { return str("process ", place_.rank, " of ", place_.world); }

bool Rendezvous::keeps_store() const { return place_.rank == 0 && !agent_keeps_store(); }

bool Rendezvous::left() const {
  const std::scoped_lock lock(news_->mutex);
  return news_->left;
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
    const auto own_line = connect(false);  // the store's client does one thing at a time
    news_->set([&] { news_->listening = true; });
    std::thread(listen, news_, own_line, name(), timeout_s_).detach();
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
  constexpr double kTimeouts = 4;  // c10d tries again before it gives up
  const Limit limit(*this, kTimeouts);
  connect_all();
  guarded([&] { check_world(); });
  if (!met("here"))
    fail(name(), str("only ", store_->add("here", 0), " came within ", timeout_s_, " s"),
         "start all of them, or see why the others ended");
}

bool Rendezvous::met(const std::string& key) {
  constexpr double kSlice = 1;  // between two looks at the news
  const std::string all = key + "/all";
  const Limit limit(*this);
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
  news_->fail_by(timeout_s_, why);
  tell(why);
  if (!store_ || !keeps_store()) return;
  try {
    await_count(*store_, kHeard, place_.world, std::min(1.0, timeout_s_ / 2));
  } catch (const std::exception&) {  // they do not answer
  }
}

void Rendezvous::tell(const std::string& why) {
  if (!store_ || told_ || ended_early()) return;
  told_ = true;
  try {
    store_->set(kEnd, str("process ", place_.rank, " ended: ", why));
  } catch (const std::exception&) {  // process 0 is gone, so the others know
  }
}

void Rendezvous::leave() {
  const Limit limit(*this);
  meet("leave");
  news_->set([&] { news_->left = true; });
  try {
    store_->set(kEnd, "");
    store_->add(kLeft, 1);
    if (keeps_store()) await_count(*store_, kLeft, place_.world, 5);
  } catch (const std::exception&) {  // process 0 has seen all of us
  }
  std::unique_lock lock(news_->mutex);
  news_->changed.wait_for(lock, Seconds(1), [&] { return !news_->listening; });
}

// Who hangs elsewhere must hear of it now: on its way out this process may wait for something itself.
void Rendezvous::lost(const std::string& why) {
  const std::string known = news_->cause_within(0.5);  // who ended first has said why, if it could
  news_->fail_by(timeout_s_, str(name(), ": ", known.empty() ? why : known));
  tell(why);
  throw LostProcesses(name(), known.empty() ? why : known, "start all of them again, pretrain with --resume");
}

void Rendezvous::lost(const std::exception& error) {
  const std::string line = first_line(error);
  if (line.find("imed out") != std::string::npos || line.find("imeout") != std::string::npos) fail_late();
  lost("the connection to another process broke: it was killed, or its machine failed");
}

void Rendezvous::fail_late() {
  lost(str("another process did not answer for ", timeout_s_, " s (train.timeout_s)"));
}

}  // namespace lacuna::train
