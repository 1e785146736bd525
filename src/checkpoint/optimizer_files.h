// The optimizer's tensors in a checkpoint: one file for each rank that wrote it, with whole tensors or pieces of them.
//
//     optimizer-RRRRR-of-WWWWW.safetensors    rank and number of ranks, five digits each
//
// A piece is one-dimensional and has its tensor's name; the file's metadata "pieces" says, as JSON, which elements of
// the flattened tensor it holds: {"exp_avg/NAME": {"first": 0, "last": 100, "shape": [20, 10]}}.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/element_range.h"
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

// The optimizer's tensors as the files of all ranks hold them. Of the files' data only those elements are read that
// read() is called for.
class StoredOptimizer {
 public:
  StoredOptimizer() = default;  // holds nothing
  // Takes the files by their names. Throws UserError saying what is wrong: a file that is missing or of another number
  // of ranks, pieces that overlap or leave something out.
  explicit StoredOptimizer(const std::map<std::string, SafetensorsFile>& files_by_name);

  std::vector<std::string> names() const;
  // Of the whole tensor; null where there is none of that name.
  const std::vector<std::int64_t>* shape(const std::string& name) const;
  // Copies elements of the flattened tensor into `into`, which has as many.
  void read(const std::string& name, ElementRange elements, at::Tensor into) const;

 private:
  struct Piece {
    TensorPiece piece;
    std::string path;
    std::shared_ptr<const MappedFile> map;
  };
  static void put_in_order(const std::string& name, std::vector<Piece>& pieces);
  std::map<std::string, std::vector<Piece>> pieces_;  // of each tensor, in the order of their elements
};

// For tests: while one lives, it is told of every read of stored moments: the file, the tensor, which of its elements.
class OptimizerReadWatch {
 public:
  using Watch = std::function<void(const std::string& path, const std::string& tensor, ElementRange elements)>;
  explicit OptimizerReadWatch(Watch watch);
  ~OptimizerReadWatch();
  OptimizerReadWatch(const OptimizerReadWatch&) = delete;
  OptimizerReadWatch& operator=(const OptimizerReadWatch&) = delete;
};

}  // namespace ttt
