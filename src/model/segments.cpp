#include "model/segments.h"

#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>

#include "base/error.h"

namespace ttt {

std::vector<Segment> document_segments(const at::Tensor& tokens_BT, std::int64_t bos_id) {
  const at::Tensor tokens = tokens_BT.to(at::kCPU).contiguous();
  const auto B = tokens.size(0), T = tokens.size(1);
  const std::int64_t* token = tokens.const_data_ptr<std::int64_t>();
  std::vector<Segment> segments;
  for (std::int64_t b = 0; b < B; ++b) {
    for (std::int64_t t = 0; t < T; ++t, ++token) {
      if (t == 0 || *token == bos_id) segments.push_back({b, t, 0});
      ++segments.back().length;
    }
  }
  return segments;
}

at::Tensor by_segments(const at::Tensor& x_BTD, const ForwardContext& context, const SegmentFunction& f) {
  if (context.segments == nullptr) return f(x_BTD, context);
  const std::vector<Segment>& segments = *context.segments;
  const auto longest = std::max_element(segments.begin(), segments.end(),
                                        [](const Segment& a, const Segment& b) { return a.length < b.length; });
  std::vector<at::Tensor> parts;
  std::int64_t covered = 0;
  for (auto segment = segments.begin(); segment != segments.end(); ++segment) {
    ForwardContext own = context;
    own.segments = nullptr;
    if (segment != longest) own.stats = nullptr;
    parts.push_back(f(x_BTD.narrow(0, segment->sequence, 1).narrow(1, segment->begin, segment->length), own));
    covered += segment->length;
  }
  TTT_CHECK(covered == x_BTD.size(0) * x_BTD.size(1), covered, " tokens in segments, x ", x_BTD.sizes());
  return at::cat(parts, 1).view(x_BTD.sizes());
}

}  // namespace ttt
