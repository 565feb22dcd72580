// The Python module: thin bindings. Tensors pass as torch tensors without copies; what computes or reads runs
// without the interpreter's lock.

#include <pybind11/stl.h>
#include <torch/csrc/utils/pybind.h>
#include <torch/version.h>

#include "lacuna/core/error.h"
#include "lacuna/core/torch.h"
#include "lacuna/data/inspect.h"
#include "lacuna/data/loader.h"
#include "lacuna/mask/block.h"
#include "lacuna/mask/random.h"
#include "lacuna/mask/span.h"
#include "lacuna/train/describe.h"

namespace py = pybind11;

namespace lacuna {
namespace {

using Unlocked = py::call_guard<py::gil_scoped_release>;

constexpr int64_t kMeasuredRecords = 2048;  // as in training: enough for mean and std to three digits

// --- conversions -----------------------------------------------------------------------------------------

/// Anything that Python's json writes; paths and other objects as their text.
Json to_json(const py::handle& value) {
  const auto dumps = py::module_::import("json").attr("dumps");
  return Json::parse(dumps(value, py::arg("default") = py::type::of(py::str())).cast<std::string>());
}

py::object to_python(const Json& value) { return py::module_::import("json").attr("loads")(value.dump()); }

/// 96 or (64, 128): height and width.
Size2 to_size(const py::handle& value) {
  if (py::isinstance<py::int_>(value)) return {value.cast<int64_t>(), value.cast<int64_t>()};
  const auto [h, w] = value.cast<std::pair<int64_t, int64_t>>();
  return {h, w};
}

/// Key by key, so that errors name the key.
void set_all(ConfigTable& table, const py::dict& settings, const std::string& origin) {
  for (const auto& [key, value] : settings) table.set(key.cast<std::string>(), to_json(value), origin);
}

std::unique_ptr<train::RunConfig> make_config(const std::string& method, const py::dict& settings) {
  auto config = std::make_unique<train::RunConfig>(method);
  set_all(config->table, settings, "Config");
  return config;
}

std::shared_ptr<Method> build(train::RunConfig& config) {
  config.resolve();
  return config.make_method();
}

/// Pixels as PyTorch wants them: [C, H, W], uint8 as stored, else float32 in [0, 1] (float files: as stored).
torch::Tensor to_planes(const io::Image& image) {
  const auto planes = image.pixels.permute({2, 0, 1});
  return image.peak == 255 || image.peak == 1 ? planes : planes / image.peak;
}

Batch make_batch(const torch::Tensor& image, std::optional<torch::Tensor> label, std::vector<int64_t> sample,
                 std::vector<std::string> key) {
  if (image.dim() != 4) fail("Batch.image", str("has ", image.dim(), " dimensions"), "give [B, C, H, W]");
  const auto rows = static_cast<size_t>(image.size(0));
  for (size_t i = 0; sample.size() < rows && i < rows; ++i) sample.push_back(static_cast<int64_t>(i));
  if (sample.size() != rows)
    fail("Batch.sample", str("holds ", sample.size(), " numbers for ", rows, " pictures"),
         "give one for each, or none");
  Batch batch;
  batch.image = image;
  batch.label = label.value_or(torch::full({image.size(0)}, data::kNoLabel, torch::kLong));
  batch.sample = std::move(sample);
  batch.key = std::move(key);
  return batch;
}

// --- maskers ---------------------------------------------------------------------------------------------

/// The draws of `rows` masks whose running numbers are `sample` (0, 1, ... where none are given).
SeededDraws draws_of(int64_t rows, int64_t seed, std::vector<int64_t> sample) {
  if (!sample.empty() && static_cast<int64_t>(sample.size()) != rows)
    fail("sample", str("holds ", sample.size(), " numbers for ", rows, " rows"),
         "give one for each row, or none");
  return SeededDraws(static_cast<uint64_t>(seed), 0, std::move(sample));
}

mask::Shuffle random_mask(int64_t samples, int64_t patches, double ratio, int64_t seed,
                          std::vector<int64_t> sample) {
  mask::RandomConfig config;
  config.ratio = ratio;
  mask::check_ratio(patches, ratio);
  auto draws = draws_of(samples, seed, std::move(sample));
  return mask::random_shuffle(config, samples, patches, torch::kCPU, draws);
}

torch::Tensor block_mask(int64_t samples, Size2 size, Size2 patch, int64_t cell, double ratio, int64_t seed,
                         std::vector<int64_t> sample) {
  mask::BlockConfig config;
  config.mask_patch_size = cell, config.ratio = ratio;
  mask::check_blocks(config, size, patch);
  auto draws = draws_of(samples, seed, std::move(sample));
  return mask::random_blocks(config, samples, size, patch, draws);
}

torch::Tensor span_mask(const std::vector<int64_t>& lengths, double prob, int64_t length, int64_t min_spans,
                        bool require_same, int64_t seed, std::vector<int64_t> sample) {
  const auto valid = torch::tensor(lengths, torch::kLong);
  if (lengths.empty() || valid.min().item<int64_t>() < 1 || length < 1 || min_spans < 0 || prob < 0)
    fail("span_mask", "an empty row, or a negative number",
         "give lengths >= 1, length >= 1, min_spans >= 0, prob >= 0");
  const mask::SpanConfig config{
      .prob = prob, .length = length, .min_spans = min_spans, .require_same = require_same};
  auto draws = draws_of(static_cast<int64_t>(lengths.size()), seed, std::move(sample));
  const auto frames = valid.max().item<int64_t>();
  return mask::span_mask(config, valid, frames, mask::draw_spans(config, valid, frames, draws));
}

// --- the loader ------------------------------------------------------------------------------------------

data::AugmentConfig make_augment(const py::dict& settings) {
  data::AugmentConfig augment;
  ConfigTable table;
  table.add("", augment);
  set_all(table, settings, "augment");
  return augment;
}

std::unique_ptr<data::Loader> make_loader(std::shared_ptr<data::Dataset> dataset, const py::object& size,
                                          const data::LoaderConfig& config, int64_t channels,
                                          std::vector<double> mean, std::vector<double> std,
                                          const py::dict& augment, bool evaluate) {
  const auto settings = make_augment(augment);
  const Size2 input = to_size(size);
  const py::gil_scoped_release unlocked;
  if (channels == 0 || mean.empty()) {
    const auto report =
        data::inspect_dataset(*dataset, kMeasuredRecords, channels, std::max<int64_t>(1, config.workers));
    if (channels == 0) channels = report.main_channels;
    if (mean.empty()) mean = report.mean, std = report.std;
  }
  const auto transform =
      std::make_shared<const data::ImageTransform>(settings, input, channels, data::Normalization{mean, std});
  return std::make_unique<data::Loader>(std::move(dataset), evaluate ? transform->evaluating() : transform,
                                        config);
}

// --- the module ------------------------------------------------------------------------------------------

void bind_configs(py::module_& m) {
  m.def(
      "methods", [] { return Registry<MethodInfo>::instance().names(); }, "Names of the methods there are.");
  m.def(
      "info", [](const std::string& method) { return to_python(train::describe(train::RunConfig(method))); },
      py::arg("method"), "A method's paper, parts and every config key, as a dict.");
  py::class_<train::RunConfig>(m, "Config",
                               "Every key of a method and its training; starts at the paper's settings.")
      .def(py::init(&make_config), py::arg("method"), py::arg("settings") = py::dict(),
           "settings: {'encoder.depth': 4, 'encoder.img_size': (64, 128), ...}")
      .def_static(
          "from_toml",
          [](const std::string& text) {
            return train::RunConfig::from_toml(parse_toml(text, "TOML"), "TOML");
          },
          py::arg("text"), "From a recipe's or a run's TOML text.")
      .def_readonly("method", &train::RunConfig::method)
      .def(
          "set",
          [](train::RunConfig& c, const std::string& assignment) {
            c.table.set_assignment(assignment, "set");
          },
          py::arg("assignment"), "'key=value', as on the command line.")
      .def("__setitem__", [](train::RunConfig& c, const std::string& key,
                             const py::object& value) { c.table.set(key, to_json(value), "Config"); })
      .def("__getitem__",
           [](const train::RunConfig& c, const std::string& key) { return to_python(c.table.get(key)); })
      .def("__contains__", [](const train::RunConfig& c, const std::string& key) { return c.table.has(key); })
      .def(
          "to_dict", [](const train::RunConfig& c) { return to_python(c.table.to_json()); }, "Nested.")
      .def("to_toml", &train::RunConfig::to_toml, "Every key with its meaning.");
}

void bind_methods(py::module_& m) {
  py::class_<Loss>(m, "Loss", "total is a differentiable scalar; parts are what it is made of.")
      .def_readonly("total", &Loss::total)
      .def_readonly("parts", &Loss::parts)
      .def_readonly("stats", &Loss::stats);
  py::class_<Batch>(m, "Batch", "image [B, C, H, W] float32, normalised; label [B] int64, -1 for none.")
      .def(py::init(&make_batch), py::arg("image"), py::arg("label") = py::none(),
           py::arg("sample") = std::vector<int64_t>(), py::arg("key") = std::vector<std::string>(),
           "sample: the pictures' running numbers, which name their random draws (default 0, 1, ...).")
      .def_readonly("image", &Batch::image)
      .def_readonly("label", &Batch::label)
      .def_readonly("sample", &Batch::sample)
      .def_readonly("key", &Batch::key)
      .def("__len__", &Batch::size)
      .def(
          "__iter__", [](const Batch& batch) { return py::iter(py::make_tuple(batch.image, batch.label)); },
          "image, label: so that `for image, label in loader` works.");
  py::implicitly_convertible<torch::Tensor, Batch>();

  py::class_<Method, std::shared_ptr<Method>>(m, "Method", "A method's network and loss; build() makes one.")
      .def(
          "forward",
          [](Method& method, const Batch& batch, int64_t seed) {
            SeededDraws draws(static_cast<uint64_t>(seed), 0, batch.sample);
            return method.forward(batch, draws);
          },
          py::arg("batch"), py::arg("seed") = 0, Unlocked(),
          "The training loss of a Batch or of pictures [B, C, H, W]; masks follow from seed and sample "
          "numbers.")
      .def(
          "features",
          [](Method& method, const Batch& batch, const std::string& pool) {
            return method.features(batch, {.pool = pool});
          },
          py::arg("batch"), py::arg("pool") = "default", Unlocked(), "[B, D]; pool: default, token or avg.")
      .def(
          "after_step",
          [](Method& method, int64_t step, int64_t steps, double epoch, double epochs) {
            method.after_step({step, steps, epoch, epochs});
          },
          py::arg("step"), py::arg("steps"), py::arg("epoch") = 0.0, py::arg("epochs") = 0.0, Unlocked(),
          "Moves teachers, queues and curricula; call it after each optimiser step.")
      .def("state_dict", &Method::weights,
           "Parameters and buffers by official name; they share memory with the method.")
      .def(
          "load_state_dict",
          [](Method& method, const std::map<std::string, torch::Tensor>& weights, bool partial) {
            return load_weights(method, weights, "state_dict", partial);
          },
          py::arg("weights"), py::arg("partial") = false,
          "Returns the names that were not loaded (with partial).")
      .def(
          "parameters",
          [](const Method& method) {
            std::vector<torch::Tensor> trained;
            for (const auto& parameter : method.parameters())
              if (parameter.requires_grad()) trained.push_back(parameter);
            return trained;
          },
          "Those that are trained.")
      .def(
          "named_parameters",
          [](const Method& method) {
            std::vector<std::pair<std::string, torch::Tensor>> trained;
            for (const auto& item : method.named_parameters())
              if (item.value().requires_grad()) trained.emplace_back(item.key(), item.value());
            return trained;
          },
          "Those that are trained, with their names: for weight decay by group.")
      .def(
          "train", [](Method& method, bool on) { method.train(on); }, py::arg("mode") = true)
      .def("eval", [](Method& method) { method.eval(); })
      .def(
          "to", [](Method& method, const torch::Device& device) { method.to(device); }, py::arg("device"),
          Unlocked())
      .def_property_readonly(
          "input",
          [](const Method& method) {
            const auto input = method.input();
            return py::make_tuple(input.channels, input.size.h, input.size.w);
          },
          "(C, H, W) of the pictures it takes.");
  m.def("build", &build, py::arg("config"), Unlocked(),
        "A method with initial weights drawn from train.seed.");
  m.def(
      "build",
      [](const std::string& method, const py::dict& settings) {
        const auto config = make_config(method, settings);
        return build(*config);
      },
      py::arg("method"), py::arg("settings") = py::dict(), "build(Config(method, settings))");
}

void bind_maskers(py::module_& m) {
  py::class_<mask::Shuffle>(m, "Shuffle", "B shuffles of L patches, of which the first K stay visible.")
      .def_readonly("order", &mask::Shuffle::order, "[B, L] int64: patch numbers in shuffled order")
      .def_property_readonly("kept", &mask::Shuffle::kept, "[B, K]")
      .def_property_readonly("hidden", &mask::Shuffle::hidden, "[B, L-K]")
      .def_property_readonly("restore", &mask::Shuffle::restore, "[B, L]: the inverse of order")
      .def_property_readonly("is_hidden", &mask::Shuffle::is_hidden, "[B, L] bool in raster order");
  const auto drawn_by = "; row b depends on nothing but seed and sample[b] (default b).";
  m.def("random_mask", &random_mask, py::arg("samples"), py::arg("patches"), py::arg("ratio") = 0.75,
        py::arg("seed") = 0, py::arg("sample") = std::vector<int64_t>(), Unlocked(),
        str("Patches hidden at random (MAE)", drawn_by).c_str());
  m.def(
      "block_mask",
      [](int64_t samples, const py::object& size, const py::object& patch, int64_t cell, double ratio,
         int64_t seed, std::vector<int64_t> sample) {
        return block_mask(samples, to_size(size), to_size(patch), cell, ratio, seed, std::move(sample));
      },
      py::arg("samples"), py::arg("size"), py::arg("patch"), py::arg("cell") = 32, py::arg("ratio") = 0.6,
      py::arg("seed") = 0, py::arg("sample") = std::vector<int64_t>(),
      str("Cells of `cell` pixels hidden at random (SimMIM): [B, h, w] bool for pictures of `size` in "
          "patches of "
          "`patch`, true = hidden",
          drawn_by)
          .c_str());
  m.def("span_mask", &span_mask, py::arg("lengths"), py::arg("prob") = 0.8, py::arg("length") = 10,
        py::arg("min_spans") = 2, py::arg("require_same") = true, py::arg("seed") = 0,
        py::arg("sample") = std::vector<int64_t>(), Unlocked(),
        str("Spans of frames hidden (wav2vec 2.0, HuBERT): [B, max(lengths)] bool, true = hidden; lengths: "
            "valid "
            "frames of each row",
            drawn_by)
            .c_str());
}

void bind_data(py::module_& m) {
  py::class_<data::Dataset, std::shared_ptr<data::Dataset>>(m, "Dataset",
                                                            "Records by number; open_dataset() opens one.")
      .def("__len__", &data::Dataset::size)
      .def(
          "__getitem__",
          [](const data::Dataset& set, int64_t index) {
            if (index < 0) index += set.size();
            if (index < 0 || index >= set.size())
              throw py::index_error(str("record ", index, " of ", set.size()));
            const py::gil_scoped_release unlocked;
            const data::Record record = set.get(index);
            return std::make_tuple(to_planes(data::decode_record(record)), record.label, record.key);
          },
          py::arg("index"),
          "(image [C, H, W] uint8, or float32 in [0, 1] for deeper files; label, -1 for none; key)")
      .def(
          "label",
          [](const data::Dataset& set, int64_t index) {
            if (index < 0 || index >= set.size())
              throw py::index_error(str("record ", index, " of ", set.size()));
            return set.label(index);
          },
          py::arg("index"), "Without reading the picture.")
      .def_property_readonly("classes", &data::Dataset::classes)
      .def_property_readonly("uri", &data::Dataset::uri);
  m.def("open_dataset", &data::open_dataset, py::arg("uri"), py::arg("split") = "", Unlocked(),
        "Opens a data URI or path; split is used when the URI names none.");
  m.def(
      "inspect",
      [](const data::Dataset& set, int64_t limit) {
        nlohmann::json report;
        {
          const py::gil_scoped_release unlocked;
          report = data::inspect_dataset(set, limit).to_json();
        }
        return to_python(report);
      },
      py::arg("dataset"), py::arg("limit") = 0,
      "Sizes, channels, range, mean, std, labels, broken records; limit 0: all.");

  py::class_<data::Loader>(
      m, "Loader",
      "Batches made by threads. Each `for` gives what is left of an epoch; then the next begins.")
      .def(py::init([](const py::object& source, const py::object& size, int64_t batch_size, int64_t channels,
                       std::vector<double> mean, std::vector<double> std, const py::dict& augment,
                       bool evaluate, int64_t workers, int64_t prefetch, bool shuffle, bool drop_last,
                       int64_t seed, int64_t max_bad) {
             if (batch_size < 1 || workers < 0 || max_bad < 0)
               fail("Loader", "a negative number, or an empty batch",
                    "give batch_size >= 1, workers >= 0, max_bad >= 0");
             auto dataset = py::isinstance<py::str>(source)
                                ? data::open_dataset(source.cast<std::string>(), "")
                                : source.cast<std::shared_ptr<data::Dataset>>();
             return make_loader(std::move(dataset), size,
                                {.batch_size = batch_size,
                                 .workers = workers,
                                 .prefetch = prefetch,
                                 .shuffle = shuffle,
                                 .drop_last = drop_last,
                                 .seed = static_cast<uint64_t>(seed),
                                 .max_bad = max_bad},
                                channels, std::move(mean), std::move(std), augment, evaluate);
           }),
           py::arg("dataset"), py::arg("size"), py::arg("batch_size") = 64, py::kw_only(),
           py::arg("channels") = 0, py::arg("mean") = std::vector<double>(),
           py::arg("std") = std::vector<double>(), py::arg("augment") = py::dict(),
           py::arg("evaluate") = false, py::arg("workers") = 2, py::arg("prefetch") = 4,
           py::arg("shuffle") = true, py::arg("drop_last") = true, py::arg("seed") = 0,
           py::arg("max_bad") = 0,
           "dataset: what open_dataset() returns, or its URI. size: 96 or (h, w). channels, mean, std: "
           "measured unless given. augment: keys of info()'s "
           "augment.* "
           "without their prefix. evaluate: resize and centre crop instead of random crops.")
      .def("__len__", &data::Loader::batches_per_epoch, "Batches in an epoch.")
      .def("__iter__", [](py::object self) { return self; })
      .def("__next__",
           [](data::Loader& loader) {
             std::optional<Batch> batch;
             {
               const py::gil_scoped_release unlocked;
               batch = loader.next_in_epoch();
             }
             if (!batch) throw py::stop_iteration();
             return *std::move(batch);
           })
      .def_property(
          "position",
          [](const data::Loader& loader) {
            return std::make_pair(loader.position().epoch, loader.position().batch);
          },
          [](data::Loader& loader, std::pair<int64_t, int64_t> position) {
            const auto [epoch, batch] = position;
            if (epoch < 0 || batch < 0 || batch > loader.batches_per_epoch())
              fail("Loader.position", str("(", epoch, ", ", batch, ") is not there"), "give (epoch, batch)");
            loader.seek({epoch, batch});
          },
          "(epoch, batch) of the next batch; set it to resume there.");
}

}  // namespace
}  // namespace lacuna

PYBIND11_MODULE(_lacuna, m) {
  m.attr("VERSION") = LACUNA_VERSION;
  m.attr("TORCH_VERSION") = TORCH_VERSION;
  py::register_exception<lacuna::Error>(m, "Error", PyExc_ValueError);
  lacuna::bind_configs(m);
  lacuna::bind_methods(m);
  lacuna::bind_maskers(m);
  lacuna::bind_data(m);
}
