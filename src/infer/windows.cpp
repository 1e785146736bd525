#include "infer/windows.h"

#include <algorithm>

#include "base/error.h"
#include "data/statistics.h"

namespace ttt {

EvalWindows::EvalWindows(const Dataset& data, const WindowOptions& options) : options_(options) {
  if (options.samples) options_.context = 1;  // until they are known
  TTT_CHECK(options_.context > 0 && options.stride >= 0 && options.stride <= options_.context, options.context, " ",
            options.stride);
  TTT_CHECK(!options.carry_state || options.stride == 0, "a carried state has seen what windows would overlap in");
  const std::int64_t all_targets = data.num_tokens() - 1;
  const auto add = [&](std::int64_t begin, std::int64_t targets, std::int64_t document) {
    const std::int64_t windows = windows_in(targets);
    if (windows > 0) sequences_.push_back({begin, targets, size_, document});
    size_ += windows;
  };
  if (all_targets < 1) {
    user_error("the data set '", data.directory().string(), "' has ", data.num_tokens(),
               " tokens, too few for an input and its target; prepare it from more text");
  }
  const bool by_document =
      options.documents || options.carry_state || options.stride > 0 || options.samples || options.document_starts;
  if (!by_document || data.num_documents() < 2) {
    if (options.samples) options_.context = all_targets;
    add(0, all_targets, 0);
  } else {
    const std::vector<std::int64_t> offsets = document_offsets(data.directory());
    if (options.samples) {
      for (std::size_t i = 0; i + 1 < offsets.size(); ++i)
        options_.context = std::max(options_.context, offsets[i + 1] - offsets[i] - 1);
    }
    // A document's last token has its target in the document after it (BOS, as a rule, which is not scored). Whole
    // windows lie inside with all their targets.
    const std::int64_t beyond = options.documents || options.samples ? 1 : 0;
    for (std::size_t i = 0; i + 1 < offsets.size(); ++i)
      add(offsets[i], std::min(offsets[i + 1] - beyond, all_targets) - offsets[i], static_cast<std::int64_t>(i));
  }
  if (size_ == 0) {
    user_error("no document of the data set '", data.directory().string(), "' holds a window of ", options.context,
               " tokens and its last target; give a shorter --context, or leave --documents out");
  }
  if (options.max_windows > 0) size_ = std::min(size_, options.max_windows);
}

std::int64_t EvalWindows::windows_in(std::int64_t targets) const {
  const std::int64_t T = options_.context, step = options_.stride > 0 ? options_.stride : T;
  if (targets < 1) return 0;
  if (options_.documents) return targets < T ? 0 : 1 + (targets - T) / step;
  return 1 + (std::max<std::int64_t>(targets - T, 0) + step - 1) / step;
}

EvalWindow EvalWindows::operator[](std::int64_t index) const {
  TTT_CHECK(index >= 0 && index < size_, "window ", index, " of ", size_);
  auto sequence = std::upper_bound(sequences_.begin(), sequences_.end(), index,
                                   [](std::int64_t i, const Sequence& s) { return i < s.windows_before; });
  --sequence;
  const std::int64_t T = options_.context, step = options_.stride > 0 ? options_.stride : T;
  const std::int64_t place = index - sequence->windows_before, offset = place * step;
  EvalWindow window;
  window.begin = sequence->begin + offset;
  window.length = std::min(T, sequence->targets - offset);
  window.skip = place > 0 ? T - step : 0;
  if (options_.carry_state || options_.stride > 0) window.position = offset;
  window.continues = options_.carry_state && place > 0;
  window.document = sequence->document;
  return window;
}

std::int64_t EvalWindows::longest() const {
  std::int64_t longest = 0;
  for (std::size_t i = 0; i < sequences_.size() && sequences_[i].windows_before < size_; ++i) {
    const std::int64_t end = i + 1 < sequences_.size() ? std::min(size_, sequences_[i + 1].windows_before) : size_;
    for (const std::int64_t index : {sequences_[i].windows_before, end - 1}) {
      const EvalWindow window = (*this)[index];
      longest = std::max(longest, window.position + window.length);
    }
  }
  return longest;
}

}  // namespace ttt
