#include "lacuna/nn/activation_checkpoint.h"

#include <ATen/autocast_mode.h>

#include "lacuna/core/torch.h"
#include "lacuna/nn/autocast.h"

namespace lacuna::nn {

namespace {

using Block = std::function<Tensor(const std::vector<Tensor>&)>;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

thread_local bool checkpointing = false;

/// Autocast keeps the casts of weights for a whole forward pass; one made without gradients must not serve
/// later parts.
class WithoutCastCache {
 public:
  WithoutCastCache() : before_(at::autocast::is_autocast_cache_enabled()) {
    at::autocast::set_autocast_cache_enabled(false);
  }
  ~WithoutCastCache() { at::autocast::set_autocast_cache_enabled(before_); }
  WithoutCastCache(const WithoutCastCache&) = delete;
  WithoutCastCache& operator=(const WithoutCastCache&) = delete;

 private:
  const bool before_;
};

/// What the second pass needs besides the inputs that are defined; those alone can be handed to autograd.
struct Recipe : torch::CustomClassHolder {
  Tensor run(const std::vector<Tensor>& given) const {
    std::vector<Tensor> inputs(defined.size());
    auto next = given.begin();
    for (size_t i = 0; i < defined.size(); ++i)
      if (defined[i]) inputs[i] = *next++;
    return block(inputs);
  }

  Block block;
  std::vector<bool> defined;
  c10::DeviceType device = c10::kCPU;
  std::optional<c10::ScalarType> dtype;
};

struct Checkpoint : torch::autograd::Function<Checkpoint> {
  // `gate` asks for a gradient even where no input does (the first block over frozen embeddings has
  // parameters that do).
  static Tensor forward(AutogradContext* ctx, const c10::intrusive_ptr<Recipe>& recipe,
                        const Tensor& /*gate*/, at::TensorList inputs) {
    ctx->saved_data["recipe"] = c10::IValue::make_capsule(recipe);
    ctx->save_for_backward(inputs.vec());
    const WithoutCastCache no_cache;
    return recipe->run(inputs.vec());
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& gradients) {
    const auto recipe = c10::static_intrusive_pointer_cast<Recipe>(ctx->saved_data["recipe"].toCapsule());
    std::vector<Tensor> inputs;
    for (const auto& saved : ctx->get_saved_variables())
      inputs.push_back(saved.detach().requires_grad_(saved.requires_grad()));
    Tensor out;
    {
      const torch::AutoGradMode grad(true);
      const Autocast autocast(recipe->dtype, recipe->device);
      const ActivationCheckpointing once(false);
      out = recipe->run(inputs);
    }
    torch::autograd::backward({out}, {gradients[0]});
    variable_list result{Tensor(), Tensor()};
    for (const auto& input : inputs) result.push_back(input.grad());
    return result;
  }
};

}  // namespace

ActivationCheckpointing::ActivationCheckpointing(bool on) : before_(checkpointing) { checkpointing = on; }
ActivationCheckpointing::~ActivationCheckpointing() { checkpointing = before_; }
bool ActivationCheckpointing::active() { return checkpointing; }

Tensor run_block(const Block& block, const std::vector<Tensor>& inputs) {
  if (!checkpointing || !torch::GradMode::is_enabled()) return block(inputs);
  const auto recipe = c10::make_intrusive<Recipe>();
  recipe->block = block;
  recipe->device = inputs.front().device().type();
  recipe->dtype = Autocast::current(recipe->device);
  std::vector<Tensor> defined;
  for (const auto& input : inputs) {
    recipe->defined.push_back(input.defined());
    if (input.defined()) defined.push_back(input);
  }
  return Checkpoint::apply(recipe, torch::zeros({}, torch::requires_grad()), at::TensorList(defined));
}

}  // namespace lacuna::nn
