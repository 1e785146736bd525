// The optimizer's tensors in a checkpoint: one file for each rank that wrote it, with whole tensors or pieces of them.
//
//     optimizer-RRRRR-of-WWWWW.safetensors    rank and number of ranks, five digits each
//
// A piece is one-dimensional and has its tensor's name; the file's metadata "pieces" says, as JSON, which elements of
// the flattened tensor it holds: {"exp_avg/NAME": {"first": 0, "last": 100, "shape": [20, 10]}}.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/safetensors.h"

namespace ttt {

// Elements [first, first + values.numel()) of a tensor, flattened.
struct TensorPiece {
  std::string name;
  at::Tensor values;  // one dimension
  std::int64_t first = 0;
  std::vector<std::int64_t> shape;  // of the whole tensor
};

std::string optimizer_file_name(int rank, int size);
// (rank, size) of such a name; nothing for any other.
std::optional<std::pair<int, int>> parse_optimizer_file_name(const std::string& name);

// What write_safetensors takes for a file with these pieces, names unique.
NamedTensors tensors_of(const std::vector<TensorPiece>& pieces);
std::map<std::string, std::string> metadata_of(const std::vector<TensorPiece>& pieces);

// The whole tensors, by name, from the files of all ranks. Throws UserError saying what is wrong: a file that is
// missing or of another number of ranks, pieces that overlap or leave something out.
NamedTensors assemble_optimizer(const std::map<std::string, SafetensorsFile>& files_by_name);

}  // namespace ttt
