#pragma once
// Things found by name. A thing registers itself by one line in its own file; no central table exists.

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "lacuna/core/error.h"

namespace lacuna {

/// The object kept under `name` for the whole process; null until something is put there. A template's own
/// static would not do: programs and Python modules that hide their symbols would each have another.
std::shared_ptr<void>& process_wide(const std::string& name);

/// All entries of kind T by name. `T::noun()` is what a user calls one ("method", "data set"), one noun
/// for each kind.
template <class T>
class Registry {
 public:
  /// The one registry of this kind; filled before main() by Register.
  static Registry& instance() {
    static Registry& registry = []() -> Registry& {
      auto& slot = process_wide(T::noun());
      if (!slot) slot = std::make_shared<Registry>();
      return *static_cast<Registry*>(slot.get());
    }();
    return registry;
  }

  /// A second entry of one name is a bug and aborts.
  void add(std::string name, T entry) {
    const bool added = entries_.emplace(name, std::move(entry)).second;
    LACUNA_ASSERT(added && "two entries of one name");
  }

  /// The entry of this name; Error with the nearest known name when there is none.
  const T& get(const std::string& name) const {
    if (const T* entry = find(name)) return *entry;
    fail(str(T::noun(), " '", name, "'"), "unknown", suggest(name, names()));
  }

  /// Null when there is none.
  const T* find(const std::string& name) const {
    const auto found = entries_.find(name);
    return found == entries_.end() ? nullptr : &found->second;
  }

  /// In alphabetical order.
  std::vector<std::string> names() const {
    std::vector<std::string> out;
    out.reserve(entries_.size());
    for (const auto& [name, entry] : entries_) out.push_back(name);
    return out;
  }

 private:
  std::map<std::string, T> entries_;
};

/// `static const Register<MethodInfo> registered{"mae", {...}};` in the entry's own file.
template <class T>
struct Register {
  Register(std::string name, T entry) { Registry<T>::instance().add(std::move(name), std::move(entry)); }
};

}  // namespace lacuna
