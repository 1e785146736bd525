#include "tokenizer/text_stream.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "base/error.h"
#include "base/files.h"

namespace ttt {
namespace {

constexpr std::size_t kFileBlock = 1 << 18;  // of the file, read at once
constexpr int kZstdWindowLog = 31;           // the largest window that a frame may ask for (zstd --long=31)

// The file itself.
class RawFile {
 public:
  explicit RawFile(const fs::path& path) : path_(path), fd_(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    struct stat info {};
    if (fd_ < 0 || fstat(fd_, &info) != 0) user_error("cannot open '", path.string(), "': ", std::strerror(errno));
    if (S_ISDIR(info.st_mode)) {
      close(fd_);
      user_error("'", path.string(), "' is a folder, not a file");
    }
  }
  ~RawFile() { close(fd_); }
  RawFile(const RawFile&) = delete;
  RawFile& operator=(const RawFile&) = delete;

  std::size_t read(char* data, std::size_t size) {
    while (true) {
      const ssize_t count = ::read(fd_, data, size);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) fail("cannot read '", path_.string(), "': ", std::strerror(errno));
      position_ += static_cast<std::uint64_t>(count);
      return static_cast<std::size_t>(count);
    }
  }
  void skip(std::uint64_t bytes) {
    const off_t place = lseek(fd_, static_cast<off_t>(bytes), SEEK_CUR);
    if (place < 0) fail("cannot seek in '", path_.string(), "': ", std::strerror(errno));
    position_ = static_cast<std::uint64_t>(place);
  }
  std::uint64_t position() const { return position_; }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
  int fd_;
  std::uint64_t position_ = 0;
};

// A decompressor takes from `input` and returns what it made of it: 0 only when it needs more input.
class Decompressor {
 public:
  virtual ~Decompressor() = default;
  virtual std::size_t decompress(std::string_view& input, char* data, std::size_t size) = 0;
  virtual bool at_end() const = 0;  // of a frame: the input may end here
};

class ZstdDecompressor : public Decompressor {
 public:
  explicit ZstdDecompressor(const fs::path& path) : path_(path), context_(ZSTD_createDCtx()) {
    if (context_ == nullptr) throw std::bad_alloc();
    ZSTD_DCtx_setParameter(context_, ZSTD_d_windowLogMax, kZstdWindowLog);
  }
  ~ZstdDecompressor() override { ZSTD_freeDCtx(context_); }

  std::size_t decompress(std::string_view& input, char* data, std::size_t size) override {
    ZSTD_inBuffer in{input.data(), input.size(), 0};
    ZSTD_outBuffer out{data, size, 0};
    while (out.pos == 0 && in.pos < in.size) {
      const std::size_t left = ZSTD_decompressStream(context_, &out, &in);
      if (ZSTD_isError(left)) {
        user_error("'", path_.string(), "' is not whole Zstandard data (", ZSTD_getErrorName(left),
                   "); copy or download the file again");
      }
      at_end_ = left == 0;
    }
    // Nothing of the input was left, but the decompressor may still hold text.
    if (out.pos == 0 && !at_end_) {
      const std::size_t left = ZSTD_decompressStream(context_, &out, &in);
      at_end_ = !ZSTD_isError(left) && left == 0;
    }
    input.remove_prefix(in.pos);
    return out.pos;
  }
  bool at_end() const override { return at_end_; }

 private:
  fs::path path_;
  ZSTD_DCtx* context_;
  bool at_end_ = false;
};

class GzipDecompressor : public Decompressor {
 public:
  explicit GzipDecompressor(const fs::path& path) : path_(path) {
    if (inflateInit2(&stream_, 15 + 16) != Z_OK) throw std::bad_alloc();  // 16: a gzip header
  }
  ~GzipDecompressor() override { inflateEnd(&stream_); }

