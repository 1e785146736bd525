#include "base/files.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/error.h"

namespace ttt {
namespace {

std::string reason() {
  return std::strerror(errno);
}

// Owns a descriptor for the length of a scope.
struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) close(fd);
  }
};

constexpr std::size_t kWriteBuffer = 1 << 20;

}  // namespace

std::string read_file(const fs::path& path) {
  Descriptor file{open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (file.fd < 0) user_error("cannot open '", path.string(), "': ", reason());
  std::string content;
  struct stat info {};
  if (fstat(file.fd, &info) == 0 && S_ISDIR(info.st_mode)) user_error("'", path.string(), "' is a folder, not a file");
  content.reserve(static_cast<std::size_t>(std::max<off_t>(info.st_size, 0)));
  char block[1 << 16];
  while (true) {
    const ssize_t count = read(file.fd, block, sizeof block);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) user_error("cannot read '", path.string(), "': ", reason());
    if (count == 0) return content;
    content.append(block, static_cast<std::size_t>(count));
  }
}

void sync_path(const fs::path& path) {
  Descriptor file{open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (file.fd < 0 || fsync(file.fd) != 0) fail("cannot fsync '", path.string(), "': ", reason());
}

void write_file_atomically(const fs::path& path, std::string_view content) {
  const fs::path temporary = path.string() + ".tmp";
  FileWriter writer(temporary);
  try {
    writer.write(content.data(), content.size());
    writer.finish();
    if (rename(temporary.c_str(), path.c_str()) != 0) fail("cannot rename '", temporary.string(), "': ", reason());
  } catch (const Error&) {
    unlink(temporary.c_str());
    throw;
  }
  sync_path(path.has_parent_path() ? path.parent_path() : fs::path("."));
}

void make_writable_directory(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error)
    user_error("cannot make the folder '", path.string(), "': ", error.message(), "; choose another output folder");
  if (!fs::is_directory(path)) user_error("'", path.string(), "' is not a folder; choose another output folder");
  if (access(path.c_str(), W_OK | X_OK) != 0) {
    user_error("cannot write to the folder '", path.string(), "': ", reason(), "; choose another output folder");
  }
}

std::vector<fs::path> list_files(const fs::path& path) {
  std::error_code error;
  if (!fs::exists(path, error)) user_error("no such file or folder: '", path.string(), "'");
  if (fs::is_regular_file(path)) return {path};
  std::vector<fs::path> files;
  for (fs::recursive_directory_iterator end, it(path, error); !error && it != end; it.increment(error)) {
    std::error_code dangling;
    if (it->is_regular_file(dangling)) files.push_back(it->path());
  }
  if (error) user_error("cannot read the folder '", path.string(), "': ", error.message());
  std::sort(files.begin(), files.end());
  return files;
}

std::uint64_t free_disk_bytes(const fs::path& path) {
  fs::path existing = fs::absolute(path);
  while (!fs::exists(existing) && existing.has_parent_path() && existing != existing.root_path())
    existing = existing.parent_path();
  return fs::space(existing).available;
}

MappedFile::MappedFile(const fs::path& path) {
  Descriptor file{open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  struct stat info {};
  if (file.fd < 0 || fstat(file.fd, &info) != 0) user_error("cannot open '", path.string(), "': ", reason());
  if (!S_ISREG(info.st_mode)) user_error("'", path.string(), "' is not a regular file");
  size_ = static_cast<std::size_t>(info.st_size);
  if (size_ == 0) return;
  void* memory = mmap(nullptr, size_, PROT_READ, MAP_SHARED, file.fd, 0);
  if (memory == MAP_FAILED) user_error("cannot map '", path.string(), "': ", reason());
  data_ = static_cast<const std::byte*>(memory);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) munmap(const_cast<std::byte*>(data_), size_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

FileWriter::FileWriter(const fs::path& path)
    : path_(path), fd_(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644)) {
  if (fd_ < 0 && (errno == ENOSPC || errno == EDQUOT)) fail("cannot write '", path.string(), "': ", reason());
  if (fd_ < 0) user_error("cannot write '", path.string(), "': ", reason());
}

FileWriter::FileWriter(const fs::path& path, std::uint64_t keep)
    : path_(path), fd_(open(path.c_str(), O_WRONLY | O_CLOEXEC)), size_(keep) {
  struct stat info {};
  if (fd_ < 0 || fstat(fd_, &info) != 0) user_error("cannot write '", path.string(), "': ", reason());
  const auto length = static_cast<off_t>(keep);
  if (info.st_size < length) {
    close(std::exchange(fd_, -1));
    user_error("'", path.string(), "' has ", info.st_size, " bytes, fewer than the ", keep, " that were written to it");
  }
  if (ftruncate(fd_, length) != 0 || lseek(fd_, length, SEEK_SET) != length) {
    fail("cannot go on writing '", path.string(), "': ", reason());
  }
}

FileWriter::~FileWriter() {
  if (fd_ >= 0) close(fd_);
}

void FileWriter::flush() {
  std::size_t done = 0;
  while (done < buffer_.size()) {
    const ssize_t count = ::write(fd_, buffer_.data() + done, buffer_.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail("cannot write '", path_.string(), "': ", reason());
    done += static_cast<std::size_t>(count);
  }
  buffer_.clear();
}

void FileWriter::write(const void* data, std::size_t size) {
  buffer_.append(static_cast<const char*>(data), size);
  size_ += size;
  if (buffer_.size() >= kWriteBuffer) flush();
}

void FileWriter::sync() {
  flush();
  if (fsync(fd_) != 0) fail("cannot fsync '", path_.string(), "': ", reason());
}

void FileWriter::finish() {
  sync();
  const int result = close(std::exchange(fd_, -1));
  if (result != 0) fail("cannot close '", path_.string(), "': ", reason());
}

FileLock::FileLock(const fs::path& path, const std::string& busy_message)
    : fd_(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644)) {
  if (fd_ < 0) user_error("cannot open the lock file '", path.string(), "': ", reason());
  if (flock(fd_, LOCK_EX | LOCK_NB) == 0) return;
  // NFS makes of flock a lock of the whole file on its server, for which the file must be open for writing, as it is.
  // Lustre and others may know only the one kind or, mounted without, neither.
  if (errno != EWOULDBLOCK) {
    struct flock whole {};
    whole.l_type = F_WRLCK;
    whole.l_whence = SEEK_SET;
    if (fcntl(fd_, F_OFD_SETLK, &whole) == 0) return;
  }
  const bool busy = errno == EWOULDBLOCK || errno == EACCES;
  const std::string why = reason();
  close(std::exchange(fd_, -1));
  if (busy) throw UserError(busy_message);
  user_error("cannot lock '", path.string(), "': ", why,
             "; its file system must support locks (Lustre: mount it with -o flock)");
}

FileLock::~FileLock() {
  if (fd_ >= 0) close(fd_);
}

}  // namespace ttt
