#include "ptx/fat_binary.h"

#include <zstd.h>

#include <cstdint>
#include <cstring>

#include "base/error.h"
#include "ptx/program.h"

namespace ttt::ptx {
namespace {

// As CUDA 13 writes them.
struct Wrapper {
  std::uint32_t magic, version;
  const unsigned char* data;
  const void* unused;
};
struct Header {
  std::uint32_t magic;
  std::uint16_t version, header_bytes;
  std::uint64_t bytes;  // of the entries that follow
};
struct Entry {
  std::uint16_t kind, version;
  std::uint32_t header_bytes;
  std::uint64_t bytes;
  std::uint32_t compressed_bytes, unknown1;
  std::uint16_t minor, major;
  std::uint32_t arch, name_offset, name_bytes;
  std::uint64_t flags, unknown2, whole_bytes;
};
constexpr std::uint32_t kWrapperMagic = 0x466243b1, kHeaderMagic = 0xba55ed50;
constexpr std::uint16_t kPtx = 1;
constexpr std::uint64_t kZstd = 0x8000, kOtherCompression = 0x3000;

}  // namespace

std::string ptx_of(const void* fat_binary) {
  Wrapper wrapper;
  std::memcpy(&wrapper, fat_binary, sizeof(wrapper));
  if (wrapper.magic != kWrapperMagic) throw Problem("a fat binary of an unknown kind");
  Header header;
  std::memcpy(&header, wrapper.data, sizeof(header));
  if (header.magic != kHeaderMagic) throw Problem("a fat binary with an unknown header");
  const unsigned char* at = wrapper.data + header.header_bytes;
  for (const unsigned char* const end = at + header.bytes; at < end;) {
    Entry entry;
    std::memcpy(&entry, at, sizeof(entry));
    const unsigned char* const data = at + entry.header_bytes;
    at = data + entry.bytes;
    if (entry.kind != kPtx) continue;
    if ((entry.flags & kOtherCompression) != 0) throw Problem("PTX that is compressed by something else than zstd");
    std::string text;
    if ((entry.flags & kZstd) != 0) {
      text.resize(entry.whole_bytes);
      const std::size_t n = ZSTD_decompress(text.data(), text.size(), data, entry.compressed_bytes);
      if (ZSTD_isError(n) || n != text.size()) throw Problem(cat("compressed PTX: ", ZSTD_getErrorName(n)));
    } else {
      text.assign(reinterpret_cast<const char*>(data), entry.bytes);
    }
    return text.substr(0, text.find('\0'));
  }
  throw Problem("a fat binary without PTX");
}

}  // namespace ttt::ptx
