// Finding, keeping and setting aside the checkpoint folders of a run.
#include "checkpoint/folder.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/error.h"
#include "base/files.h"
#include "base/hash.h"
#include "checkpoint/checkpoint.h"

namespace ttt {
namespace checkpoint_folder {

std::string tensor_hash(const at::Tensor& tensor) {
  const at::Tensor data = tensor.detach().cpu().contiguous();
  return hex64(xxh3(data.data_ptr(), data.nbytes()));
}

void rename_path(const fs::path& from, const fs::path& to) {
  if (rename(from.c_str(), to.c_str()) != 0) {
    fail("cannot rename '", from.string(), "' to '", to.string(), "': ", std::strerror(errno));
  }
}

}  // namespace checkpoint_folder

namespace {

using namespace checkpoint_folder;

// "step_00001000" -> 1000; -1 for any other name.
std::int64_t step_of(const std::string& name) {
  constexpr std::string_view kPrefix = "step_";
  if (!name.starts_with(kPrefix) || name.size() < kPrefix.size() + 8 || name.size() > kPrefix.size() + 18) return -1;
  const std::string digits = name.substr(kPrefix.size());
  if (digits.find_first_not_of("0123456789") != std::string::npos) return -1;
  return std::stoll(digits);
}

}  // namespace

std::filesystem::path checkpoint_path(const std::filesystem::path& root, std::int64_t step) {
  char name[32];
  std::snprintf(name, sizeof name, "step_%08lld", static_cast<long long>(step));
  return root / name;
}

std::vector<std::pair<std::int64_t, std::filesystem::path>> list_step_folders(const std::filesystem::path& root) {
  std::vector<std::pair<std::int64_t, fs::path>> found;
  if (!fs::is_directory(root)) return found;
  for (const auto& entry : fs::directory_iterator(root)) {
    const std::int64_t step = step_of(entry.path().filename().string());
    if (step >= 0 && entry.is_directory()) found.emplace_back(step, entry.path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

std::vector<std::pair<std::int64_t, std::filesystem::path>> list_checkpoints(const std::filesystem::path& root) {
  auto found = list_step_folders(root);
  std::erase_if(found, [](const auto& folder) { return !fs::exists(folder.second / kCompleteFile); });
  return found;
}

std::filesystem::path set_aside(const std::filesystem::path& directory) {
  fs::path place = directory.string() + ".damaged";
  for (int i = 2; fs::exists(place); ++i) place = cat(directory.string(), ".damaged.", i);
  rename_path(directory, place);
  return place;
}

void apply_retention(const std::filesystem::path& root, std::int64_t keep_last, std::int64_t keep_every,
                     const std::vector<std::int64_t>& keep_steps) {
  const auto checkpoints = list_checkpoints(root);
  const auto count = static_cast<std::int64_t>(checkpoints.size());
  for (std::int64_t i = 0; keep_last > 0 && i < count - keep_last; ++i) {
    const auto& [step, path] = checkpoints[static_cast<std::size_t>(i)];
    if (keep_every > 0 && step % keep_every == 0) continue;
    if (std::find(keep_steps.begin(), keep_steps.end(), step) != keep_steps.end()) continue;
    rename_path(
        path,
        path.string() + ".tmp");  // first renamed: deletion that is cut off leaves nothing that looks like a checkpoint
  }
  if (!fs::is_directory(root)) return;
  std::vector<fs::path> leftovers;
  for (const auto& entry : fs::directory_iterator(root)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("step_") && name.ends_with(".tmp")) leftovers.push_back(entry.path());
  }
  for (const fs::path& path : leftovers) fs::remove_all(path);
}

}  // namespace ttt
