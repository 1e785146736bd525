#include "tokenizer/text_files.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <unordered_set>
#include <utility>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/utf8.h"
#include "tokenizer/text_kind.h"

namespace ttt {
namespace {

// A few of them by name, and how many.
struct NamedFiles {
  std::size_t count = 0;
  std::string first;
  void add(const fs::path& path) {
    if (count++ == 0) first = path.string();
  }
  // "'a.txt'", "'a.txt' and 3 other files"
  std::string text(const char* one = "file", const char* many = "files") const {
    std::string words = "'" + first + "'";
    if (count > 1) words += cat(" and ", count - 1, " other ", count == 2 ? one : many);
    return words;
  }
};

const char* special_name(mode_t mode) {
  return S_ISFIFO(mode) ? "a pipe" : S_ISSOCK(mode) ? "a socket" : "a device";
}

// Finds the files of an input. Paths are kept as they were named; whether two of them are one file is decided by what
// they lead to.
class TextFileFinder {
 public:
  explicit TextFileFinder(const TextInput& input) : input_(input) {
    for (const int fd : {STDOUT_FILENO, STDERR_FILENO}) {
      struct stat info {};
      if (fstat(fd, &info) == 0 && S_ISREG(info.st_mode)) streams_.push_back(info);
    }
  }

  void add(const fs::path& path) {
    struct stat info = stat_of(path);
    if (S_ISDIR(info.st_mode)) return walk(path, fs::canonical(path));
    if (!S_ISREG(info.st_mode)) {
      user_error("'", path.string(), "' is ", special_name(info.st_mode),
                 ", which gives its text only once; write the text to a file first (it may be compressed)");
    }
    add_file(path, fs::canonical(path), info);
  }

  std::vector<TextFile> files;
  NamedFiles again, own, special;

 private:
  static struct stat stat_of(const fs::path& path) {
    struct stat info {};
    if (stat(path.c_str(), &info) == 0) return info;
    const int error = errno;
    struct stat link {};
    if (lstat(path.c_str(), &link) == 0 && S_ISLNK(link.st_mode) && (error == ENOENT || error == ELOOP)) {
      std::error_code ignored;
      user_error("'", path.string(), "' is a link to '", fs::read_symlink(path, ignored).string(), "', which ",
                 error == ELOOP ? "leads in a circle" : "does not exist",
                 "; mend or remove the link, or pick other files of the folder by --extension");
    }
    if (error == ENOENT || error == ENOTDIR) user_error("no such file or folder: '", path.string(), "'");
    user_error("cannot read '", path.string(), "': ", std::strerror(error), "; allow it, or leave it out of the input");
  }

  bool wanted(const fs::path& name) const {
    const std::string text = name.string();
    return input_.extensions.empty() ||
           std::any_of(input_.extensions.begin(), input_.extensions.end(),
                       [&](const std::string& extension) { return text.ends_with(extension); });
  }

  void walk(const fs::path& folder, const fs::path& canonical) {
    if (!seen_.insert(canonical.string()).second) return again.add(folder);
    std::vector<fs::path> names;
    std::error_code error;
    for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error))
      names.push_back(it->path().filename());
    if (error) {
      user_error("cannot read the folder '", folder.string(), "': ", error.message(),
                 "; allow it, or leave it out of the input");
    }
    std::sort(names.begin(), names.end());
    for (const fs::path& name : names) {
      const fs::path path = folder / name;
      struct stat link {};
      const bool is_link = lstat(path.c_str(), &link) == 0 && S_ISLNK(link.st_mode);
      if (is_link && !fs::is_directory(path, error) && !wanted(name)) continue;
      const struct stat info = is_link ? stat_of(path) : link;
      const fs::path target = is_link ? fs::canonical(path) : canonical / name;
      if (input_.is_output && input_.is_output(target)) {
        own.add(path);
      } else if (S_ISDIR(info.st_mode)) {
        walk(path, target);
      } else if (!wanted(name)) {
        continue;
      } else if (S_ISREG(info.st_mode)) {
        add_file(path, target, info);
      } else {
        special.add(path);
      }
    }
  }

  void add_file(const fs::path& path, const fs::path& canonical, const struct stat& info) {
    for (const struct stat& stream : streams_) {
      if (stream.st_dev == info.st_dev && stream.st_ino == info.st_ino) return own.add(path);
    }
    if (!seen_.insert(canonical.string()).second) return again.add(path);
    if (access(path.c_str(), R_OK) != 0) {
      user_error("cannot open '", path.string(), "': ", std::strerror(errno),
                 "; allow it, or leave it out of the input");
    }
    files.push_back({path,
                     static_cast<std::uint64_t>(info.st_size),
                     std::int64_t{info.st_mtim.tv_sec} * 1'000'000'000 + info.st_mtim.tv_nsec,
                     {}});
  }

  const TextInput& input_;
  std::vector<struct stat> streams_;  // the files that this program's output goes to
  std::unordered_set<std::string> seen_;
};

// One line for each kind of file, and one for those that are told by their content.
void say_kinds(const std::vector<TextFile>& files, const NamedFiles& by_content) {
  NamedFiles plain, lines;
  for (const TextFile& file : files) (file.kind == DocumentKind::kJsonLines ? lines : plain).add(file.path);
  if (plain.count > 0) log_info(cat("read as plain text: ", plain.text()));
  if (lines.count > 0) log_info(cat("read as JSON Lines: ", lines.text()));
  if (by_content.count > 0) {
    log_info(
        cat("decided by their content: ", by_content.text(), "; --format plain or --format jsonl decides otherwise"));
  }
}

}  // namespace

std::vector<TextFile> list_text_files(const TextInput& input) {
  if (input.inputs.empty()) user_error("no input was given; name a text file or a folder");
  TextFileFinder finder(input);
  for (const fs::path& path : input.inputs) finder.add(path);
  if (finder.own.count > 0)
    log_info(cat("left out, being this command's own: ", finder.own.text("file or folder", "files and folders")));
  if (finder.again.count > 0) {
    log_info(cat("reached more than once and taken once: ", finder.again.text("file or folder", "files and folders")));
  }
  if (finder.special.count > 0)
    log_warn(cat("left out, as it is no file but a pipe, socket or device: ", finder.special.text()));
  if (finder.files.empty()) {
    std::string wanted;
    for (const std::string& extension : input.extensions) wanted += " " + extension;
    user_error("no files", wanted.empty() ? "" : " ending in" + wanted, " in '", input.inputs[0].string(), "'",
               input.inputs.size() > 1 ? " and the other inputs" : "", "; name a folder that holds text",
               wanted.empty() ? "" : " or other endings by --extension");
  }
  NamedFiles by_content;
  for (TextFile& file : finder.files) {
    const TextKind kind = text_kind(file.path, input.format);
    file.kind = kind.kind;
    if (kind.by_content) by_content.add(file.path);
  }
  say_kinds(finder.files, by_content);
  return std::move(finder.files);
}

void require_utf8(std::string_view text, const std::filesystem::path& path, std::size_t offset) {
  const std::optional<std::size_t> bad = find_invalid_utf8(text);
  if (!bad) return;
  char hex[8];
  std::snprintf(hex, sizeof hex, "0x%02X", static_cast<unsigned char>(text[*bad]));
  user_error("'", path.string(), "' is not UTF-8 text: byte ", offset + *bad, " is ", hex,
             "; convert the file to UTF-8, or leave it out (--extension picks files of a folder by their ending)");
}

}  // namespace ttt
