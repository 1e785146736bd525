#include "report/seeds.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <utility>

#include "base/error.h"
#include "config/load.h"
#include "report/html.h"

namespace ttt {
namespace {

// Finished runs of one name but for the seed.
struct SeedGroup {
  std::string name, set;  // set: data.valid
  std::string key;        // equal for runs that may be one group
  const RunLog* first = nullptr;
  std::vector<double> losses;
};

bool is_word(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0;
}

std::vector<SeedGroup> seed_groups(const std::vector<Json>& lines) {
  std::vector<SeedGroup> groups;
  for (const Json& line : lines) {
    const Json seed = line.value("seed", Json()), loss = line.value("valid_loss", Json());
    if (!is_result(line) || !seed.is_number_integer() || !loss.is_number()) continue;
    SeedGroup own;
    own.name = name_of_group(line);
    const Json set = line.value("valid_data", Json());
    if (set.is_string()) own.set = set.get<std::string>();
    own.key = own.name;
    for (const char* key : {"mixer", "backbone", "valid_data", "context", "mini_batch_size", "parameters", "tokens",
                            "steps", "inner_lr_scale", "budget", "tokens_per_parameter"})
      own.key += "\n" + line.value(key, Json()).dump(-1, ' ', false, Json::error_handler_t::replace);
    // Of searches each seed has its own best rate.
    if (line.value("search", Json()).is_null()) own.key += "\n" + line.value("lr", Json()).dump();
    auto group = std::find_if(groups.begin(), groups.end(), [&](const SeedGroup& g) { return g.key == own.key; });
    if (group == groups.end()) group = groups.insert(groups.end(), std::move(own));
    group->losses.push_back(loss.get<double>());
  }
  return groups;
}

bool differ_in_seed_alone(const RunConfig& a, const RunConfig& b) {
  const std::vector<FieldDifference> fields = diff(a, b);
  return std::all_of(fields.begin(), fields.end(), [](const FieldDifference& field) {
    return field.key == "train.seed" || field.key == "output_dir";
  });
}

std::vector<SeedGroup> seed_groups(const std::vector<const RunLog*>& runs) {
  std::vector<SeedGroup> groups;
  for (const RunLog* run : runs) {
    if (!run->is_finished() || run->valid.empty()) continue;
    auto group = std::find_if(groups.begin(), groups.end(),
                              [&](const SeedGroup& g) { return differ_in_seed_alone(g.first->config, run->config); });
    if (group == groups.end()) {
      group = groups.insert(groups.end(), SeedGroup());
      group->name = name_without_seed(run->name, run->config.train.seed);
      if (!run->config.data.valid.empty()) group->set = run->config.data.valid.text();
      group->first = run;
    }
    group->losses.push_back(run->valid.back().loss);
  }
  return groups;
}

std::string with_deviation(const std::vector<double>& values) {
  const Moments moments = moments_of(values);
  return html_number(moments.mean) + (values.size() > 1 ? " ± " + html_number(moments.deviation, 2) : "");
}

// The difference to the first row, and what to think of it.
std::pair<std::string, std::string> compared(const SeedGroup& group, const SeedGroup& first) {
  const Moments a = moments_of(first.losses), b = moments_of(group.losses);
  const double difference = b.mean - a.mean;
  const std::string text = (difference > 0 ? "+" : "") + html_number(difference, 3);
  if (group.losses.size() < 2 || first.losses.size() < 2) return {text, "one seed, of unknown spread"};
  const bool smaller = std::abs(difference) <= std::hypot(a.deviation, b.deviation);
  return {text, smaller ? "smaller than the seeds' spread" : "larger than the seeds' spread"};
}

// all: how many runs the groups are of, those included that are not finished.
std::string seed_table(const std::vector<SeedGroup>& groups, const std::vector<std::string>& files, std::size_t all) {
  if (all < 2) return "";
  std::size_t runs = 0;
  for (const SeedGroup& group : groups) runs += group.losses.size();
  if (runs < 2)
    return html_note(from_files(files) +
                     " There are no two finished runs with a seed and a validation loss that could be compared.");
  if (groups.size() == runs)
    return html_note(from_files(files) +
                     " No two finished runs with a validation loss differ in their seed alone, so that nothing is "
                     "known of the spread that differences are to be held against.");
  std::vector<HtmlRow> rows;
  std::vector<const SeedGroup*> firsts;  // of each validation set
  for (const SeedGroup& group : groups) {
    const auto first =
        std::find_if(firsts.begin(), firsts.end(), [&](const SeedGroup* other) { return other->set == group.set; });
    std::vector<double> perplexities;
    for (const double loss : group.losses) perplexities.push_back(std::exp(loss));
    HtmlRow row = {group.name, group.set.empty() ? "-" : group.set, cat(group.losses.size()),
                   with_deviation(group.losses), with_deviation(perplexities)};
    if (first == firsts.end()) {
      firsts.push_back(&group);
      row.emplace_back("first");
      row.emplace_back();
    } else {
      const auto [difference, verdict] = compared(group, **first);
      row.push_back(difference);
      row.push_back(verdict);
    }
    rows.push_back(std::move(row));
  }
  return html_table({"run without its seed", "data.valid", "seeds", "validation loss", "perplexity", "loss - first's",
                     "that is"},
                    rows) +
         html_note(from_files(files) +
                   " Mean ± standard deviation over seeds, of finished runs; perplexity is e to the loss. Differences "
                   "are to the first row of the same data.valid. The seeds' spread is sqrt(s1² + s2²), s1 and s2 the "
                   "two rows' standard deviations: what two single runs differ by.");
}

}  // namespace

Moments moments_of(const std::vector<double>& values) {
  Moments moments;
  const auto count = static_cast<double>(values.size());
  for (const double value : values) moments.mean += value / count;
  if (values.size() < 2) return moments;
  double squares = 0;
  for (const double value : values) squares += (value - moments.mean) * (value - moments.mean);
  moments.deviation = std::sqrt(squares / (count - 1));
  return moments;
}

std::string name_without_seed(const std::string& name, std::int64_t seed) {
  const std::string word = cat("seed", seed);
  for (std::size_t at = name.find(word); at != std::string::npos; at = name.find(word, at + 1)) {
    std::string before = name.substr(0, at), after = name.substr(at + word.size());
    if ((!before.empty() && is_word(before.back())) || (!after.empty() && is_word(after.front()))) continue;
    if (!before.empty())
      before.pop_back();
    else if (!after.empty())
      after.erase(0, 1);
    return before.empty() && after.empty() ? "all" : before + after;
  }
  return name;
}

std::string name_of_group(const Json& line) {
  const Json search = line.value("search", Json()), seed = line.value("seed", Json());
  const Json name = search.is_object() ? search.value("name", Json()) : line.value("name", Json());
  const std::string text = name.is_string() ? name.get<std::string>() : "";
  return seed.is_number_integer() ? name_without_seed(text, seed.get<std::int64_t>()) : text;
}

bool is_result(const Json& line) {
  const Json status = line.value("status", Json()), best = line.value("search_best", Json());
  return status.is_string() && status.get<std::string>() == "finished" &&
         (line.value("search", Json()).is_null() || (best.is_boolean() && best.get<bool>()));
}

std::string seeds_section(const std::vector<RunLog>& runs, const std::vector<ResultsFile>& results) {
  std::string tables;
  for (const ResultsFile& file : results)
    tables += seed_table(seed_groups(file.lines), {file.path.string()}, file.lines.size());
  std::vector<const RunLog*> others;
  std::vector<std::string> files;
  for (const RunLog& run : runs) {
    if (has_line_in(run, results)) continue;
    others.push_back(&run);
    files.push_back((run.folder / "metrics.jsonl").string());
  }
  tables += seed_table(seed_groups(others), files, others.size());
  return tables.empty() ? "" : "<h2>Seeds</h2>\n" + tables;
}

}  // namespace ttt
