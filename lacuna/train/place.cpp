#include <charconv>
#include <optional>
#include <string_view>

#include "lacuna/train/processes.h"

namespace lacuna::train {

namespace {

constexpr const char* kSeeHelp = "see docs/distributed.md";

/// One launcher's names for the same four numbers.
struct Names {
  const char *rank, *world, *local_rank;
};
constexpr Names kPlain{"RANK", "WORLD_SIZE", "LOCAL_RANK"};
constexpr Names kOpenMPI{"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"};
constexpr Names kSlurmStep{"SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"};
constexpr Names kSlurmJob{"SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"};

class Reader {
 public:
  explicit Reader(const Environment& variable) : variable_(variable) {}

  bool has(const char* name) const { return !text(name).empty(); }
  std::string text(const char* name) const {
    const char* value = variable_(name);
    return value == nullptr ? "" : value;
  }
  int64_t number(const char* name, int64_t low, int64_t high) const {
    const std::string value = text(name);
    int64_t out = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), out);
    if (error != std::errc() || end != value.data() + value.size() || out < low || out > high)
      fail(str(name, " ", value), str("is no number from ", low, " to ", high), kSeeHelp);
    return out;
  }

 private:
  const Environment& variable_;
};

/// Whose variables are there. A Slurm batch script sees SLURM_PROCID and SLURM_NTASKS too, though it is no
/// task of a step: those count only when the script also says where to meet.
std::optional<Names> find_launcher(const Reader& read) {
  if (read.has(kPlain.rank) || read.has(kPlain.world)) return kPlain;
  if (read.has(kOpenMPI.rank)) return kOpenMPI;
  if (!read.has(kSlurmStep.rank)) return std::nullopt;
  if (read.has(kSlurmStep.world)) return kSlurmStep;
  if (read.has(kSlurmJob.world) && read.has("MASTER_ADDR")) return kSlurmJob;
  return std::nullopt;
}

/// Whether the launcher says that all processes run on this machine, so that they can meet there unasked.
bool on_one_machine(const Reader& read, const Names& names, int64_t world) {
  if (names.rank == kOpenMPI.rank && read.has("OMPI_COMM_WORLD_LOCAL_SIZE"))
    return read.number("OMPI_COMM_WORLD_LOCAL_SIZE", 1, world) == world;
  return names.world == kSlurmStep.world && read.text("SLURM_STEP_NUM_NODES") == "1";
}

}  // namespace

Place read_place(const Environment& variable) {
  constexpr int64_t kMost = 1 << 20;
  const Reader read(variable);
  const auto names = find_launcher(read);
  if (!names) return {};
  const auto need_both = [&](const char* given, const char* other) {
    if (!read.has(other))
      fail(str(given, " ", read.text(given)), str(other, " is not set"), "set both, or neither");
  };
  need_both(names->rank, names->world);
  need_both(names->world, names->rank);
  Place place;
  place.world = read.number(names->world, 1, kMost);
  place.rank = read.number(names->rank, 0, kMost);
  if (place.rank >= place.world)
    fail(str(names->rank, " ", place.rank), str("there are ", place.world, " processes (", names->world, ")"),
         str("number them from 0 to ", place.world - 1));
  place.local_rank = read.has(names->local_rank) ? read.number(names->local_rank, 0, kMost) : place.rank;
  if (place.world == 1) return place;

  const bool here = on_one_machine(read, *names, place.world);
  for (const char* name : {"MASTER_ADDR", "MASTER_PORT"})
    if (!read.has(name) && !here)
      fail(str(names->world, " ", place.world), str(name, " is not set"),
           str("set it to the ",
               std::string_view(name).ends_with("ADDR") ? "machine of process 0" : "port where it waits",
               " in every process; ", kSeeHelp));
  place.address = read.has("MASTER_ADDR") ? read.text("MASTER_ADDR") : "127.0.0.1";
  place.port = read.has("MASTER_PORT") ? read.number("MASTER_PORT", 1, 65535) : 29500;
  return place;
}

}  // namespace lacuna::train
