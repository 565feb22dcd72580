#include "lacuna/train/config.h"

#include "lacuna/core/error.h"
#include "lacuna/train/modality.h"
#include "lacuna/train/schedule.h"

namespace lacuna::train {

namespace {

struct MethodKey {
  std::string& name;
  void fields(Fields& f) { f("method", name, "what is trained: `lacuna list methods`"); }
};

}  // namespace

void PictureConfig::fields(Fields& f) {
  f("mean", mean, "normalisation, in units of [0, 1]; empty: measured on the data");
  f("std", std, "normalisation, in units of [0, 1]; empty: measured on the data").range(1e-6);
  f("max_pixels", max_pixels, "pictures with more pixels are refused").range(1);
}

void DataConfig::fields(Fields& f) {
  f("uri", uri, "what to train on: `lacuna list datasets`");
  f("label_share", label_share,
    "share of each class's records that is used, chosen by train.seed; 0.01 for 1 %")
      .range(1e-9, 1);
  f("shots", shots, "records of each class that may be learnt from, drawn by train.seed; 0: all").range(0);
  f("classes", classes, "classes that are learnt from: all, or the first (base) or second (new) half of them")
      .choices({"all", "base", "new"});
  f("max_bad", max_bad, "broken records that are named and skipped before the run ends").range(0);
}

void HealthConfig::fields(Fields& f) {
  f("every", every, "steps between health checks; 0: ten over the run").range(0);
  f("samples", samples, "records that rank, spread and k-NN are measured on; half as many are queries")
      .range(2);
  f("probe", probe,
    "labelled data for k-NN while training; empty: the training data where they are labelled");
  f("preview_every", preview_every, "steps between preview pictures; 0: six over the run").range(0);
  f("preview_images", preview_images, "records in a preview").range(1, 64);
  f("max_skipped", max_skipped, "steps skipped in a row (loss not finite, or a spike) before the run ends")
      .range(1);
  f("spike", spike, "a gradient norm this many times its running median is a spike and skipped; 0: off")
      .range(0);
}

void TrainConfig::fields(Fields& f) {
  f("epochs", epochs, "passes over the data").range(0);
  f("steps", steps, "optimiser steps; overrides epochs unless -1; 0 writes the untrained network").range(-1);
  f("batch_size", batch_size, "records in a batch of one process").range(1);
  f("accum", accum, "batches whose gradients are averaged before a step").range(1);
  f("optimizer", optimizer, "update rule").choices({"adamw", "lars", "sgd"});
  f("lr", lr, "peak learning rate; 0: base_lr * effective batch / lr_batch").range(0);
  f("base_lr", base_lr, "learning rate for an effective batch of lr_batch").range(0);
  f("lr_batch", lr_batch, "effective batch that base_lr, base_min_lr and base_warmup_lr are given for")
      .range(1);
  f("min_lr", min_lr, "learning rate at the end of the cosine; 0: base_min_lr * effective batch / lr_batch")
      .range(0);
  f("base_min_lr", base_min_lr, "min_lr for an effective batch of lr_batch").range(0);
  f("warmup_lr", warmup_lr,
    "learning rate that warm-up starts from; 0: base_warmup_lr * effective batch / lr_batch")
      .range(0);
  f("base_warmup_lr", base_warmup_lr, "warmup_lr for an effective batch of lr_batch").range(0);
  f("warmup_epochs", warmup_epochs, "epochs over which the learning rate rises").range(0);
  f("hold_epochs", hold_epochs, "tri_stage: epochs at the full rate behind the warm-up").range(0);
  f("decay_epochs", decay_epochs, "tri_stage: epochs of the fall to min_lr; 0: all that are left").range(0);
  f("schedule", schedule,
    "course of the learning rate: cosine (MAE's); timm_cosine, multistep, linear as SimMIM sets them by "
    "iteration; polynomial: fairseq's, straight down to min_lr; tri_stage: fairseq's, up, flat, then down "
    "to min_lr by a constant factor a step; vjepa_cosine: V-JEPA's by iteration; micro_cosine: lit-gpt's by "
    "micro-iteration; cyclic: mmcv's, half a cosine up over the warm-up, another down to min_lr")
      .choices(schedule_names());
  f("schedule_scale", schedule_scale,
    "vjepa_cosine and weight_decay_end: they are planned for this many times the run's steps and cut off")
      .range(1);
  f("milestones", milestones, "multistep: epochs at which the rate is multiplied by gamma").range(0);
  f("gamma", gamma, "multistep: factor at a milestone").range(0);
  f("layer_decay", layer_decay,
    "learning rate of a layer over that of the next one (fine-tuning); 1: all the same")
      .range(0, 1);
  f("weight_decay", weight_decay, "decoupled weight decay (LARS, SGD: added to the gradient)").range(0);
  f("weight_decay_end", weight_decay_end,
    "weight decay that a half cosine over the run ends at; below 0: it stays as it is")
      .range(-1);
  f("betas", betas, "AdamW's averaging of gradient and square").range(0, 1);
  f("eps", eps, "AdamW's epsilon").range(0);
  f("momentum", momentum, "momentum of LARS and SGD").range(0, 1);
  f("clip_grad", clip_grad, "largest global gradient norm; 0: off").range(0);
  f("clip_by", clip_by, "whose norm clip_grad bounds: all gradients together, or each part of the network")
      .choices({"all", "part"});
  f("clip_after_warmup", clip_after_warmup, "gradients are clipped only once the warm-up is over");
  f("precision", precision, "arithmetic of forward and backward; weights stay fp32")
      .choices({"fp32", "bf16", "fp16"});
  f("loss_scale", loss_scale, "fp16: factor on the loss at the start; it adapts as torch.amp.GradScaler's")
      .range(1);
  f("grad_checkpointing", grad_checkpointing,
    "keep only the inputs of blocks and compute the rest again: less memory, a third more arithmetic");
  f("ema_decay", ema_decay,
    "decay of a moving average of weights and buffers, kept as ema.safetensors (timm's ModelEma); 0: none")
      .range(0, 1);
  f("ema_warmup", ema_warmup, "the average follows closely at first: 1 - step^-2/3 until ema_decay (timm)");
  f("ema_start", ema_start, "steps in which the average is a plain copy of the weights").range(0);
  f("seed", seed, "of weights, order, augmentation and masks").range(0);
  f("workers", workers, "threads that read and decode").range(0, 1024);
  f("prefetch", prefetch, "finished batches held ready").range(1, 1024);
  f("log_every", log_every, "steps between lines of metrics.jsonl").range(1);
  f("checkpoint_every", checkpoint_every,
    "steps between checkpoints; 0: each epoch, at most ten over the run")
      .range(0);
  f("checkpoint_minutes", checkpoint_minutes, "a checkpoint besides when the last is this old; 0: off")
      .range(0);
  f("keep", keep, "last checkpoints kept, the best by probe besides").range(1);
  f("timeout_s", timeout_s, "seconds that a process of several waits for another before all of them end")
      .range(1);
  f("device", device, "where to compute; auto takes a GPU when there is one")
      .choices({"auto", "cpu", "cuda"});
  f("init", init,
    "weights to start from (a run, a checkpoint, a safetensors file); empty: drawn from the seed");
  f("init_partial", init_partial, "load what fits of train.init and name what does not");
}

RunConfig::RunConfig(const std::string& method_name) : method(method_name) {
  method_config = info().make_config();
  data.uri = modality().default_data();
  MethodKey key{method};
  table.add("", key);
  table.add("data", data);
  table.add("", *method_config);
  modality().add_keys(*this);
  table.add("train", train);
  table.add("health", health);
  for (const auto& assignment : info().defaults) {
    const auto equals = assignment.find('=');
    table.set_default(assignment.substr(0, equals), assignment.substr(equals + 1));
  }
}

std::unique_ptr<RunConfig> RunConfig::from_toml(const Json& document, const std::string& origin) {
  const auto found = document.find("method");
  if (found == document.end() || !found->is_string())
    fail(origin, "names no method", "add a line such as method = \"mae\" at its top");
  auto config = std::make_unique<RunConfig>(found->get<std::string>());
  config->table.merge(document, origin);
  return config;
}

void RunConfig::resolve() {
  method_config->resolve(table);
  modality().resolve(*this);
  if (train.betas.size() != 2)
    fail("train.betas", str(train.betas.size(), " values"), "give two, e.g. [0.9, 0.95]");
}

std::string RunConfig::to_toml() const { return table.to_toml(); }

const MethodInfo& RunConfig::info() const { return Registry<MethodInfo>::instance().get(method); }

const Modality& RunConfig::modality() const {
  return *Registry<ModalityEntry>::instance().get(info().modality).modality;
}

std::shared_ptr<Method> RunConfig::make_method() const {
  SeededDraws draws(static_cast<uint64_t>(train.seed));
  return info().make(*method_config, draws);
}

}  // namespace lacuna::train
