// NumPy's .npy arrays: token streams in, per-token losses out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <vector>

#include "base/files.h"

namespace ttt {

// An integer array (versions 1 to 3 of the format; i1 to i8, u1 to u8, either byte order; one dimension, or two in C
// order), read by mmap as one stream of values.
class NpyTokens {
 public:
  explicit NpyTokens(const std::filesystem::path& path);  // throws UserError naming the file and what does not fit
  std::int64_t size() const { return size_; }             // values
  // values begin .. begin+count-1. A uint64 beyond 2^63-1 becomes negative, so it fails any check against a vocabulary.
  void read(std::int64_t begin, std::int64_t count, std::int64_t* values) const;

 private:
  MappedFile file_;
  std::size_t data_offset_ = 0;
  std::int64_t size_ = 0;
  int item_bytes_ = 0;
  bool is_signed_ = false, swap_ = false;
};

// An fp32 array [rows, cols] in C order, written front to back; the file appears under its name with finish().
class NpyWriter {
 public:
  NpyWriter(const std::filesystem::path& path, std::int64_t rows, std::int64_t cols);  // throws UserError
  ~NpyWriter();  // without finish(): leaves no file
  NpyWriter(const NpyWriter&) = delete;
  NpyWriter& operator=(const NpyWriter&) = delete;

  void append(const float* values, std::int64_t count);
  void finish();  // rows * cols values must have been appended

 private:
  std::filesystem::path path_;
  std::unique_ptr<FileWriter> file_;
  std::int64_t expected_, written_ = 0;
};

void write_npy_f32(const std::filesystem::path& path, const float* data, std::int64_t rows, std::int64_t cols);

}  // namespace ttt
