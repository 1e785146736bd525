// Loss of a model over a data set. Shapes: B windows of a batch, T tokens of a window, P of a piece of it, D width.
#include "infer/evaluate.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/where.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <vector>

#include "base/error.h"
#include "data/statistics.h"
#include "model/segments.h"
#include "tokenizer/tokenizer.h"

namespace ttt {

EvalSums& EvalSums::operator+=(const EvalSums& other) {
  nats += other.nats;
  tokens += other.tokens;
  bytes += other.bytes;
  samples += other.samples;
  correct += other.correct;
  answers += other.answers;
  correct_answers += other.correct_answers;
  return *this;
}

namespace {

class Evaluation {
 public:
  Evaluation(LanguageModel& model, const Dataset& data, const EvalOptions& options)
      : model_(model), data_(data), options_(options), windows_(windows_of(data, options)) {
    if (!data.tokenizer_path().empty()) tokenizer_.emplace(data.tokenizer_path());
    if (options.reset_at_documents) TTT_CHECK(data.bos_id().has_value(), "no BOS id to find documents by");
    if (options.samples) regression_ = RegressionSums::of(data.task());
    if (options.adapt) adapter_.emplace(model, *options.adapt);
    if (options.positions) positions_.emplace(windows_.longest(), document_offsets(data.directory()));
  }

  EvalResult run(const std::function<void(const torch::Tensor&)>& on_batch) {
    const at::NoGradGuard no_grad;
    EvalResult result;
    result.has_answers = data_.has_scores();
    EvalSums& totals = result.totals;
    const EvalShare& share = options_.share;
    for (std::int64_t first = 0; first < windows_.size();) {
      EvalSums own;
      for (std::int64_t rank = 0; rank < share.size && first < windows_.size(); ++rank) {
        const std::int64_t count = windows_at_once(first);
        if (rank == share.rank) own = score(first, count, on_batch, result);
        first += count;
      }
      for (const EvalSums& sums : share.exchange ? share.exchange(own) : std::vector<EvalSums>{own}) totals += sums;
    }
    if (totals.tokens == 0)
      user_error("the data set '", data_.directory().string(), "' has no scored token",
                 data_.has_scores() ? " in these windows" : ": every target is BOS");
    result.tokens = totals.tokens;
    result.samples = totals.samples;
    result.loss = totals.nats / static_cast<double>(totals.tokens);
    result.bits_per_byte = totals.bytes > 0 ? totals.nats / std::log(2.0) / static_cast<double>(totals.bytes)
                                            : std::numeric_limits<double>::quiet_NaN();
    if (positions_) result.positions = position_losses();
    if (regression_) result.regression = regression_->means();
    return result;
  }

 private:
  struct Scores {
    torch::Tensor loss_BT;                // fp32 on the CPU, 0 where a target is not scored
    torch::Tensor scored_BT, correct_BT;  // bool; correct: of sets that say what is scored
    torch::Tensor expected_N;             // of the task regression: of all scored targets, in order
  };

  // How many windows, from this one on, are alike and so make a batch.
  std::int64_t windows_at_once(std::int64_t first) const {
    const EvalWindow one = windows_[first];
    std::int64_t count = 1;
    if (options_.carry_state) return count;
    while (count < options_.batch && first + count < windows_.size()) {
      const EvalWindow other = windows_[first + count];
      if (other.length != one.length || other.skip != one.skip) break;
      if (resets() && other.document != one.document) break;
      ++count;
    }
    return count;
  }

  // Whether the adapted model is the checkpoint's again where a document begins.
  bool resets() const { return options_.adapt && options_.adapt->reset_at_documents; }

  EvalSums score(std::int64_t first, std::int64_t count, const std::function<void(const torch::Tensor&)>& on_batch,
                 EvalResult& result) {
    std::vector<EvalWindow> windows;
    std::vector<std::int64_t> begins;
    for (std::int64_t i = first; i < first + count; ++i) {
      windows.push_back(windows_[i]);
      begins.push_back(windows.back().begin);
    }
    if (resets() && windows.front().document != adapted_document_) {
      if (adapted_document_ >= 0) adapter_->reset();
      adapted_document_ = windows.front().document;
    }
    const Batch batch = data_.windows(begins, windows.front().length);
    const Scores scores = compute(batch, windows.front());
    EvalSums sums;
    sums.nats = scores.loss_BT.sum(torch::kFloat64).item<double>();
    for (std::int64_t b = 0; b < count; ++b) {
      const EvalWindow& window = windows[static_cast<std::size_t>(b)];
      const EvalSums own = sums_of(batch, scores, window, b, first + b);
      sums.tokens += own.tokens, sums.bytes += own.bytes, sums.samples += own.samples, sums.correct += own.correct;
      sums.answers += own.answers, sums.correct_answers += own.correct_answers;
      if (!options_.samples) continue;
      result.by_length[window.length + 1] += own;
      if (scores.expected_N.defined()) {
        const std::int64_t n = own.tokens;
        const torch::Tensor part = scores.expected_N.narrow(0, b * n, n);
        regression_->add(data_.tokens(window.begin, window.length + 1),
                         {part.const_data_ptr<double>(), part.const_data_ptr<double>() + n});
      }
      if (const auto items = data_.items(window.document)) result.by_items[*items] += own;
    }
    if (on_batch) on_batch(at::constant_pad_nd(scores.loss_BT, {0, windows_.context() - scores.loss_BT.size(1)}, 0));
    return sums;
  }

