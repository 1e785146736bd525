#include "checkpoint/optimizer_files.h"

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

OptimizerReadWatch::Watch& read_watch() {
  static OptimizerReadWatch::Watch watch;
  return watch;
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

StoredOptimizer::StoredOptimizer(const std::map<std::string, SafetensorsFile>& files_by_name) {
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
    for (const auto& [tensor, values] : file.tensors)
      pieces_[tensor].push_back({piece_of(file, tensor, values, table), file.path, file.map});
  }
  for (std::size_t rank = 0; rank < present.size(); ++rank) {
    if (!present[rank])
      user_error("the file ", optimizer_file_name(static_cast<int>(rank), static_cast<int>(present.size())),
                 " is missing");
  }
  for (auto& [name, pieces] : pieces_) put_in_order(name, pieces);
}

// Pieces must follow one another without gap or overlap, and agree on the shape.
void StoredOptimizer::put_in_order(const std::string& name, std::vector<Piece>& pieces) {
  std::stable_sort(pieces.begin(), pieces.end(),
                   [](const Piece& a, const Piece& b) { return a.piece.first < b.piece.first; });
  const TensorPiece& any = pieces.front().piece;
  std::int64_t numel = 1, covered = 0;
  for (const std::int64_t length : any.shape) {
    if (length < 0 || __builtin_mul_overflow(numel, length, &numel))
      user_error("the pieces of '", name, "' have an impossible shape");
  }
  for (const Piece& stored : pieces) {
    const TensorPiece& piece = stored.piece;
    if (piece.shape != any.shape || piece.values.scalar_type() != any.values.scalar_type())
      user_error("the pieces of '", name, "' are not of one tensor");
    if (piece.first != covered) {
      user_error("the pieces of '", name, "' ", piece.first < covered ? "overlap at" : "leave a gap before",
                 " element ", std::min(piece.first, covered));
    }
    covered += piece.values.numel();
  }
  if (covered != numel) user_error("the pieces of '", name, "' hold ", covered, " of ", numel, " elements");
}

std::vector<std::string> StoredOptimizer::names() const {
  std::vector<std::string> names;
  for (const auto& [name, pieces] : pieces_) names.push_back(name);
  return names;
}

const std::vector<std::int64_t>* StoredOptimizer::shape(const std::string& name) const {
  const auto found = pieces_.find(name);
  return found == pieces_.end() ? nullptr : &found->second.front().piece.shape;
}

void StoredOptimizer::read(const std::string& name, ElementRange elements, at::Tensor into) const {
  TTT_CHECK(into.numel() == elements.last - elements.first && into.is_contiguous(), name, " ", into.sizes());
  const at::Tensor flat = into.view({-1});
  for (const auto& [piece, path, map] : pieces_.at(name)) {
    const std::int64_t first = std::max(elements.first, piece.first),
                       last = std::min(elements.last, piece.first + piece.values.numel());
    if (first >= last) continue;
    if (read_watch()) read_watch()(path, name, {first, last});
    const at::Tensor values = piece.values.slice(0, first - piece.first, last - piece.first);
    flat.slice(0, first - elements.first, last - elements.first).copy_(values);
    if (map != nullptr) forget_pages(*map, values.const_data_ptr(), values.nbytes());
  }
}

OptimizerReadWatch::OptimizerReadWatch(Watch watch) {
  TTT_CHECK(!read_watch(), "reads are watched already");
  read_watch() = std::move(watch);
}
OptimizerReadWatch::~OptimizerReadWatch() {
  read_watch() = nullptr;
}

}  // namespace ttt
