// Files: whole reads and writes, memory maps, atomic replacement, directories, advisory locks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ttt {

namespace fs = std::filesystem;

// The whole file as bytes. Throws UserError naming the path and the system's reason.
std::string read_file(const fs::path& path);

// Writes to `path`.tmp, fsyncs, renames over `path`, fsyncs the folder: a reader sees the old or the new content whole.
void write_file_atomically(const fs::path& path, std::string_view content);

// Makes the folder and its parents. Throws UserError when it cannot be made or written to.
void make_writable_directory(const fs::path& path);

// fsync of a file or folder; throws Error.
void sync_path(const fs::path& path);

// Every regular file below `path` (or `path` itself when it is one), sorted by name; links to folders are not
// followed. Throws UserError when there is no such path, or a folder that may not be read.
std::vector<fs::path> list_files(const fs::path& path);

// Bytes that the file system of `path` (or of its nearest existing parent) has free for this user.
std::uint64_t free_disk_bytes(const fs::path& path);

// A read-only memory map of a file.
class MappedFile {
 public:
  MappedFile() = default;
  explicit MappedFile(const fs::path& path);  // throws UserError
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  std::string_view text() const { return {reinterpret_cast<const char*>(data_), size_}; }

 private:
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

// An output file that is written front to back and reports every error with its path. finish() fsyncs and closes.
class FileWriter {
 public:
  explicit FileWriter(const fs::path& path);  // truncates; throws UserError
  // Goes on behind the first `keep` bytes of a file that has at least so many; throws UserError.
  FileWriter(const fs::path& path, std::uint64_t keep);
  ~FileWriter();  // closes without fsync when finish() was not called
  FileWriter(const FileWriter&) = delete;
  FileWriter& operator=(const FileWriter&) = delete;

  void write(const void* data, std::size_t size);  // throws Error (disk full, ...)
  void sync();                                     // what was written so far is on the disk
  void finish();
  std::uint64_t size() const { return size_; }

 private:
  fs::path path_;
  int fd_ = -1;
  std::uint64_t size_ = 0;
  std::string buffer_;
  void flush();
};

// An exclusive advisory lock (flock) on `path`, held until destruction or the death of the process.
class FileLock {
 public:
  // Throws UserError with `busy_message` when another process holds the lock.
  FileLock(const fs::path& path, const std::string& busy_message);
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

 private:
  int fd_ = -1;
};

}  // namespace ttt