  // Of windows that are alike; `window` is the first of them.
  Scores compute(const Batch& batch, const EvalWindow& window) {
    const torch::Tensor inputs_BT = batch.inputs_BT.to(options_.device),
                        targets_BT = batch.targets_BT.to(options_.device);
    Scores scores;
    scores.scored_BT = scored_targets(batch, data_.bos_id());
    if (window.skip > 0) {
      scores.scored_BT = scores.scored_BT.clone();
      scores.scored_BT.narrow(1, 0, window.skip).fill_(false);
    }
    const std::int64_t T = window.length, wanted = adapter_ ? options_.adapt->chunk : options_.piece;
    const std::int64_t piece = wanted > 0 ? std::min(wanted, T) : T;
    const bool with_state = !adapter_ && (options_.carry_state || piece < T);
    TTT_CHECK(!with_state || !options_.reset_at_documents, "a state has no documents within it");
    if (with_state && !window.continues) state_ = model_.initial_state(inputs_BT.size(0));
    std::vector<torch::Tensor> losses, corrects, expected;
    for (std::int64_t begin = 0; begin < T; begin += piece) {
      const std::int64_t count = std::min(piece, T - begin);
      ForwardContext context;
      std::vector<Segment> documents;
      if (options_.reset_at_documents) {
        documents = document_segments(batch.inputs_BT, *data_.bos_id());
        context.segments = &documents;
      }
      const torch::Tensor hidden_BPD =
          adapter_ ? hidden_behind(inputs_BT.narrow(1, 0, begin + count), count)
                   : model_.hidden(inputs_BT.narrow(1, begin, count), context, with_state ? &*state_ : nullptr);
      const std::int64_t skip = std::clamp<std::int64_t>(window.skip - begin, 0, count);
      losses.push_back(loss_behind(hidden_BPD, targets_BT.narrow(1, begin, count), skip));
      if (regression_) {
        const torch::Tensor scored_BP = scores.scored_BT.narrow(1, begin, count);
        expected.push_back(torch::zeros({inputs_BT.size(0), count}, torch::kDouble));
        expected.back().index_put_({scored_BP},
                                   expected_values(model_.logits(hidden_BPD.index({scored_BP.to(options_.device)}))));
      }
      if (data_.has_scores())
        corrects.push_back(correct(hidden_BPD, targets_BT.narrow(1, begin, count),
                                   scores.scored_BT.narrow(1, begin, count).to(options_.device)));
      tokens_ += inputs_BT.size(0) * count;
      if (options_.on_tokens) options_.on_tokens(tokens_);
      if (adapter_)
        adapter_->learn(inputs_BT.narrow(1, 0, begin + count), targets_BT.narrow(1, 0, begin + count),
                        scores.scored_BT.narrow(1, begin, count));
    }
    if (!options_.carry_state) state_.reset();
    const torch::Tensor loss_BT = losses.size() == 1 ? losses.front() : at::cat(losses, 1);
    scores.loss_BT = torch::where(scores.scored_BT, loss_BT, torch::zeros_like(loss_BT)).to(torch::kFloat32);
    if (!corrects.empty()) scores.correct_BT = at::cat(corrects, 1);
    if (!expected.empty()) scores.expected_N = at::cat(expected, 1).index({scores.scored_BT});
    return scores;
  }

  // Of the last `count` tokens, the others read anew: the model has changed since.
  torch::Tensor hidden_behind(const torch::Tensor& inputs_BT, std::int64_t count) {
    const torch::Tensor hidden_BTD = model_.hidden(inputs_BT, ForwardContext{});
    return hidden_BTD.narrow(1, inputs_BT.size(1) - count, count).contiguous();
  }

  // -log p on the CPU, 0 for the first `skip` targets.
  torch::Tensor loss_behind(const torch::Tensor& hidden_BPD, const torch::Tensor& targets_BP, std::int64_t skip) const {
    if (skip == 0) return model_.hidden_loss(hidden_BPD, targets_BP).to(torch::kCPU);
    const std::int64_t P = targets_BP.size(1);
    if (skip == P) return torch::zeros(targets_BP.sizes(), torch::kFloat32);
    const torch::Tensor loss =
        model_.hidden_loss(hidden_BPD.narrow(1, skip, P - skip).contiguous(), targets_BP.narrow(1, skip, P - skip));
    return at::constant_pad_nd(loss, {skip, 0}, 0).to(torch::kCPU);
  }

