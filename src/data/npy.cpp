#include "data/npy.h"

#include <bit>
#include <cstring>
#include <string>
#include <string_view>

#include "base/error.h"

namespace ttt {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";

// The text behind 'key': in the header, a Python dictionary such as {'descr': '<u2', 'fortran_order': False, 'shape':
// (3,), }.
std::string_view value_of(std::string_view header, std::string_view key) {
  std::size_t at = header.find("'" + std::string(key) + "'");
  if (at == std::string_view::npos) return {};
  at = header.find(':', at);
  if (at == std::string_view::npos) return {};
  at = header.find_first_not_of(' ', at + 1);
  return at == std::string_view::npos ? std::string_view{} : header.substr(at);
}

// "(3, 4)" -> {3, 4}; an empty result for what is not a tuple of whole numbers (or the empty tuple).
std::vector<std::int64_t> parse_shape(std::string_view text) {
  std::vector<std::int64_t> shape;
  if (text.empty() || text[0] != '(') return {};
  std::int64_t value = -1;
  for (const char c : text.substr(1)) {
    if (c >= '0' && c <= '9') {
      if (value > (std::int64_t{1} << 55)) return {};
      value = (value < 0 ? 0 : value * 10) + (c - '0');
    } else if (c == ',' || c == ')') {
      if (value >= 0) shape.push_back(value);
      value = -1;
      if (c == ')') return shape;
    } else if (c != ' ' && c != 'L') {
      return {};
    }
  }
  return {};
}

template <class Word>
Word byte_swapped(Word word) {
  auto* bytes = reinterpret_cast<unsigned char*>(&word);
  for (std::size_t i = 0; i < sizeof word / 2; ++i) std::swap(bytes[i], bytes[sizeof word - 1 - i]);
  return word;
}

template <class Word>
void copy_values(const std::byte* data, std::int64_t count, bool swap, std::int64_t* values) {
  for (std::int64_t i = 0; i < count; ++i) {
    Word word;
    std::memcpy(&word, data + static_cast<std::size_t>(i) * sizeof word, sizeof word);
    values[i] = static_cast<std::int64_t>(swap ? byte_swapped(word) : word);
  }
}

}  // namespace

NpyTokens::NpyTokens(const std::filesystem::path& path) : file_(path) {
  const auto refuse = [&](const auto&... what) { user_error("'", path.string(), "': ", what...); };
  const std::string_view text = file_.text();
  if (!text.starts_with(kMagic) || text.size() < 12) refuse("not a NumPy .npy array; save the tokens with numpy.save");
  const auto byte = [&](std::size_t i) { return static_cast<std::size_t>(static_cast<unsigned char>(text[i])); };
  const std::size_t version = byte(6);
  if (version < 1 || version > 3)
    refuse("version ", version, " of the .npy format is unknown; save the array again with numpy.save");
  const std::size_t prefix = version == 1 ? 10 : 12;
  const std::size_t length =
      version == 1 ? byte(8) | byte(9) << 8 : byte(8) | byte(9) << 8 | byte(10) << 16 | byte(11) << 24;
  if (text.size() - prefix < length) refuse("the file ends inside its header; copy it again");
  const std::string_view header = text.substr(prefix, length);
  data_offset_ = prefix + length;

  const std::string_view descr = value_of(header, "descr");
  const bool known = descr.size() >= 5 && (descr[0] == '\'' || descr[0] == '"') &&
                     std::string_view("<>|=").find(descr[1]) != descr.npos && (descr[2] == 'i' || descr[2] == 'u') &&
                     std::string_view("1248").find(descr[3]) != descr.npos && descr[4] == descr[0];
  if (!known) {
    refuse("the array's type ", descr.substr(0, descr.find(',')),
           " is not an integer type; convert it with array.astype(\"int32\")");
  }
  is_signed_ = descr[2] == 'i';
  item_bytes_ = descr[3] - '0';
  swap_ = descr[1] == '>' && std::endian::native == std::endian::little;

  const std::vector<std::int64_t> shape = parse_shape(value_of(header, "shape"));
  if (shape.empty() || shape.size() > 2)
    refuse("the array must have one or two dimensions; reshape it with array.reshape(-1)");
  const bool fortran = value_of(header, "fortran_order").starts_with("True");
  if (fortran && shape.size() == 2 && shape[0] > 1 && shape[1] > 1) {
    refuse("the array is in Fortran order; save numpy.ascontiguousarray(array)");
  }
  size_ = 1;
  for (const std::int64_t extent : shape) {
    if (extent != 0 && size_ > (std::int64_t{1} << 58) / extent)
      refuse("the array's shape is too large to be real; the header is damaged");
    size_ *= extent;
  }
  const std::size_t needed = static_cast<std::size_t>(size_) * static_cast<std::size_t>(item_bytes_);
  if (text.size() - data_offset_ != needed) {
    refuse("the header promises ", needed, " bytes of values, the file holds ", text.size() - data_offset_,
           "; it is truncated or damaged, copy it again");
  }
}

