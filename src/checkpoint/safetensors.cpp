// The safetensors format:
//
//     u64 n, little endian | n bytes of JSON | data
//     JSON: {"name": {"dtype", "shape", "data_offsets": [begin, end]}, "__metadata__": {...}}
//
// Offsets count from the start of the data; together the tensors must tile it without gaps or overlaps.
#include "checkpoint/safetensors.h"

#include <ATen/ATen.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <set>
#include <string_view>

#include "base/error.h"
#include "base/files.h"
#include "base/json.h"

namespace ttt {
namespace {

constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;             // the format's own limit
constexpr std::uint64_t kMaxTensorBytes = std::uint64_t{1} << 62;  // strides of an empty tensor stay below 2^63 too
constexpr std::uint64_t kAlignment = 64;
constexpr const char* kMetadataKey = "__metadata__";

struct TypeName {
  const char* name;
  at::ScalarType type;
};
constexpr TypeName kTypes[] = {
    {"F64", at::kDouble}, {"F32", at::kFloat}, {"F16", at::kHalf}, {"BF16", at::kBFloat16}, {"I64", at::kLong},
    {"I32", at::kInt},    {"I16", at::kShort}, {"I8", at::kChar},  {"U8", at::kByte},       {"BOOL", at::kBool},
};

const char* type_name(at::ScalarType type, const std::string& tensor) {
  for (const TypeName& entry : kTypes) {
    if (entry.type == type) return entry.name;
  }
  fail("tensor '", tensor, "' has a type that safetensors files do not hold");
}

// One tensor as its header entry describes it, checked against the size of the data.
struct Entry {
  std::string name;
  at::ScalarType type = at::kFloat;
  std::vector<std::int64_t> shape;
  std::uint64_t begin = 0, end = 0;
};

// A file being read: its path stands in every message.
class Parser {
 public:
  // Of bytes in a map, tensors are views.
  Parser(std::string_view bytes, const std::string& path, std::shared_ptr<const MappedFile> map = nullptr)
      : bytes_(bytes), path_(path), map_(std::move(map)) {}

  SafetensorsFile parse() {
    SafetensorsFile file;
    file.path = path_;
    file.map = map_;
    std::vector<Entry> entries = parse_header(file.metadata);
    check_tiling(entries);
    for (const Entry& entry : entries) file.tensors.emplace(entry.name, tensor_of(entry));
    return file;
  }

 private:
  [[noreturn]] void reject(const std::string& what) const {
    user_error("'", path_, "' is not a whole safetensors file: ", what, "; copy or write the file anew");
  }
  [[noreturn]] void reject_tensor(const std::string& name, const std::string& what) const {
    reject("tensor '" + name + "' " + what);
  }

  std::vector<Entry> parse_header(std::map<std::string, std::string>& metadata) {
    if (bytes_.size() < 8) reject(cat("it has ", bytes_.size(), " bytes, less than the header's length takes"));
    std::uint64_t header_bytes = 0;
    for (int i = 7; i >= 0; --i)
      header_bytes = header_bytes << 8 | static_cast<unsigned char>(bytes_[static_cast<std::size_t>(i)]);
    if (header_bytes > kMaxHeaderBytes)
      reject(cat("its header would have ", header_bytes, " bytes, more than the format allows"));
    if (header_bytes > bytes_.size() - 8) reject("it ends inside its header");
    data_ = bytes_.substr(8 + header_bytes);
    // Not Json (keys in order of insertion): its look-ups are linear, and a header may have very many keys.
    const auto header = nlohmann::json::parse(bytes_.substr(8, header_bytes), nullptr, /*allow_exceptions=*/false);
    if (!header.is_object()) reject("its header is not a JSON object");

    std::vector<Entry> entries;
    for (const auto& [name, value] : header.items()) {
      if (name == kMetadataKey) {
        parse_metadata(value, metadata);
      } else {
        entries.push_back(parse_entry(name, value));
      }
    }
    return entries;
  }

  void parse_metadata(const nlohmann::json& value, std::map<std::string, std::string>& metadata) const {
    if (!value.is_object()) reject("its metadata are not a JSON object");
    for (const auto& [key, text] : value.items()) {
      if (!text.is_string()) reject("its metadata '" + key + "' is not a text");
      metadata[key] = text.get<std::string>();
    }
  }

  Entry parse_entry(const std::string& name, const nlohmann::json& value) const {
    Entry entry;
    entry.name = name;
    if (!value.is_object() || !value.contains("dtype") || !value.contains("shape") || !value.contains("data_offsets")) {
      reject_tensor(name, "lacks dtype, shape or data_offsets");
    }
    const nlohmann::json& dtype = value["dtype"];
    const nlohmann::json& shape = value["shape"];
    const nlohmann::json& offsets = value["data_offsets"];
    const auto type =
        std::find_if(std::begin(kTypes), std::end(kTypes), [&](const TypeName& t) { return dtype == t.name; });
    if (type == std::end(kTypes)) reject_tensor(name, "has the unknown type " + dtype.dump());
    entry.type = type->type;
    if (!shape.is_array()) reject_tensor(name, "has no list of sizes as its shape");
    if (!offsets.is_array() || offsets.size() != 2 || !offsets[0].is_number_unsigned() ||
        !offsets[1].is_number_unsigned()) {
      reject_tensor(name, "has data_offsets that are not two whole numbers");
    }
    entry.begin = offsets[0].get<std::uint64_t>();
    entry.end = offsets[1].get<std::uint64_t>();
    std::uint64_t size = c10::elementSize(entry.type);
    bool empty = false;
    for (const nlohmann::json& length : shape) {
      if (!length.is_number_unsigned()) reject_tensor(name, "has a size that is not a whole number");
      const auto count = length.get<std::uint64_t>();
      if (count > std::uint64_t{1} << 48) reject_tensor(name, cat("has a dimension of ", count));
      entry.shape.push_back(static_cast<std::int64_t>(count));
      empty = empty || count == 0;
      if (count > 0 && (__builtin_mul_overflow(size, count, &size) || size > kMaxTensorBytes))
        reject_tensor(name, "has a shape beyond 64 bits");
    }
    if (empty) size = 0;
    if (entry.begin > entry.end || entry.end - entry.begin != size) {
      reject_tensor(
          name, cat("has offsets ", entry.begin, " to ", entry.end, " where its shape and type take ", size, " bytes"));
    }
    if (entry.end > data_.size()) {
      reject_tensor(name, cat("ends at byte ", entry.end, " of the data, which has ", data_.size(), " bytes"));
    }
    return entry;
  }

