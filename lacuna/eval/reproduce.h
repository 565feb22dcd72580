#pragma once
// A paper's claim against its baseline on small data: trained at equal budget, several seeds, said plainly
// (`lacuna reproduce METHOD`, recipes/METHOD/claims.toml).

#include <string>
#include <vector>

#include "lacuna/core/config.h"
#include "lacuna/io/file.h"

namespace lacuna::eval {

/// One side of a comparison.
struct Arm {
  std::string name;
  /// Of pre-training. "{out}" and "{seed}" stand for the folder of all runs and the seed, so that an arm can
  /// build on another one's run: "target.model={out}/first-seed{seed}".
  std::vector<std::string> settings;
  std::vector<std::string> eval_settings;  ///< of the evaluation
  std::string metric = {};                 ///< the claim's own unless given
  /// Name of the trained network; arms of one name, which must have the same settings, share it. The claim's
  /// and the arm's own unless given.
  std::string run = {};
};

struct Claim {
  std::string name;       ///< "mask-ratio"
  std::string statement;  ///< what the paper says
  std::string paper;      ///< the paper's own figures
  std::string recipe;     ///< what all arms are trained by; relative to the claims' file
  std::string protocol, metric = "top1";
  std::vector<std::string> settings, eval_settings;  ///< of all arms
  Arm ours, baseline;
  /// Instead of one baseline several, of which each seed's best counts, or their mean.
  std::vector<Arm> baselines = {};
  std::string choose = {};      ///< best | mean
  std::string eval_query = {};  ///< added to the evaluation's data URIs: "label_field=1"
  /// Name of a trained network that both arms, and other claims of this name, share: they differ in `metric`
  /// alone.
  std::string run = {};
  bool lower = false;  ///< smaller values of the metric are better
  double margin = 0;   ///< ours - baseline (with `lower`, baseline - ours) must exceed it, in units of the
                       ///< metric; negative: "no worse than"
};

/// Reads claims.toml: [[claim]] tables with the fields above, `ours` and `baseline` tables inside. Error
/// naming the missing or unknown key. Several baselines: [[claim.baselines]] and choose = "best" or "mean".
std::vector<Claim> read_claims(const io::fs::path& file);

struct ReproduceOptions {
  std::string data;    ///< URI; empty: the recipe's own
  std::string test;    ///< URI; empty: the protocol's choice
  int64_t seeds = 3;   ///< of each arm
  bool quick = false;  ///< a tenth of the steps and one seed: shows that it runs, not that it holds
  io::fs::path out;    ///< runs are kept there; finished ones are not repeated
};

struct ArmOutcome {
  std::vector<double> values;   ///< the metric, by seed
  std::vector<double> seconds;  ///< of pre-training, by seed; empty where it was done before
  double mean() const;
  double deviation() const;  ///< of the sample; 0 for one seed
};

struct Outcome {
  Claim claim;
  ArmOutcome ours, baseline;
  /// By how much ours is better.
  double difference() const { return (claim.lower ? -1 : 1) * (ours.mean() - baseline.mean()); }
  /// The difference exceeds the margin.
  bool holds() const { return difference() > claim.margin; }
  /// The difference exceeds twice its standard error too (a negative margin by as much); with one seed never.
  bool is_clear() const;
  Json to_json() const;
  std::string to_text() const;
};

Outcome reproduce(const Claim& claim, const ReproduceOptions& options);

}  // namespace lacuna::eval