void NpyTokens::read(std::int64_t begin, std::int64_t count, std::int64_t* values) const {
  TTT_CHECK(begin >= 0 && count >= 0 && begin + count <= size_, begin, "+", count, " of ", size_);
  const std::byte* data =
      file_.bytes().data() + data_offset_ + static_cast<std::size_t>(begin) * static_cast<std::size_t>(item_bytes_);
  switch (item_bytes_) {
    case 1:
      return is_signed_ ? copy_values<std::int8_t>(data, count, swap_, values)
                        : copy_values<std::uint8_t>(data, count, swap_, values);
    case 2:
      return is_signed_ ? copy_values<std::int16_t>(data, count, swap_, values)
                        : copy_values<std::uint16_t>(data, count, swap_, values);
    case 4:
      return is_signed_ ? copy_values<std::int32_t>(data, count, swap_, values)
                        : copy_values<std::uint32_t>(data, count, swap_, values);
    default:
      return is_signed_ ? copy_values<std::int64_t>(data, count, swap_, values)
                        : copy_values<std::uint64_t>(data, count, swap_, values);
  }
}

NpyWriter::NpyWriter(const std::filesystem::path& path, std::int64_t rows, std::int64_t cols)
    : path_(path), file_(std::make_unique<FileWriter>(path.string() + ".tmp")), expected_(rows * cols) {
  TTT_CHECK(rows >= 0 && cols >= 0, rows, " x ", cols);
  std::string header = cat("{'descr': '<f4', 'fortran_order': False, 'shape': (", rows, ", ", cols, "), }");
  header.append(63 - (10 + header.size()) % 64, ' ');  // values start at a multiple of 64
  header += '\n';
  std::string prefix(kMagic);
  prefix += {'\x01', '\x00', static_cast<char>(header.size() & 0xff), static_cast<char>(header.size() >> 8)};
  file_->write(prefix.data(), prefix.size());
  file_->write(header.data(), header.size());
}

NpyWriter::~NpyWriter() {
  if (!file_) return;
  file_.reset();
  std::error_code ignored;
  fs::remove(path_.string() + ".tmp", ignored);
}

void NpyWriter::append(const float* values, std::int64_t count) {
  written_ += count;
  TTT_CHECK(file_ && written_ <= expected_, written_, " of ", expected_);
  file_->write(values, static_cast<std::size_t>(count) * sizeof(float));
}

void NpyWriter::finish() {
  TTT_CHECK(file_ && written_ == expected_, written_, " of ", expected_);
  file_->finish();
  file_.reset();
  std::error_code error;
  fs::rename(path_.string() + ".tmp", path_, error);
  if (error) fail("cannot rename '", path_.string(), ".tmp': ", error.message());
}

void write_npy_f32(const std::filesystem::path& path, const float* data, std::int64_t rows, std::int64_t cols) {
  NpyWriter writer(path, rows, cols);
  writer.append(data, rows * cols);
  writer.finish();
}

}  // namespace ttt
