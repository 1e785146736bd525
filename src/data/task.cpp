#include "data/task.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"
#include "config/fields.h"
#include "config/load.h"
#include "data/dataset.h"

namespace ttt {
namespace {

const Task& task_named(const std::string& name) {
  std::vector<std::string> names;
  for (const Task* task : all_tasks()) {
    if (task->name() == name) return *task;
    names.push_back(task->name());
  }
  const std::string near = nearest(name, names);
  std::string list;
  for (const std::string& known : names) list += (list.empty() ? "" : ", ") + known;
  user_error("there is no task '", name, "'; ",
             near.empty() ? cat("give one of ", list) : cat("did you mean '", near, "'?"));
}

// Throws UserError when it is not what the parameter takes.
void check_value(const Task& task, const TaskParameter& parameter, const std::string& value) {
  const std::string place = cat("--set ", parameter.name, "=", value, " of task ", task.name());
  if (!parameter.words.empty()) {
    if (std::find(parameter.words.begin(), parameter.words.end(), value) != parameter.words.end()) return;
    std::string list;
    for (const std::string& word : parameter.words) list += (list.empty() ? "" : ", ") + word;
    user_error(place, " is none of ", list);
  }
  std::int64_t number = 0;
  if (!parse_integer(value, number) || number < parameter.min || number > parameter.max)
    user_error(place, " must be a whole number from ", parameter.min, " to ", parameter.max);
}

}  // namespace

void TaskSample::answer(const std::vector<std::int64_t>& tokens_of_answer) {
  for (std::size_t i = 0; i < tokens_of_answer.size(); ++i)
    put(tokens_of_answer[i], i == 0 ? kScored | kFirstOfAnswer : kScored);
}

TaskSettings::TaskSettings(const std::string& task, const std::vector<std::string>& given) : task_(&task_named(task)) {
  std::vector<std::string> names;
  for (const TaskParameter& parameter : task_->parameters()) {
    values_.emplace_back(parameter.name, parameter.value);
    names.push_back(parameter.name);
  }
  std::vector<std::string> seen;
  for (const std::string& setting : given) {
    const std::size_t equals = setting.find('=');
    if (equals == std::string::npos || equals == 0)
      user_error("--set '", setting, "' is not of the form key=value; `ttt prepare --list-tasks` lists the keys");
    const std::string name = setting.substr(0, equals), value = setting.substr(equals + 1);
    const auto found = std::find(names.begin(), names.end(), name);
    if (found == names.end()) {
      const std::string near = nearest(name, names);
      std::string list;
      for (const std::string& known : names) list += (list.empty() ? "" : ", ") + known;
      user_error("task ", task, " has no setting '", name, "'; ",
                 near.empty() ? cat("it has ", list) : cat("did you mean '", near, "'?"));
    }
    if (std::find(seen.begin(), seen.end(), name) != seen.end())
      user_error("--set ", name, " is given twice; give it once");
    seen.push_back(name);
    const auto place = static_cast<std::size_t>(found - names.begin());
    check_value(*task_, task_->parameters()[place], value);
    values_[place].second = value;
  }
  task_->check(*this);
}

const std::string& TaskSettings::word(const std::string& name) const {
  const auto found =
      std::find_if(values_.begin(), values_.end(), [&](const auto& value) { return value.first == name; });
  TTT_CHECK(found != values_.end(), "task ", task_->name(), " has no setting ", name);
  return found->second;
}

std::int64_t TaskSettings::operator[](const std::string& name) const {
  std::int64_t number = 0;
  TTT_CHECK(parse_integer(word(name), number), name, " is '", word(name), "'");
  return number;
}

const TaskText& TaskSettings::text() const {
  TTT_CHECK(text_ != nullptr, "task ", task_->name(), " has no text");
  return *text_;
}

Json TaskSettings::to_json() const {
  Json settings = Json::object();
  for (std::size_t i = 0; i < values_.size(); ++i) {
    const auto& [name, value] = values_[i];
    settings[name] = task_->parameters()[i].words.empty() ? Json((*this)[name]) : Json(value);
  }
  return {{"name", task_->name()}, {"settings", settings}};
}

const std::vector<const Task*>& all_tasks() {
  static const std::vector<const Task*> tasks = [] {
    std::vector<const Task*> all;
    for (const auto& family : {recall_tasks(), copy_tasks(), algebra_tasks(), text_tasks()})
      all.insert(all.end(), family.begin(), family.end());
    return all;
  }();
  return tasks;
}

TaskSample task_sample(const TaskSettings& settings, std::uint64_t seed, std::int64_t index) {
  CounterRng rng(stream_seed(seed, cat("task ", settings.task().name(), ", sample ", index)));
  TaskSample sample = settings.task().generate(settings, rng);
  const std::int64_t tokens = settings.task().sample_tokens(settings), ids = settings.task().vocab_size(settings);
  TTT_CHECK(static_cast<std::int64_t>(sample.tokens.size()) == tokens && sample.marks.size() == sample.tokens.size(),
            settings.task().name(), " made ", sample.tokens.size(), " tokens instead of ", tokens);
  for (const std::int32_t token : sample.tokens)
    TTT_CHECK(token >= 0 && token < ids, settings.task().name(), " made token ", token, " of ", ids);
  return sample;
}

std::int64_t draw_below(CounterRng& rng, std::int64_t count) {
  TTT_CHECK(count > 0, "count ", count);
  const auto wide = static_cast<unsigned __int128>(rng.next()) * static_cast<std::uint64_t>(count);
  return static_cast<std::int64_t>(wide >> 64);
}

std::int64_t draw_between(CounterRng& rng, std::int64_t first, std::int64_t last) {
  return first + draw_below(rng, last - first + 1);
}

std::vector<std::int64_t> draw_different(CounterRng& rng, std::int64_t first, std::int64_t end, std::int64_t count) {
  TTT_CHECK(count <= end - first, count, " different values of ", end - first);
  std::vector<std::int64_t> values(static_cast<std::size_t>(end - first));
  std::iota(values.begin(), values.end(), first);
  for (std::int64_t i = 0; i < count; ++i)
    std::swap(values[static_cast<std::size_t>(i)],
              values[static_cast<std::size_t>(draw_between(rng, i, end - first - 1))]);
  values.resize(static_cast<std::size_t>(count));
  return values;
}

std::vector<std::int64_t> draw_weighted(CounterRng& rng, const std::vector<double>& weights, std::int64_t count) {
  TTT_CHECK(count <= static_cast<std::int64_t>(weights.size()), count, " places of ", weights.size());
  // The clock of place i rings at an exponential time of rate w_i: the first to ring are what is drawn, in that order.
  std::vector<std::pair<double, std::int64_t>> rings;
  for (std::size_t i = 0; i < weights.size(); ++i)
    rings.emplace_back(-std::log(1 - rng.uniform()) / weights[i], static_cast<std::int64_t>(i));
  std::partial_sort(rings.begin(), rings.begin() + count, rings.end());
  std::vector<std::int64_t> places;
  for (std::int64_t i = 0; i < count; ++i) places.push_back(rings[static_cast<std::size_t>(i)].second);
  return places;
}

void shuffle(CounterRng& rng, std::vector<std::int64_t>& values) {
  for (std::size_t i = values.size(); i > 1; --i)
    std::swap(values[i - 1], values[static_cast<std::size_t>(draw_below(rng, static_cast<std::int64_t>(i)))]);
}

}  // namespace ttt
