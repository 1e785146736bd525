#include "train/run_diff.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <map>
#include <sstream>

#include "base/error.h"
#include "base/files.h"

namespace ttt {
namespace {

constexpr const char* kKinds[] = {"samples", "loss", "grad_norm", "parameters"};

using Ledger = std::map<std::int64_t, std::map<std::string, std::string>>;  // step: kind: hex digits

bool is_hash(const Json& value) {
  return value.is_string() && value.get<std::string>().size() == 16 &&
         value.get<std::string>().find_first_not_of("0123456789abcdef") == std::string::npos;
}

bool is_entry(const Json& line) {
  if (!line.is_object() || !line.contains("step") || !line["step"].is_number_integer()) return false;
  return std::all_of(std::begin(kKinds), std::end(kKinds),
                     [&](const char* kind) { return !line.contains(kind) || is_hash(line[kind]); });
}

Ledger read_ledger(const fs::path& run, std::vector<std::string>& notes) {
  const fs::path path = run / "ledger.jsonl";
  if (!fs::exists(run)) user_error("there is no '", run.string(), "'; name the output_dir of a run");
  if (!fs::exists(path)) {
    user_error("'", run.string(),
               "' has no ledger.jsonl; name the output_dir of a run that this version of ttt trained");
  }
  Ledger ledger;
  std::istringstream lines(read_file(path));
  std::int64_t number = 0;
  for (std::string text; std::getline(lines, text);) {
    ++number;
    const Json line = Json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (!is_entry(line)) {
      // Without a line end it is the last one, which is being written, or was when the run was killed.
      if (!lines.eof()) notes.push_back(cat("line ", number, " of '", path.string(), "' is damaged and left out"));
      continue;
    }
    auto& entry = ledger[line["step"].get<std::int64_t>()];
    for (const char* kind : kKinds)
      if (line.contains(kind)) entry[kind] = line[kind].get<std::string>();
  }
  return ledger;
}

double value_of(const std::string& bits) {
  return std::bit_cast<double>(static_cast<std::uint64_t>(std::strtoull(bits.c_str(), nullptr, 16)));
}

void compare_step(std::int64_t step, std::map<std::string, std::string> a, std::map<std::string, std::string> b,
                  RunDiff& diff) {
  RunDiff::Parting parting{step, {}, value_of(a["loss"]), value_of(b["loss"])};
  for (const char* kind : kKinds) {
    const std::string &in_a = a[kind], &in_b = b[kind];
    if (in_a.empty() || in_b.empty()) continue;
    if (in_a != in_b) parting.what.emplace_back(kind);
  }
  if (const std::string digest = a["parameters"]; !digest.empty() && !b["parameters"].empty()) {
    ++diff.digests_compared;
    if (digest != b["parameters"]) {
      if (!diff.first_other_digest) diff.first_other_digest = step;
    } else if (!diff.first_other_digest) {
      diff.last_equal_digest = step;
    }
  }
  if (!parting.what.empty() && !diff.first) diff.first = parting;
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

}  // namespace

RunDiff diff_runs(const fs::path& a, const fs::path& b) {
  RunDiff diff;
  const Ledger in_a = read_ledger(a, diff.notes), in_b = read_ledger(b, diff.notes);
  if (!in_a.empty()) diff.last_step_a = in_a.rbegin()->first;
  if (!in_b.empty()) diff.last_step_b = in_b.rbegin()->first;
  for (const auto& [step, entry] : in_a) {
    const auto other = in_b.find(step);
    if (other == in_b.end()) continue;
    ++diff.steps_compared;
    compare_step(step, entry, other->second, diff);
  }
  if (diff.steps_compared == 0) {
    user_error("the ledgers of '", a.string(), "' and '", b.string(), "' have no step in common; train both further");
  }
  try {
    diff.config = ttt::diff(load_run_config(a / "config.yaml"), load_run_config(b / "config.yaml"));
  } catch (const UserError& error) {  // of another version of ttt, or not there
    diff.notes.push_back(cat("the configs are not compared: ", error.what()));
  }
  std::erase_if(diff.config, [](const FieldDifference& difference) { return difference.key == "output_dir"; });
  return diff;
}

Json to_json(const RunDiff& diff) {
  Json config = Json::array();
  for (const FieldDifference& field : diff.config)
    config.push_back({{"key", field.key}, {"a", field.a}, {"b", field.b}});
  Json first;
  if (diff.first) {
    first = {{"step", diff.first->step},
             {"what", diff.first->what},
             {"loss_a", diff.first->loss_a},
             {"loss_b", diff.first->loss_b}};
  }
  return {{"equal", diff.equal()},
          {"steps_compared", diff.steps_compared},
          {"digests_compared", diff.digests_compared},
          {"last_step_a", diff.last_step_a},
          {"last_step_b", diff.last_step_b},
          {"first_difference", first},
          {"last_equal_parameters", diff.last_equal_digest > 0 ? Json(diff.last_equal_digest) : Json()},
          {"first_other_parameters", diff.first_other_digest ? Json(*diff.first_other_digest) : Json()},
          {"config", config},
          {"notes", diff.notes}};
}

std::string to_text(const RunDiff& diff) {
  std::ostringstream text;
  if (diff.first) {
    text << "the runs part at step " << diff.first->step << ", in: " << joined(diff.first->what) << "\n";
    text.precision(17);
    text << "  its loss is " << diff.first->loss_a << " and " << diff.first->loss_b << "\n";
  } else {
    text << "equal, bit for bit, in all " << diff.steps_compared << " steps that both have\n";
  }
  if (diff.first_other_digest) {
    text << "  the parameters differ after step " << *diff.first_other_digest;
    if (diff.last_equal_digest > 0) text << " and are equal after step " << diff.last_equal_digest;
    text << "\n";
  } else {
    text << "  the parameters are equal at all " << diff.digests_compared << " steps where both were hashed\n";
  }
  if (diff.last_step_a != diff.last_step_b)
    text << "  the first run has steps to " << diff.last_step_a << ", the second to " << diff.last_step_b << "\n";
  for (const FieldDifference& field : diff.config)
    text << "  config: " << field.key << " is " << (field.a.empty() ? "nothing" : field.a) << " and "
         << (field.b.empty() ? "nothing" : field.b) << "\n";
  for (const std::string& note : diff.notes) text << "  " << note << "\n";
  return text.str();
}

}  // namespace ttt
