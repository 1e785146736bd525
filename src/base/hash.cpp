#include "base/hash.h"

#include <xxhash.h>

#include <cstdio>
#include <fstream>
#include <vector>

#include "base/error.h"

namespace ttt {

struct Xxh3Stream::State {
  XXH3_state_t* xxh = XXH3_createState();
  ~State() { XXH3_freeState(xxh); }
};

Xxh3Stream::Xxh3Stream() : state_(std::make_unique<State>()) {
  XXH3_64bits_reset(state_->xxh);
}
Xxh3Stream::~Xxh3Stream() = default;
void Xxh3Stream::update(const void* data, std::size_t size) {
  XXH3_64bits_update(state_->xxh, data, size);
}
std::uint64_t Xxh3Stream::digest() const {
  return XXH3_64bits_digest(state_->xxh);
}

std::uint64_t xxh3(const void* data, std::size_t size, std::uint64_t seed) {
  return XXH3_64bits_withSeed(data, size, seed);
}

std::string hex64(std::uint64_t value) {
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(value));
  return text;
}

std::uint64_t xxh3_file(const std::filesystem::path& path) {
  // Not by a map of the whole file, which would count as this process's memory.
  constexpr std::size_t kBlock = std::size_t{1} << 20;
  std::ifstream file(path, std::ios::binary);
  if (!file) user_error("cannot open '", path.string(), "'");
  std::vector<char> block(kBlock);
  Xxh3Stream hash;
  do {
    file.read(block.data(), kBlock);
    hash.update(block.data(), static_cast<std::size_t>(file.gcount()));
  } while (file);
  if (!file.eof()) fail("cannot read '", path.string(), "' to its end");
  return hash.digest();
}

}  // namespace ttt
