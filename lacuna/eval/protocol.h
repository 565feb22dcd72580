#pragma once
// Evaluation protocols: what an encoder is worth, measured one way for every method.

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "lacuna/core/registry.h"
#include "lacuna/data/dataset.h"
#include "lacuna/data/loader.h"
#include "lacuna/eval/attentive_config.h"
#include "lacuna/eval/explain_config.h"
#include "lacuna/eval/generate_config.h"
#include "lacuna/eval/probe_config.h"
#include "lacuna/eval/prompt_config.h"
#include "lacuna/eval/text_eval_config.h"
#include "lacuna/train/checkpoint.h"
#include "lacuna/train/config.h"
#include "lacuna/train/processes.h"

namespace lacuna::eval {

/// A method with its weights, ready to give features. Built from a run, a checkpoint or a weights file.
struct Model {
  std::unique_ptr<train::RunConfig> config;
  std::shared_ptr<Method> method;
  data::Normalization normalization;      ///< what the weights were trained with
  std::string origin;                     ///< the weights' path
  train::Processes* processes = nullptr;  ///< those that extract features together; null: one
};
/// `choice`: which of a run's weights. `settings`: "encoder.num_heads=3"
/// for files that do not carry their config (their sizes are read off the tensors). Error when the weights do
/// not fit.
Model load_model(const std::string& run_or_weights, const std::vector<std::string>& settings = {},
                 train::WeightsChoice choice = {});

/// Keys `eval.*` shared by the protocols.
struct EvalConfig {
  int64_t batch_size = 64, workers = 2, seed = 0;
  std::string weights = "model";                        ///< model | ema
  std::string pool = "default";                         ///< default | token | avg
  int64_t max_train = 0, max_test = 0;                  ///< at most so many records; 0: all
  std::vector<int64_t> k{10, 20, 100, 200};             ///< knn
  double temperature = 0.07;                            ///< knn
  int64_t epochs = 90;                                  ///< linear
  int64_t linear_batch_size = 1024;                     ///< linear
  std::string optimizer = "lars";                       ///< linear: lars | sgd
  std::vector<double> base_lr{0.1, 0.3, 1, 3, 10, 30};  ///< linear: one probe for each rate, in one pass
  double warmup_epochs = 10;                            ///< linear
  double weight_decay = 0;                              ///< linear
  bool from_scratch = false;                            ///< finetune: the baseline
  AttentiveConfig attentive;                            ///< keys eval.attentive.*
  ExplainConfig explain;                                ///< keys explain.*: removal, lime
  ProbeConfig probe;                                    ///< keys probe.*: what looks at frames and layers
  GenerateConfig generate;                              ///< keys generate.*: sampling, forecast
  TextEvalConfig lm;                                    ///< keys lm.*: what reads texts
  PromptConfig prompt;                                  ///< keys prompt.*: zeroshot
  FewshotConfig fewshot;                                ///< keys fewshot.*
  void fields(Fields& f);
};

/// Takes the eval.*, explain.* and probe.* assignments out of `settings`; what is left is the model's.
EvalConfig take_eval_config(std::vector<std::string>& settings);

/// The other processes of an evaluation, null when there are none; train.device and train.timeout_s as in
/// `settings`. Call before load_model, which places the model on this process's device.
std::unique_ptr<train::Processes> join_processes(const std::vector<std::string>& settings);

/// Features of a data set, read once, in order.
struct Features {
  Tensor features;  ///< [N, D] float32
  Tensor labels;    ///< [N] int64; data::kNoLabel where a record has none
  int64_t size() const { return features.size(0); }
};
/// In evaluation mode and fp32; pictures are resized and centre-cropped to the model's input. Several
/// processes each take their share of the batches, and all return the whole. Error when `dataset` gives no
/// picture that can be read.
Features extract_features(const Model& model, std::shared_ptr<data::Dataset> dataset,
                          const EvalConfig& config);
/// Those of the records that have a label; Error naming `role` ("--data", "--test") when none has.
Features labelled_features(const Model& model, std::shared_ptr<data::Dataset> dataset,
                           const EvalConfig& config, const std::string& role);

/// Share of the most frequent label: what guessing one class for everything would score.
double majority_share(const Tensor& labels);

/// contracts.md, "eval": {"protocol", "weights", "data", "test", "metrics", "settings", "curves"?}.
struct Result {
  std::string protocol, weights, data, test;
  Json metrics = Json::object(), settings = Json::object();
  /// Charts of the report: [{"title", "note", "x": what runs along the axis, "shares": bool, "series": {name:
  /// [[x, y],
  /// ...]}}]. Left out of the document when empty.
  Json curves = Json::array();
  Json to_json() const;
};

/// What a protocol is asked to do.
struct Request {
  const Model& model;
  /// `train`: what may be learnt from; `test`: what is scored. Both are labelled, with the same classes
  /// (Protocol::labels).
  std::shared_ptr<data::Dataset> train, test;
  const EvalConfig& config;
  std::string data_uri;                    ///< of `train`, or of what it is a part of
  std::vector<std::string> settings = {};  ///< of the network that a protocol trains
  io::fs::path folder = {};  ///< where a protocol that trains keeps its run; empty: none is known
};

/// A protocol, registered in its own file.
struct Protocol {
  static const char* noun() { return "evaluation protocol"; }
  std::string summary;
  /// Fills metrics and settings; evaluate() adds the rest.
  std::function<Result(const Request& request)> run;
  bool trains = false;  ///< a network of its own: takes --out, and every key but eval.* is that network's
  /// Several processes may run it: it shares out its work or does it alike in each.
  bool several_processes = false;
  bool labels = true;  ///< needs a class for each record
};

/// Records in order, cut as in evaluation.
data::Loader make_loader(const Model& model, std::shared_ptr<data::Dataset> dataset,
                         const EvalConfig& config);

/// The name of a protocol's results in a run: "knn", or "knn-ema" of the averaged weights.
std::string result_name(const std::string& protocol, const EvalConfig& config);

/// Opens data (empty: what the weights were trained on) and test (the set's own test split, or else a fifth
/// held out by seed; Result.test says which), runs the protocol and, when the weights were given as a run's
/// folder, writes RUN/evals/NAME.json (result_name). `settings`: keys `eval.*`, `explain.*`, `probe.*`, and
/// those of load_model or of the network that the protocol trains, whose run is kept in `out` (RUN/evals/NAME
/// by default). Error: unknown protocol, data without labels, classes that differ between the two, a test set
/// that is the data itself, several `processes` for a protocol that knows only one. Of several the first
/// writes.
Result evaluate(const std::string& protocol, const std::string& run_or_weights, const std::string& data_uri,
                const std::string& test_uri, const std::vector<std::string>& settings, bool best,
                train::Processes* processes = nullptr, const io::fs::path& out = {});

}  // namespace lacuna::eval
