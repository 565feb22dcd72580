#include "lacuna/eval/finetune.h"

#include "lacuna/core/error.h"
#include "lacuna/core/log.h"
#include "lacuna/core/torch.h"
#include "lacuna/data/loader.h"
#include "lacuna/method/supervised.h"
#include "lacuna/train/trainer.h"

namespace lacuna::eval {

namespace {

const std::vector<std::string> kAugmentation = {"augment.auto_augment=rand-m9-mstd0.5-inc1",
                                                "augment.erase_prob=0.25"};

/// The network that is fine-tuned: the weights' encoder and data, the settings of their paper, then the
/// user's.
std::unique_ptr<train::RunConfig> finetune_config(const Request& request) {
  auto config = std::make_unique<train::RunConfig>("supervised");
  auto& table = config->table;
  const auto& source = *request.model.config;
  copy_keys(source.table, "encoder.", table, request.model.origin);
  copy_keys(source.table, "data.", table, request.model.origin);
  table.set("encoder.drop_path", SupervisedConfig().encoder.drop_path, "fine-tuning");
  table.set("data.uri", request.data_uri, "--data");
  table.set("train.init", request.model.origin, request.model.origin);
  for (const auto* defaults : {&kAugmentation, &source.info().finetune})
    for (const auto& assignment : *defaults) {
      const auto equals = assignment.find('=');
      table.set_default(assignment.substr(0, equals), assignment.substr(equals + 1));
    }
  for (const auto& setting : request.settings) table.set_assignment(setting, "--set");
  if (request.config.from_scratch) {
    table.set("train.init", "", "eval.from_scratch");
    if (!table.is_set("train.layer_decay")) table.set_default("train.layer_decay", "1.0");
  }
  return config;
}

bool is_finished(const io::fs::path& run) {
  const auto checkpoint = train::newest_checkpoint(run);
  return checkpoint && checkpoint->state.value("finished", false);
}

}  // namespace

void copy_keys(const ConfigTable& from, const std::string& prefix, ConfigTable& to,
               const std::string& origin) {
  for (const auto& field : from.fields())
    if (field.key.starts_with(prefix) && to.has(field.key)) to.set(field.key, field.get(), origin);
}

Place choose_place(const Request& request) {
  if (request.folder.empty())
    fail("eval", str("no place to train in: ", request.model.origin, " belongs to no run"),
         "give a folder: --out FOLDER");
  for (int64_t number = 1;; ++number) {
    const io::fs::path folder =
        number == 1 ? request.folder : io::fs::path(str(request.folder.string(), "-", number));
    if (!io::fs::exists(folder / "config.toml")) return {folder, false};
    if (!is_finished(folder)) return {folder, true};
  }
}

io::fs::path train_network(const Request& request, std::unique_ptr<train::RunConfig> config) {
  const auto place = choose_place(request);
  auto* together = request.model.processes;
  if (together) together->barrier();  // all have chosen the folder before the first one makes it
  if (place.resume) {
    const auto path = (place.folder / "config.toml").string();
    log::info(str("continuing the training in ", place.folder.string()));
    config = train::RunConfig::from_toml(read_toml(path), path);
  }
  {
    train::Trainer trainer(std::move(config), place.folder, place.resume, together, request.train);
    trainer.run();
  }
  if (together) together->barrier();  // the last checkpoint is there
  return place.folder;
}

Json classification_metrics(const Model& classifier, std::shared_ptr<data::Dataset> test,
                            const EvalConfig& config) {
  const torch::NoGradGuard no_grad;
  const auto* method = dynamic_cast<const Supervised*>(classifier.method.get());
  LACUNA_ASSERT(method);
  const auto device = classifier.method->parameters().front().device();
  const int64_t classes = method->config().head.num_classes;
  auto loader = make_loader(classifier, std::move(test), config);
  double right = 0, right5 = 0, loss = 0;  // of this process
  std::vector<Tensor> labels;
  while (auto batch = loader.next_in_epoch()) {
    const auto rows = (batch->label >= 0).nonzero().flatten();
    if (rows.numel() == 0) continue;
    const auto label = batch->label.index_select(0, rows);
    const auto logits = method->logits(batch->image.index_select(0, rows).to(device)).to(torch::kFloat).cpu();
    const auto best = std::get<1>(logits.topk(std::min<int64_t>(5, classes))).eq(label.unsqueeze(1));
    right += best.slice(1, 0, 1).sum().item<double>();
    right5 += best.sum().item<double>();
    loss += torch::cross_entropy_loss(logits, label, {}, at::Reduction::Sum).item<double>();
    labels.push_back(label);
  }
  labels.push_back(torch::zeros({0}, torch::kLong));
  auto all = torch::cat(labels);
  std::vector<double> shares{right, right5, loss, static_cast<double>(all.numel())};
  if (auto* together = classifier.processes) {
    together->mean(shares);  // all four by the same factor
    all = together->gather_rows(all);
  }
  if (all.numel() == 0) fail("--test", "no labelled picture that can be read", "run `lacuna inspect` on it");
  Json metrics = {
      {"top1", shares[0] / shares[3]}, {"loss", shares[2] / shares[3]}, {"chance", majority_share(all)}};
  if (classes > 5) metrics["top5"] = shares[1] / shares[3];
  return metrics;
}

namespace {

Result finetune(const Request& request) {
  auto* together = request.model.processes;
  const auto run = train_network(request, finetune_config(request)).string();
  auto tuned = load_model(run);
  tuned.processes = together;
  Result result;
  result.metrics = classification_metrics(tuned, request.test, request.config);
  if (tuned.config->train.ema_decay > 0) {
    auto averaged = load_model(run, {}, {.ema = true});
    averaged.processes = together;
    const auto metrics = classification_metrics(averaged, request.test, request.config);
    for (const auto& [name, value] : metrics.items())
      if (name != "chance") result.metrics[name + "_ema"] = value;
  }
  result.settings = {{"run", run},
                     {"from_scratch", request.config.from_scratch},
                     {"train_size", request.train->size()},
                     {"test_size", request.test->size()}};
  for (const char* key :
       {"train.epochs", "train.base_lr", "train.layer_decay", "train.weight_decay", "train.batch_size",
        "train.ema_decay", "encoder.drop_path", "encoder.img_size", "data.label_share", "mixup.mixup_alpha",
        "mixup.cutmix_alpha", "augment.auto_augment", "train.seed"})
    result.settings[key] = tuned.config->table.get(key);
  return result;
}

const Register<Protocol> registered{
    "finetune",
    {.summary = "encoder and a linear head trained on labels with the settings of the "
                "method's paper (train.*, augment.*, mixup.*, head.* keys)",
     .run = finetune,
     .trains = true,
     .several_processes = true}};

}  // namespace
}  // namespace lacuna::eval
