#include "train/tfrecord.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <vector>

namespace ttt {
namespace {

constexpr std::array<std::uint32_t, 256> crc_table() {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    std::uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82f63b78u : 0);
    table[byte] = crc;
  }
  return table;
}

template <class Word>
std::string little_endian(Word word) {
  std::string bytes;
  for (std::size_t i = 0; i < sizeof word; ++i) bytes += static_cast<char>(word >> (8 * i));
  return bytes;
}

constexpr int kVarint = 0, kFixed64 = 1, kLengthDelimited = 2, kFixed32 = 5;  // wire types
constexpr std::size_t kBins = 40;

// summary.proto: SummaryMetadata.PluginData names the dashboard; TensorProto of one DT_STRING.
std::string text_value(std::string_view tag, std::string_view markdown) {
  constexpr int kDtString = 7;
  const ProtoWriter plugin = ProtoWriter().bytes(1, "text");
  const ProtoWriter metadata = ProtoWriter().bytes(1, plugin.text());
  const ProtoWriter dimension = ProtoWriter().integer(1, 1);
  const ProtoWriter shape = ProtoWriter().bytes(2, dimension.text());
  const ProtoWriter tensor = ProtoWriter().integer(1, kDtString).bytes(2, shape.text()).bytes(8, markdown);
  return ProtoWriter().bytes(1, tag).bytes(9, metadata.text()).bytes(8, tensor.text()).text();
}

std::string summary_event(double wall_time, std::int64_t step, const std::string& value) {
  const ProtoWriter summary = ProtoWriter().bytes(1, value);
  return ProtoWriter()
      .float64(1, wall_time)
      .integer(2, static_cast<std::uint64_t>(step))
      .bytes(5, summary.text())
      .text();
}

}  // namespace

std::uint32_t crc32c(std::string_view bytes) {
  static constexpr std::array<std::uint32_t, 256> kTable = crc_table();
  std::uint32_t crc = ~0u;
  for (const char c : bytes) crc = (crc >> 8) ^ kTable[(crc ^ static_cast<unsigned char>(c)) & 0xff];
  return ~crc;
}

std::uint32_t masked_crc32c(std::string_view bytes) {
  return std::rotr(crc32c(bytes), 15) + 0xa282ead8u;
}

std::string tfrecord(std::string_view message) {
  const std::string length = little_endian(static_cast<std::uint64_t>(message.size()));
  std::string record = length + little_endian(masked_crc32c(length));
  record += message;
  return record += little_endian(masked_crc32c(message));
}

void ProtoWriter::varint(std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) text_ += static_cast<char>(value | 0x80);
  text_ += static_cast<char>(value);
}

void ProtoWriter::key(int field, int wire_type) {
  varint(static_cast<std::uint64_t>(field << 3 | wire_type));
}

ProtoWriter& ProtoWriter::integer(int field, std::uint64_t value) {
  key(field, kVarint);
  varint(value);
  return *this;
}

ProtoWriter& ProtoWriter::float32(int field, float value) {
  key(field, kFixed32);
  text_ += little_endian(std::bit_cast<std::uint32_t>(value));
  return *this;
}

ProtoWriter& ProtoWriter::float64(int field, double value) {
  key(field, kFixed64);
  text_ += little_endian(std::bit_cast<std::uint64_t>(value));
  return *this;
}

ProtoWriter& ProtoWriter::bytes(int field, std::string_view value) {
  key(field, kLengthDelimited);
  varint(value.size());
  text_ += value;
  return *this;
}

ProtoWriter& ProtoWriter::packed(int field, std::span<const double> values) {
  key(field, kLengthDelimited);
  varint(values.size_bytes());
  for (const double value : values) text_ += little_endian(std::bit_cast<std::uint64_t>(value));
  return *this;
}

std::string file_version_event(double wall_time) {
  return ProtoWriter().float64(1, wall_time).bytes(3, "brain.Event:2").text();
}

std::string session_start_event(double wall_time, std::int64_t step) {
  constexpr int kStart = 1;
  const ProtoWriter session = ProtoWriter().integer(1, kStart);
  return ProtoWriter()
      .float64(1, wall_time)
      .integer(2, static_cast<std::uint64_t>(step))
      .bytes(7, session.text())
      .text();
}

std::string scalar_event(double wall_time, std::int64_t step, std::string_view tag, float value) {
  return summary_event(wall_time, step, ProtoWriter().bytes(1, tag).float32(2, value).text());
}

std::string text_event(double wall_time, std::int64_t step, std::string_view tag, std::string_view markdown) {
  return summary_event(wall_time, step, text_value(tag, markdown));
}

std::string histogram_event(double wall_time, std::int64_t step, std::string_view tag, std::span<const float> values) {
  std::vector<double> finite;
  for (const float value : values) {
    if (std::isfinite(value)) finite.push_back(value);
  }
  if (finite.empty()) return "";
  const auto [smallest, largest] = std::minmax_element(finite.begin(), finite.end());
  const double low = *smallest, width = (*largest - low) / static_cast<double>(kBins);
  const std::size_t bins = width > 0 ? kBins : 1;
  std::vector<double> limits(bins, *largest), counts(bins, 0.0);  // the upper limit of each bin
  for (std::size_t i = 0; i + 1 < bins; ++i) limits[i] = low + width * static_cast<double>(i + 1);
  double sum = 0, sum_of_squares = 0;
  for (const double value : finite) {
    const auto bin = width > 0 ? static_cast<std::size_t>((value - low) / width) : 0;
    counts[std::min(bin, bins - 1)] += 1;
    sum += value;
    sum_of_squares += value * value;
  }
  const ProtoWriter histogram = ProtoWriter()
                                    .float64(1, low)
                                    .float64(2, *largest)
                                    .float64(3, static_cast<double>(finite.size()))
                                    .float64(4, sum)
                                    .float64(5, sum_of_squares)
                                    .packed(6, limits)
                                    .packed(7, counts);
  return summary_event(wall_time, step, ProtoWriter().bytes(1, tag).bytes(5, histogram.text()).text());
}

}  // namespace ttt
