#include "nn/mixer/attention.h"

#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>

#include "base/error.h"
#include "ops/attention.h"

namespace ttt {

void AttentionState::append(const torch::Tensor& k_BHTK, const torch::Tensor& v_BHTK) {
  const auto T = k_BHTK.size(2);
  for (torch::Tensor* cache : {&k_BHSK, &v_BHSK}) *cache = cache->to(k_BHTK.scalar_type());
  if (cached + T > k_BHSK.size(2)) {
    auto shape = k_BHSK.sizes().vec();
    shape[2] = std::max(cached + T, 2 * k_BHSK.size(2));
    for (torch::Tensor* cache : {&k_BHSK, &v_BHSK}) {
      const torch::Tensor grown = at::empty(shape, cache->options());
      grown.narrow(2, 0, cached).copy_(cache->narrow(2, 0, cached));
      *cache = grown;
    }
  }
  k_BHSK.narrow(2, cached, T).copy_(k_BHTK);
  v_BHSK.narrow(2, cached, T).copy_(v_BHTK);
  cached += T;
  position += T;
}

void AttentionState::keep_last(std::int64_t rows) {
  if (cached <= rows) return;
  // A window slides through a buffer of twice its size, so that rows are moved only once in a window's tokens.
  if (cached < k_BHSK.size(2) && k_BHSK.size(2) <= 2 * rows) return;
  auto shape = k_BHSK.sizes().vec();
  shape[2] = 2 * rows;
  for (torch::Tensor* cache : {&k_BHSK, &v_BHSK}) {
    const torch::Tensor slid = at::empty(shape, cache->options());
    slid.narrow(2, 0, rows).copy_(cache->narrow(2, cached - rows, rows));
    *cache = slid;
  }
  cached = rows;
}

std::unique_ptr<MixerState> AttentionState::clone() const {
  auto copy = std::make_unique<AttentionState>();
  copy->k_BHSK = k_BHSK.clone();
  copy->v_BHSK = v_BHSK.clone();
  copy->cached = cached;
  copy->position = position;
  return copy;
}

std::int64_t AttentionState::bytes() const {
  return static_cast<std::int64_t>(k_BHSK.nbytes() + v_BHSK.nbytes());
}

AttentionMixer::AttentionMixer(const ModelConfig& config)
    : num_heads_(config.num_heads),
      head_dim_(config.head_size()),
      window_(config.attention_window),
      rope_theta_(config.rope_theta) {
  const auto D = config.hidden_size;
  q_proj_ = register_module("q_proj", std::make_shared<Linear>(D, D));
  k_proj_ = register_module("k_proj", std::make_shared<Linear>(D, D));
  v_proj_ = register_module("v_proj", std::make_shared<Linear>(D, D));
  o_proj_ = register_module("o_proj", std::make_shared<Linear>(D, D));
}

const RopeTable& AttentionMixer::rope_table(std::int64_t positions, const torch::Tensor& x) {
  if (rope_table_.positions() < positions || !rope_table_.matches(x)) {
    const auto rows =
        std::max(positions, 2 * rope_table_.positions());  // doubling: decoding asks for one more each token
    rope_table_ = make_rope_table(rows, head_dim_, rope_theta_, x.options());
  }
  return rope_table_;
}

torch::Tensor AttentionMixer::forward(const torch::Tensor& x_BTD, const ForwardContext&, MixerState* state) {
  auto* cache = dynamic_cast<AttentionState*>(state);
  TTT_CHECK((cache != nullptr) == (state != nullptr), "a state of another mixer");
  const torch::AutoGradMode grad_mode(torch::GradMode::is_enabled() && cache == nullptr);
  const auto T = x_BTD.size(1), past = cache ? cache->position : 0;
  const RopeTable& table = rope_table(past + T, x_BTD);
  const torch::Tensor q_BHTK = rope_split_heads(q_proj_->forward(x_BTD), num_heads_, table, past);
  torch::Tensor k_BHSK = rope_split_heads(k_proj_->forward(x_BTD), num_heads_, table, past);
  torch::Tensor v_BHSK = split_heads(v_proj_->forward(x_BTD), num_heads_);
  if (cache != nullptr) {
    cache->append(k_BHSK, v_BHSK);
    k_BHSK = cache->k_BHSK.narrow(2, 0, cache->cached);
    v_BHSK = cache->v_BHSK.narrow(2, 0, cache->cached);
  }
  const torch::Tensor o_BHTK = causal_attention(q_BHTK, k_BHSK, v_BHSK, window_);
  if (cache != nullptr && window_ > 0) cache->keep_last(window_);
  return o_proj_->forward(o_BHTK.transpose(1, 2).reshape(x_BTD.sizes()));
}

std::unique_ptr<MixerState> AttentionMixer::initial_state(std::int64_t batch) const {
  auto state = std::make_unique<AttentionState>();
  state->k_BHSK = at::empty({batch, num_heads_, 0, head_dim_}, q_proj_->weight.options().requires_grad(false));
  state->v_BHSK = at::empty_like(state->k_BHSK);
  return state;
}

}  // namespace ttt
