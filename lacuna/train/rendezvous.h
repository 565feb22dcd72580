#pragma once
// Where the processes of a job find each other and hear of each other's end: a key-value store that process 0
// keeps (c10d::TCPStore). Private to processes.cpp.

#include <c10/util/Exception.h>

#include <functional>
#include <memory>
#include <new>
#include <string>
#include <torch/csrc/distributed/c10d/Store.hpp>
#include <type_traits>

#include "lacuna/train/processes.h"

namespace lacuna::train {

class Rendezvous {
 public:
  Rendezvous(const Place& place, double timeout_s);
  ~Rendezvous();
  Rendezvous(const Rendezvous&) = delete;
  Rendezvous& operator=(const Rendezvous&) = delete;

  /// Finds the others; Error when they are not there, or are not those of this job.
  void join();
  /// Returns once all processes have called it with this name; LostProcesses when they do not within the
  /// time-out.
  void meet(const std::string& name);
  /// The last meeting: all go together, so that no launcher kills one that still writes.
  void leave();
  /// Tells the others why this process ends, unless it ends because of them; from now on it has `timeout_s`
  /// to do so.
  void announce(const std::string& why);

  /// Runs `body`. What goes wrong between processes becomes LostProcesses; memory and bugs stay what they
  /// are.
  template <class Body>
  std::invoke_result_t<Body> guarded(const Body& body) {
    if (ended_early()) lost("");
    const Limit limit(*this);
    try {
      return body();
    } catch (const c10::DistError& error) {
      lost(error);
    } catch (const c10::Error&) {
      throw;
    } catch (const Error&) {
      throw;
    } catch (const std::bad_alloc&) {
      throw;
    } catch (const std::exception& error) {  // Gloo's own
      lost(error);
    }
  }
  bool ended_early() const;                        ///< another process has said so, or process 0 is gone
  [[noreturn]] void lost(const std::string& why);  ///< `why`, unless the process that ended first has told
  [[noreturn]] void lost(const std::exception& error);
  [[noreturn]] void fail_late();

  c10::intrusive_ptr<c10d::Store> store(const std::string& prefix) const;
  bool left() const;  ///< all have done their part
  const Place& place() const { return place_; }
  double timeout_s() const { return timeout_s_; }

 private:
  struct News;
  /// While it lives the process may wait for others for so many time-outs, then it is ended. c10d's own
  /// time-outs come first where it has them.
  class Limit {
   public:
    explicit Limit(const Rendezvous& meeting, double timeouts = 2);
    ~Limit();
    Limit(const Limit&) = delete;
    Limit& operator=(const Limit&) = delete;

   private:
    std::shared_ptr<News> news_;
    bool mine_ = false;  ///< not that of a Limit around it
  };
  static void watch(const std::shared_ptr<News>& news);
  static void listen(const std::shared_ptr<News>& news, const c10::intrusive_ptr<c10d::Store>& store,
                     const std::string& name, double timeout_s);
  std::string name() const;
  bool keeps_store() const;
  c10::intrusive_ptr<c10d::Store> connect(bool as_server) const;
  void connect_all();
  void check_world();
  bool met(const std::string& name);
  void tell(const std::string& why);

  Place place_;
  double timeout_s_;
  std::shared_ptr<News> news_;
  c10::intrusive_ptr<c10d::Store> store_;
  bool told_ = false;
};

/// The first line of an exception, without c10's source location and backtrace.
std::string first_line(const std::exception& error);

}  // namespace lacuna::train