  // Sorted by place, each tensor must begin where the one before ends, and the last one at the end of the file.
  void check_tiling(std::vector<Entry>& entries) const {
    std::sort(entries.begin(), entries.end(),
              [](const Entry& a, const Entry& b) { return std::tie(a.begin, a.end) < std::tie(b.begin, b.end); });
    std::uint64_t covered = 0;
    for (const Entry& entry : entries) {
      if (entry.begin < covered) reject_tensor(entry.name, "overlaps another tensor");
      if (entry.begin > covered)
        reject_tensor(entry.name, cat("leaves a gap of ", entry.begin - covered, " bytes before it"));
      covered = entry.end;
    }
    if (covered != data_.size()) reject(cat(data_.size() - covered, " bytes after its last tensor belong to none"));
  }

  at::Tensor tensor_of(const Entry& entry) const {
    const char* source = data_.data() + entry.begin;
    const std::uint64_t size = entry.end - entry.begin;
    if (entry.type == at::kBool && std::any_of(source, source + size, [](char byte) { return (byte & ~1) != 0; })) {
      reject_tensor(entry.name, "is of type BOOL and holds a byte other than 0 and 1");
    }
    // A file of another program may have its data at odd addresses.
    const bool aligned = reinterpret_cast<std::uintptr_t>(source) % c10::elementSize(entry.type) == 0;
    if (map_ != nullptr && size > 0 && aligned) {
      const auto forget = [map = map_, source, size](void*) { forget_pages(*map, source, size); };
      return at::from_blob(const_cast<char*>(source), entry.shape, forget, at::TensorOptions(entry.type));
    }
    at::Tensor tensor = at::empty(entry.shape, at::TensorOptions(entry.type));
    if (size > 0) std::memcpy(tensor.data_ptr(), source, size);
    return tensor;
  }

  std::string_view bytes_;
  std::string_view data_;
  const std::string& path_;
  std::shared_ptr<const MappedFile> map_;
};

}  // namespace

void forget_pages(const MappedFile& map, const void* first, std::size_t size) {
  const auto begin = reinterpret_cast<std::uintptr_t>(first),
             map_begin = reinterpret_cast<std::uintptr_t>(map.bytes().data());
  if (size == 0 || begin < map_begin || begin + size > map_begin + map.bytes().size()) return;
  const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
  const std::uintptr_t from = begin / page * page;
  // The map is read-only: what is read again is the same.
  madvise(reinterpret_cast<void*>(from), begin + size - from, MADV_DONTNEED);
}

const at::Tensor& SafetensorsFile::at(const std::string& name) const {
  const auto it = tensors.find(name);
  if (it == tensors.end()) user_error("'", path, "' has no tensor '", name, "'; is it a file of another model?");
  return it->second;
}

SafetensorsFile read_safetensors(const std::filesystem::path& path) {
  const auto map = std::make_shared<const MappedFile>(path);
  const std::string name = path.string();
  return Parser(map->text(), name, map).parse();
}

SafetensorsFile parse_safetensors(std::string_view bytes, const std::string& path) {
  return Parser(bytes, path).parse();
}

void write_safetensors(const std::filesystem::path& path, const NamedTensors& tensors,
                       const std::map<std::string, std::string>& metadata) {
  Json header = Json::object();
  if (!metadata.empty()) header[kMetadataKey] = metadata;
  std::set<std::string> names{kMetadataKey};
  std::uint64_t offset = 0;
  for (const auto& [name, tensor] : tensors) {
    TTT_CHECK(names.insert(name).second, "the name '", name, "' is reserved or occurs twice");
    const std::uint64_t size = static_cast<std::uint64_t>(tensor.numel()) * tensor.element_size();
    header[name] = {{"dtype", type_name(tensor.scalar_type(), name)},
                    {"shape", tensor.sizes().vec()},
                    {"data_offsets", {offset, offset + size}}};
    offset += size;
  }
  std::string text = header.dump();
  text.append((kAlignment - (8 + text.size()) % kAlignment) % kAlignment, ' ');

  FileWriter writer(path);
  unsigned char length[8];
  for (int i = 0; i < 8; ++i) length[i] = static_cast<unsigned char>(text.size() >> (8 * i));
  writer.write(length, sizeof length);
  writer.write(text.data(), text.size());
  for (const auto& [name, tensor] : tensors) {
    const at::Tensor data = tensor.detach().cpu().contiguous();
    writer.write(data.data_ptr(), data.numel() * data.element_size());
  }
  writer.finish();
}

}  // namespace ttt
