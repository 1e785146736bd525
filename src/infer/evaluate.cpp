// Loss of a model over a data set.
#include "infer/evaluate.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/constant_pad_nd.h>
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

// The last window, where it is shorter than the context: inputs and targets [1, T'].
Batch last_window(const Dataset& data, std::int64_t context) {
  const std::int64_t begin = data.num_samples(context) * context, count = data.num_tokens() - begin;
  const std::vector<std::int32_t> ids = data.tokens(begin, count);
  const torch::Tensor tokens_BT =
      torch::tensor(std::vector<std::int64_t>(ids.begin(), ids.end()), torch::kInt64).unsqueeze(0);
  return {tokens_BT.narrow(1, 0, count - 1), tokens_BT.narrow(1, 1, count - 1)};
}

}  // namespace

std::int64_t num_windows(const Dataset& data, std::int64_t context) {
  return (std::max<std::int64_t>(data.num_tokens() - 1, 0) + context - 1) / context;
}

EvalResult evaluate(LanguageModel& model, const Dataset& data, const EvalOptions& options,
                    const std::function<void(const torch::Tensor& token_loss_BT)>& on_batch) {
  const std::int64_t ids = model.config().vocab_size;
  if (data.vocab_size() > ids || (data.vocab_size() < ids && !options.padded_vocabulary)) {
    user_error("the data set '", data.directory().string(), "' has a vocabulary of ", data.vocab_size(),
               ", the model one of ", ids, "; prepare the data with the model's tokenizer");
  }
  std::int64_t windows = num_windows(data, options.context);
  if (windows == 0) {
    user_error("the data set '", data.directory().string(), "' has ", data.num_tokens(),
               " tokens, too few for an input and its target; prepare it from more text");
  }
  if (options.max_samples > 0) windows = std::min(windows, options.max_samples);
  const std::int64_t whole = std::min(windows, data.num_samples(options.context));
  const std::int64_t whole_batches = (whole + options.batch - 1) / options.batch;
  const std::int64_t batches = whole_batches + (windows - whole);  // a shorter window is a batch of its own
  std::optional<Tokenizer> tokenizer;
  if (!data.tokenizer_path().empty()) tokenizer.emplace(data.tokenizer_path());

  const at::NoGradGuard no_grad;
  const auto read_batch = [&](std::int64_t index) {
    if (index == whole_batches) return last_window(data, options.context);
    const std::int64_t first = index * options.batch;
    std::vector<std::int64_t> indices(static_cast<std::size_t>(std::min(options.batch, whole - first)));
    std::iota(indices.begin(), indices.end(), first);
    return data.batch(indices, options.context);
  };
  const auto evaluate_batch = [&](std::int64_t index) {
    const Batch batch = read_batch(index);
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
    sums.samples = batch.inputs_BT.size(0);
    if (tokenizer) sums.bytes = bytes_of(batch.targets_BT, scored_BT, tokenizer->token_bytes());
    if (on_batch) on_batch(at::constant_pad_nd(loss_BT, {0, options.context - loss_BT.size(1)}, 0));
    return sums;
  };

  EvalResult result;
  double total = 0;
  std::int64_t bytes = 0;
  const EvalShare& share = options.share;
  for (std::int64_t round = 0; round < batches; round += share.size) {
    const std::int64_t index = round + share.rank;
    const EvalSums own = index < batches ? evaluate_batch(index) : EvalSums{};
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