  std::size_t decompress(std::string_view& input, char* data, std::size_t size) override {
    size = std::min<std::size_t>(size, 1u << 30);
    stream_.next_out = reinterpret_cast<Bytef*>(data);
    stream_.avail_out = static_cast<uInt>(size);
    while (stream_.avail_out == size && !input.empty()) {
      if (at_end_) {  // another member follows, or zeros that fill a block of a tape
        input.remove_prefix(std::min(input.find_first_not_of('\0'), input.size()));
        if (input.empty()) break;
        inflateReset(&stream_);
        at_end_ = false;
      }
      stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(input.data()));
      stream_.avail_in = static_cast<uInt>(input.size());
      const int status = inflate(&stream_, Z_NO_FLUSH);
      if (status != Z_OK && status != Z_STREAM_END && status != Z_BUF_ERROR) {
        user_error("'", path_.string(), "' is not whole gzip data (",
                   stream_.msg != nullptr ? stream_.msg : zError(status), "); copy or download the file again");
      }
      at_end_ = status == Z_STREAM_END;
      input.remove_prefix(input.size() - stream_.avail_in);
    }
    if (stream_.avail_out == size && !at_end_) {  // text that it still holds
      stream_.avail_in = 0;
      at_end_ = inflate(&stream_, Z_NO_FLUSH) == Z_STREAM_END;
    }
    return size - stream_.avail_out;
  }
  bool at_end() const override { return at_end_; }

 private:
  fs::path path_;
  z_stream stream_{};
  bool at_end_ = false;
};

}  // namespace

fs::path without_compression(const fs::path& path) {
  const std::string ending = lower_case(path.extension().string());
  return ending == ".zst" || ending == ".gz" ? fs::path(path).replace_extension() : path;
}

std::string lower_case(std::string text) {
  for (char& c : text)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return text;
}

struct TextStream::Impl {
  explicit Impl(const fs::path& path) : file(path) {
    const std::string ending = lower_case(path.extension().string());
    if (ending == ".zst") decompressor = std::make_unique<ZstdDecompressor>(path);
    if (ending == ".gz") decompressor = std::make_unique<GzipDecompressor>(path);
    if (decompressor) block.resize(kFileBlock);
  }

  std::size_t read_compressed(char* data, std::size_t size) {
    while (true) {
      if (const std::size_t count = decompressor->decompress(input, data, size); count > 0) return count;
      if (!input.empty()) continue;
      const std::size_t count = file.read(block.data(), block.size());
      input = {block.data(), count};
      if (count > 0) continue;
      if (!decompressor->at_end()) {
        user_error("'", file.path().string(), "' is truncated: it ends after ", file.position(),
                   " bytes inside its compressed data; copy or download the file again");
      }
      return 0;
    }
  }

  RawFile file;
  std::unique_ptr<Decompressor> decompressor;  // none: the text lies in the file as it is
  std::vector<char> block;
  std::string_view input;  // of the block, not yet decompressed
};

TextStream::TextStream(const fs::path& path) : impl_(std::make_unique<Impl>(path)) {}
TextStream::~TextStream() = default;
TextStream::TextStream(TextStream&&) noexcept = default;

std::size_t TextStream::read(char* data, std::size_t size) {
  return impl_->decompressor ? impl_->read_compressed(data, size) : impl_->file.read(data, size);
}

void TextStream::skip(std::uint64_t bytes) {
  if (!impl_->decompressor) return impl_->file.skip(bytes);
  std::vector<char> passed(kFileBlock);
  while (bytes > 0) {
    const std::size_t count = read(passed.data(), static_cast<std::size_t>(std::min<std::uint64_t>(bytes, kFileBlock)));
    if (count == 0) return;
    bytes -= count;
  }
}

std::uint64_t TextStream::file_position() const {
  return impl_->file.position();
}

std::uint64_t text_size(const fs::path& path) {
  if (!is_compressed(path)) return fs::file_size(path);
  TextStream stream(path);
  std::vector<char> passed(kFileBlock);
  std::uint64_t size = 0;
  while (const std::size_t count = stream.read(passed.data(), passed.size())) size += count;
  return size;
}

}  // namespace ttt
