// A text file's bytes front to back, decompressed on the way: .zst (Zstandard) and .gz (gzip) by the file's name,
// whatever its case.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

namespace ttt {

// The name without its ending .zst or .gz.
std::filesystem::path without_compression(const std::filesystem::path& path);
inline bool is_compressed(const std::filesystem::path& path) {
  return without_compression(path) != path;
}

// A to Z as a to z.
std::string lower_case(std::string text);

class TextStream {
 public:
  explicit TextStream(const std::filesystem::path& path);  // throws UserError
  ~TextStream();
  TextStream(TextStream&&) noexcept;

  // The next bytes, at most `size`; 0 at the end. Throws UserError naming the file when it is damaged or ends inside
  // its compressed data, Error when the system cannot read it.
  std::size_t read(char* data, std::size_t size);
  // Passes over so many bytes of text (fewer at the end); what is not compressed is not read.
  void skip(std::uint64_t bytes);
  // Bytes of the file (compressed ones) that were read so far.
  std::uint64_t file_position() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Bytes of text in the file; a compressed file is decompressed to count them. Throws UserError like read().
std::uint64_t text_size(const std::filesystem::path& path);

}  // namespace ttt
