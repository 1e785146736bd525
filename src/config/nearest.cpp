// Did-you-mean: the nearest word by edit distance (insertions, deletions, substitutions, swaps of neighbours), and the
// nearest file.
#include <algorithm>

#include "base/files.h"
#include "config/load.h"

namespace ttt {
namespace {

std::size_t edit_distance(const std::string& a, const std::string& b) {
  // d[i][j]: distance of the first i letters of a and the first j of b.
  std::vector<std::vector<std::size_t>> d(a.size() + 1, std::vector<std::size_t>(b.size() + 1));
  for (std::size_t i = 0; i <= a.size(); ++i) d[i][0] = i;
  for (std::size_t j = 0; j <= b.size(); ++j) d[0][j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    for (std::size_t j = 1; j <= b.size(); ++j) {
      d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
    }
  }
  return d[a.size()][b.size()];
}

}  // namespace

std::string nearest(const std::string& word, const std::vector<std::string>& candidates) {
  std::string best;
  std::size_t best_distance = std::max<std::size_t>(1, word.size() / 3) + 1;  // further away is no typing error
  for (const std::string& candidate : candidates) {
    const std::size_t distance = edit_distance(word, candidate);
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

std::string nearest_path(const fs::path& path) {
  fs::path found;
  for (const fs::path& part : path) {
    std::error_code error;
    if (fs::exists(found / part, error)) {
      found /= part;
      continue;
    }
    // Names are compared without ".yaml", which would make any two short ones alike.
    const auto bare = [](const fs::path& name) { return name.extension() == ".yaml" ? name.stem() : name; };
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(found.empty() ? "." : found, error))
      names.push_back(bare(entry.path().filename()).string());
    std::sort(names.begin(), names.end());
    const std::string word = bare(part).string();
    const bool only_the_ending = std::find(names.begin(), names.end(), word) != names.end();
    const std::string near = only_the_ending ? word : nearest(word, names);
    if (near.empty() && !path.has_parent_path() && fs::is_directory("configs", error)) {
      // A preset by its bare name, or by one that is near.
      constexpr const char* kFolders[] = {"configs/model", "configs/run", "configs/sweep"};
      for (const char* folder : kFolders)
        if (const fs::path preset = fs::path(folder) / (word + ".yaml"); fs::exists(preset)) return preset.string();
      for (const char* folder : kFolders)
        if (const std::string preset = nearest_path(fs::path(folder) / path); !preset.empty()) return preset;
    }
    if (near.empty()) return "";
    found /= fs::exists(found / near, error) ? near : near + ".yaml";
  }
  return fs::is_regular_file(found) ? found.string() : "";
}

}  // namespace ttt
