// Documents within the samples of a batch, for training without sight of the document before.
//
// Shapes: B batch, T time, D width.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "nn/mixer.h"

namespace ttt {

// The documents of a batch: each sequence is cut before every token equal to bos_id. tokens [B,T] int64. The segments
// cover the batch, sequence after sequence.
std::vector<Segment> document_segments(const at::Tensor& tokens_BT, std::int64_t bos_id);

using SegmentFunction = std::function<at::Tensor(const at::Tensor& part_BTD, const ForwardContext& context)>;

// f(x) where context.segments is not set; else f of each segment alone, [1,length,D] -> [1,length,D], put together.
// Inner statistics are then those of the longest segment.
at::Tensor by_segments(const at::Tensor& x_BTD, const ForwardContext& context, const SegmentFunction& f);

}  // namespace ttt
