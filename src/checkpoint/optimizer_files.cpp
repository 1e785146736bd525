#include "checkpoint/optimizer_files.h"

#include <ATen/ops/cat.h>

#include <algorithm>
#include <cstdio>

#include "base/error.h"
#include "base/json.h"

namespace ttt {
namespace {

constexpr const char* kPieces = "pieces";

bool parse_digits(std::string_view text, int& value) {
  if (text.size() != 5 || text.find_first_not_of("0123456789") != std::string_view::npos) return false;
  value = std::stoi(std::string(text));
  return true;
}

// Pieces of one tensor to the whole: they must follow one another without gap or overlap, and agree on the shape.
at::Tensor join(std::vector<TensorPiece> pieces) {
  const TensorPiece& any = pieces.front();
  std::int64_t numel = 1;
  for (const std::int64_t length : any.shape) {
    if (length < 0 || __builtin_mul_overflow(numel, length, &numel))
      user_error("the pieces of '", any.name, "' have an impossible shape");
  }
  std::stable_sort(pieces.begin(), pieces.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::int64_t covered = 0;
  std::vector<at::Tensor> values;
  for (const TensorPiece& piece : pieces) {
    if (piece.shape != any.shape || piece.values.scalar_type() != any.values.scalar_type())
      user_error("the pieces of '", piece.name, "' are not of one tensor");
    if (piece.first != covered) {
      user_error("the pieces of '", piece.name, "' ", piece.first < covered ? "overlap at" : "leave a gap before",
                 " element ", std::min(piece.first, covered));
    }
    covered += piece.values.numel();
    values.push_back(piece.values);
  }
  if (covered != numel) user_error("the pieces of '", any.name, "' hold ", covered, " of ", numel, " elements");
  return at::cat(values).reshape(any.shape);
}

Json piece_table(const SafetensorsFile& file) {
  const auto text = file.metadata.find(kPieces);
  if (text == file.metadata.end()) return Json::object();
  Json table = Json::parse(text->second, nullptr, /*allow_exceptions=*/false);
  if (!table.is_object()) user_error("'", file.path, "' has metadata '", kPieces, "' that are not a JSON object");
  return table;
}

TensorPiece piece_of(const SafetensorsFile& file, const std::string& name, const at::Tensor& values,
                     const Json& table) {
  if (!table.contains(name)) return {name, values.flatten(), 0, values.sizes().vec()};
  try {
    const Json& entry = table.at(name);
    TensorPiece piece{name, values, entry.at("first").get<std::int64_t>(),
                      entry.at("shape").get<std::vector<std::int64_t>>()};
    const auto last = entry.at("last").get<std::int64_t>();
    if (values.dim() == 1 && piece.first >= 0 && last >= piece.first && last - piece.first == values.numel())
      return piece;
  } catch (const Json::exception&) {
  }
  user_error("'", file.path, "' does not say which elements of '", name, "' it holds");
}

}  // namespace

std::string optimizer_file_name(int rank, int size) {
  char name[64];
  std::snprintf(name, sizeof name, "optimizer-%05d-of-%05d.safetensors", rank, size);
  return name;
}

std::optional<std::pair<int, int>> parse_optimizer_file_name(const std::string& name) {
  const std::string_view text = name;
  int rank = 0, size = 0;
  if (text.size() != optimizer_file_name(0, 1).size() || !parse_digits(text.substr(10, 5), rank) ||
      !parse_digits(text.substr(19, 5), size) || name != optimizer_file_name(rank, size) || rank >= size) {
    return std::nullopt;
  }
  return std::pair(rank, size);
}

NamedTensors tensors_of(const std::vector<TensorPiece>& pieces) {
  NamedTensors tensors;
  for (const TensorPiece& piece : pieces) tensors.emplace_back(piece.name, piece.values);
  return tensors;
}

std::map<std::string, std::string> metadata_of(const std::vector<TensorPiece>& pieces) {
  Json table = Json::object();
  for (const TensorPiece& piece : pieces) {
    table[piece.name] = {{"first", piece.first}, {"last", piece.first + piece.values.numel()}, {"shape", piece.shape}};
  }
  return {{kPieces, table.dump()}};
}

NamedTensors assemble_optimizer(const std::map<std::string, SafetensorsFile>& files_by_name) {
  std::map<std::string, std::vector<TensorPiece>> pieces;
  std::vector<bool> present;
  for (const auto& [name, file] : files_by_name) {
    const auto place = parse_optimizer_file_name(name);
    TTT_CHECK(place, "'", name, "'");
    const auto [rank, size] = *place;
    if (present.empty()) present.assign(static_cast<std::size_t>(size), false);
    if (present.size() != static_cast<std::size_t>(size))
      user_error("its optimizer files are of ", present.size(), " and of ", size, " ranks");
    present[static_cast<std::size_t>(rank)] = true;
    const Json table = piece_table(file);
    for (const auto& [tensor, values] : file.tensors) pieces[tensor].push_back(piece_of(file, tensor, values, table));
  }
  for (std::size_t rank = 0; rank < present.size(); ++rank) {
    if (!present[rank])
      user_error("the file ", optimizer_file_name(static_cast<int>(rank), static_cast<int>(present.size())),
                 " is missing");
  }
  NamedTensors whole;
  for (auto& [name, parts] : pieces) whole.emplace_back(name, join(std::move(parts)));
  return whole;
}

}  // namespace ttt
