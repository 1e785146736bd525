// Loss of a model over a data set.
#include "infer/evaluate.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/where.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>
#include <vector>

#include "base/error.h"
#include "model/segments.h"
#include "tokenizer/tokenizer.h"

namespace ttt {
namespace {

// Bytes of text that the scored targets of a batch stand for.
std::int64_t bytes_of(const torch::Tensor& targets_BT, const torch::Tensor& scored_BT,
                      const std::vector<std::int32_t>& token_bytes) {
  const torch::Tensor targets = targets_BT.contiguous();
  const torch::Tensor scored = scored_BT.contiguous();
  const std::int64_t* id = targets.const_data_ptr<std::int64_t>();
  const bool* is_scored = scored.const_data_ptr<bool>();
  std::int64_t bytes = 0;
  for (std::int64_t i = 0; i < targets.numel(); ++i) {
    if (is_scored[i]) bytes += token_bytes.at(static_cast<std::size_t>(id[i]));
  }
  return bytes;
}

}  // namespace

EvalResult evaluate(LanguageModel& model, const Dataset& data, const EvalOptions& options,
                    const std::function<void(const torch::Tensor& token_loss_BT)>& on_batch) {
  if (data.vocab_size() != model.config().vocab_size) {
    user_error("the data set '", data.directory().string(), "' has a vocabulary of ", data.vocab_size(),
               ", the model one of ", model.config().vocab_size, "; prepare the data with the model's tokenizer");
  }
  std::int64_t samples = data.num_samples(options.context);
  if (samples == 0) {
    user_error("the data set '", data.directory().string(), "' has ", data.num_tokens(),
               " tokens, too few for one sample of ", options.context, " and its last target; take a shorter context");
  }
  if (options.max_samples > 0) samples = std::min(samples, options.max_samples);
  std::optional<Tokenizer> tokenizer;
  if (!data.tokenizer_path().empty()) tokenizer.emplace(data.tokenizer_path());

  const at::NoGradGuard no_grad;
  const auto evaluate_batch = [&](std::int64_t first) {
    std::vector<std::int64_t> indices(static_cast<std::size_t>(std::min(options.batch, samples - first)));
    std::iota(indices.begin(), indices.end(), first);
    const Batch batch = data.batch(indices, options.context);
    const torch::Tensor scored_BT = batch.targets_BT != (data.bos_id() ? *data.bos_id() : -1);
    ForwardContext context;
    std::vector<Segment> documents;
    if (options.reset_at_documents) {
      TTT_CHECK(data.bos_id().has_value(), "no BOS id to find documents by");
      documents = document_segments(batch.inputs_BT, *data.bos_id());
      context.segments = &documents;
    }
    torch::Tensor loss_BT =
        model.token_loss(batch.inputs_BT.to(options.device), batch.targets_BT.to(options.device), context)
            .to(torch::kCPU);
    loss_BT = torch::where(scored_BT, loss_BT, torch::zeros_like(loss_BT)).to(torch::kFloat32);
    EvalSums sums;
    sums.nats = loss_BT.sum(torch::kFloat64).item<double>();
    sums.tokens = scored_BT.sum().item<std::int64_t>();
    sums.samples = static_cast<std::int64_t>(indices.size());
    if (tokenizer) sums.bytes = bytes_of(batch.targets_BT, scored_BT, tokenizer->token_bytes());
    if (on_batch) on_batch(loss_BT);
    return sums;
  };

  EvalResult result;
  double total = 0;
  std::int64_t bytes = 0;
  const EvalShare& share = options.share;
  for (std::int64_t round = 0; round < samples; round += share.size * options.batch) {
    const std::int64_t first = round + share.rank * options.batch;
    const EvalSums own = first < samples ? evaluate_batch(first) : EvalSums{};
    for (const EvalSums& sums : share.exchange ? share.exchange(own) : std::vector<EvalSums>{own}) {
      total += sums.nats;
      result.tokens += sums.tokens;
      result.samples += sums.samples;
      bytes += sums.bytes;
    }
  }
  if (result.tokens == 0)
    user_error("the data set '", data.directory().string(), "' has no scored token: every target is BOS");
  result.loss = total / static_cast<double>(result.tokens);
  result.bits_per_byte =
      bytes > 0 ? total / std::log(2.0) / static_cast<double>(bytes) : std::numeric_limits<double>::quiet_NaN();
  return result;
}

}  // namespace ttt