  // Where a scored target is the most likely token.
  torch::Tensor correct(const torch::Tensor& hidden_BPD, const torch::Tensor& targets_BP,
                        const torch::Tensor& scored_BP) const {
    torch::Tensor correct_BP = torch::zeros_like(scored_BP);
    const torch::Tensor guess_N = model_.most_likely(hidden_BPD.index({scored_BP}));
    correct_BP.index_put_({scored_BP}, guess_N == targets_BP.index({scored_BP}));
    return correct_BP.to(torch::kCPU);
  }

  // Window number `index`, row b of the batch; its tokens go to their positions.
  EvalSums sums_of(const Batch& batch, const Scores& scores, const EvalWindow& window, std::int64_t b,
                   std::int64_t index) {
    const auto row = [b](const torch::Tensor& x_BT) { return x_BT[b].contiguous(); };
    const torch::Tensor inputs_T = row(batch.inputs_BT), targets_T = row(batch.targets_BT),
                        loss_T = row(scores.loss_BT), scored_T = row(scores.scored_BT);
    const auto *input = inputs_T.const_data_ptr<std::int64_t>(), *target = targets_T.const_data_ptr<std::int64_t>();
    const float* loss = loss_T.const_data_ptr<float>();
    const bool* scored = scored_T.const_data_ptr<bool>();
    EvalSums sums;
    sums.samples = 1;
    std::int64_t fresh = 0;  // where the model began anew
    for (std::int64_t t = 0; t < window.length; ++t) {
      if (options_.reset_at_documents && input[t] == *data_.bos_id()) fresh = t;
      if (!scored[t]) continue;
      const std::int64_t bytes = tokenizer_ ? tokenizer_->token_bytes().at(static_cast<std::size_t>(target[t])) : 0;
      ++sums.tokens;
      sums.bytes += bytes;
      sums.nats += loss[t];
      if (positions_) positions_->add(window.begin + t, index, window.position + t - fresh + 1, loss[t], bytes);
    }
    if (scores.correct_BT.defined()) count_answers(row(scores.correct_BT), scored_T, window, sums);
    return sums;
  }

  void count_answers(const torch::Tensor& correct_T, const torch::Tensor& scored_T, const EvalWindow& window,
                     EvalSums& sums) const {
    const bool *correct = correct_T.const_data_ptr<bool>(), *scored = scored_T.const_data_ptr<bool>();
    const std::vector<std::uint8_t> marks = data_.marks(window.begin + 1, window.length);
    bool open = false, right = false;  // of an answer
    const auto close = [&] {
      if (open) ++sums.answers, sums.correct_answers += right;
      open = false;
    };
    for (std::int64_t t = 0; t < window.length; ++t) {
      if (!scored[t]) {
        close();
        continue;
      }
      if ((marks[static_cast<std::size_t>(t)] & kFirstOfAnswer) != 0) close();
      if (!open) open = right = true;
      right = right && correct[t];
      sums.correct += correct[t];
    }
    close();
  }

  PositionLosses position_losses() {
    const EvalShare& share = options_.share;
    if (share.gather) {
      const std::vector<std::string> all = share.gather(positions_->data());
      for (std::size_t rank = 0; rank < all.size(); ++rank) {
        if (static_cast<std::int64_t>(rank) != share.rank) positions_->merge(all[rank]);
      }
    }
    return positions_->result(options_.seed);
  }

  LanguageModel& model_;
  const Dataset& data_;
  const EvalOptions& options_;
  EvalWindows windows_;
  std::optional<Tokenizer> tokenizer_;
  std::optional<PositionSums> positions_;
  std::optional<RegressionSums> regression_;
  std::optional<ModelState> state_;
  std::int64_t tokens_ = 0;  // computed so far
  std::optional<Adapter> adapter_;
  std::int64_t adapted_document_ = -1;  // with its reset: of the last batch
};

}  // namespace

std::int64_t num_windows(const Dataset& data, std::int64_t context) {
  return (std::max<std::int64_t>(data.num_tokens() - 1, 0) + context - 1) / context;
}

EvalWindows windows_of(const Dataset& data, const EvalOptions& options) {
  return {data,
          {.context = options.context,
           .max_windows = options.max_samples,
           .documents = options.documents,
           .stride = options.stride,
           .carry_state = options.carry_state,
           .samples = options.samples,
           .document_starts = options.adapt && options.adapt->reset_at_documents}};
}

EvalResult evaluate(LanguageModel& model, const Dataset& data, const EvalOptions& options,
                    const std::function<void(const torch::Tensor& token_loss_BT)>& on_batch) {
  const std::int64_t ids = model.config().vocab_size;
  if (data.vocab_size() > ids || (data.vocab_size() < ids && !options.padded_vocabulary)) {
    user_error("the data set '", data.directory().string(), "' has a vocabulary of ", data.vocab_size(),
               ", the model one of ", ids, "; prepare the data with the model's tokenizer");
  }
  return Evaluation(model, data, options).run(on_batch);
}

}  // namespace ttt
