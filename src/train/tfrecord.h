// The bytes of TensorBoard's event files: TFRecord framing around protobuf messages, both written by hand (the few
// fields of tensorflow/core/util/event.proto and framework/summary.proto that scalars, histograms and texts take).
//
//     record  = u64 length, little endian | masked crc32c of these 8 bytes | message | masked crc32c of the message
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace ttt {

// CRC-32C (Castagnoli) of the bytes, and as TFRecord stores it: rotated by 15 and a constant added.
std::uint32_t crc32c(std::string_view bytes);
std::uint32_t masked_crc32c(std::string_view bytes);

// A message as one record of the file.
std::string tfrecord(std::string_view message);

// Appends fields to a protobuf message. Field numbers are those of the .proto files.
class ProtoWriter {
 public:
  ProtoWriter& integer(int field, std::uint64_t value);            // int32, int64, enum
  ProtoWriter& float32(int field, float value);                    // float
  ProtoWriter& float64(int field, double value);                   // double
  ProtoWriter& bytes(int field, std::string_view value);           // string, bytes, message
  ProtoWriter& packed(int field, std::span<const double> values);  // repeated double
  const std::string& text() const { return text_; }

 private:
  void varint(std::uint64_t value);
  void key(int field, int wire_type);
  std::string text_;
};

// Event messages (event.proto) at a step; wall_time in seconds since 1970.
std::string file_version_event(double wall_time);
// A run (re)starts here: a reader drops what it has of this step and later ones.
std::string session_start_event(double wall_time, std::int64_t step);
std::string scalar_event(double wall_time, std::int64_t step, std::string_view tag, float value);
std::string text_event(double wall_time, std::int64_t step, std::string_view tag, std::string_view markdown);
// Equal bins from the smallest to the largest value. Not-finite values are left out; "" when none is left.
std::string histogram_event(double wall_time, std::int64_t step, std::string_view tag, std::span<const float> values);

}  // namespace ttt
