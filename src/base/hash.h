// xxh3, the checksum of shards, checkpoints and data order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

namespace ttt {

// XXH3 64-bit of a block of bytes.
std::uint64_t xxh3(const void* data, std::size_t size, std::uint64_t seed = 0);
inline std::uint64_t xxh3(std::string_view bytes, std::uint64_t seed = 0) {
  return xxh3(bytes.data(), bytes.size(), seed);
}

// 16 lower-case hex digits, as manifests hold it.
std::string hex64(std::uint64_t value);

// XXH3 64-bit of a file's content, streamed. Throws UserError when it cannot be read.
std::uint64_t xxh3_file(const std::filesystem::path& path);

// XXH3 64-bit of bytes that come in pieces.
class Xxh3Stream {
 public:
  Xxh3Stream();
  ~Xxh3Stream();
  void update(const void* data, std::size_t size);
  std::uint64_t digest() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace ttt
