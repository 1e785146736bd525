#include "sweep/lr_search.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <set>

#include "base/error.h"
#include "sweep/record.h"

namespace ttt {
namespace {

constexpr double kInfinite = std::numeric_limits<double>::infinity();
constexpr std::int64_t kMostEvaluations = 10;  // beyond, rates of three digits would be the same again
const double kGolden = (std::sqrt(5.0) - 1) / 2;

// 3.16e-03
std::string three_digits(double rate) {
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, rate, std::chars_format::scientific, 2).ptr};
}

// The loss of an evaluation that has ended, nothing of another.
std::optional<double> evaluation_loss(const SweepRun& run) {
  const RunRecord record = read_record(run);
  if (!has_ended(run, record)) return std::nullopt;
  if (record.status != RunStatus::kFinished) return kInfinite;
  return read_results(run).valid_loss.value_or(kInfinite);
}

void advance_search(Sweep& sweep, LrSearch& search) {
  GoldenSection section(sweep.search_low, sweep.search_high);
  std::optional<std::size_t> best;
  double best_loss = 0;
  bool all = true;
  for (std::size_t i = 0; i < search.runs.size(); ++i) {
    SweepRun& run = sweep.runs[search.runs[i]];
    run.search->best.reset();
    run.search->known = i < section.rates();
    if (!run.search->known) {
      all = false;
      continue;
    }
    run.config.optim.lr = section.rate(i);
    const std::optional<double> loss = evaluation_loss(run);
    if (loss && (!best || *loss < best_loss)) {
      best = i;
      best_loss = *loss;
    }
    all = all && loss;
    if (all) section.add_loss(*loss);
  }
  search.low = section.low();
  search.high = section.high();
  if (!all || !std::isfinite(best_loss)) return;
  for (std::size_t i = 0; i < search.runs.size(); ++i) sweep.runs[search.runs[i]].search->best = i == *best;
}

}  // namespace

LrSearchSpec read_lr_search(const YamlSource& yaml, const YAML::Node& key, const YAML::Node& node) {
  LrSearchSpec spec;
  spec.place = yaml.place(key);
  yaml.check_keys("lr_search", yaml.map(key, node), {"low", "high", "evaluations"});
  for (const char* name : {"low", "high", "evaluations"})
    if (!node[name])
      user_error(spec.place, ": lr_search has no '", name, "'; write {low: 1e-4, high: 1e-2, evaluations: 6}");
  spec.low = yaml.positive(node["low"], "low");
  spec.high = yaml.positive(node["high"], "high");
  if (!(spec.low < spec.high))
    user_error(spec.place, ": lr_search has low ", value_text(node["low"]), " and high ", value_text(node["high"]),
               "; low must be below high");
  const std::int64_t evaluations = yaml.count(node["evaluations"], "evaluations");
  if (evaluations < 3 || evaluations > kMostEvaluations)
    user_error(spec.place, ": lr_search takes 3 to ", kMostEvaluations, " evaluations, not ", evaluations,
               "; each narrows the range to 0.618 of it");
  spec.evaluations = static_cast<int>(evaluations);
  return spec;
}

GoldenSection::GoldenSection(double low, double high) : low_(std::log(low)), high_(std::log(high)) {
  rates_ = {high_ - kGolden * (high_ - low_), low_ + kGolden * (high_ - low_)};
  left_.log_rate = rates_[0];
  right_.log_rate = rates_[1];
}

double GoldenSection::rate(std::size_t i) const {
  const std::string text = three_digits(std::exp(rates_.at(i)));
  double rate = 0;
  std::from_chars(text.data(), text.data() + text.size(), rate);
  return rate;
}

void GoldenSection::add_loss(double loss) {
  TTT_CHECK(losses_.size() < rates_.size(), "a loss of an evaluation that has no rate");
  losses_.push_back(std::isnan(loss) ? kInfinite : loss);
  Point& point = losses_.size() == 1 ? left_ : losses_.size() == 2 ? right_ : next_is_left_ ? left_ : right_;
  point.loss = losses_.back();
  if (losses_.size() < 2) return;
  next_is_left_ = left_.loss <= right_.loss;  // both infinite: a lower rate diverges less
  if (next_is_left_) {
    high_ = right_.log_rate;
    right_ = left_;
    left_ = {high_ - kGolden * (high_ - low_), 0};
  } else {
    low_ = left_.log_rate;
    left_ = right_;
    right_ = {low_ + kGolden * (high_ - low_), 0};
  }
  rates_.push_back(next_is_left_ ? left_.log_rate : right_.log_rate);
}

double GoldenSection::low() const {
  return std::exp(low_);
}

double GoldenSection::high() const {
  return std::exp(high_);
}

void advance_searches(Sweep& sweep) {
  for (LrSearch& search : sweep.searches) advance_search(sweep, search);
}

std::string searches_text(const Sweep& sweep, const std::vector<const SweepRun*>& runs) {
  std::set<std::size_t> asked;
  for (const SweepRun* run : runs)
    if (run->search) asked.insert(run->search->search);
  std::string text;
  for (const std::size_t number : asked) {
    const LrSearch& search = sweep.searches[number];
    const SweepRun* best = nullptr;
    double best_loss = kInfinite;
    std::size_t ended = 0, infinite = 0;
    for (const std::size_t index : search.runs) {
      const SweepRun& run = sweep.runs[index];
      const std::optional<double> loss = run.search->known ? evaluation_loss(run) : std::nullopt;
      if (!loss) continue;
      ++ended;
      if (!std::isfinite(*loss)) ++infinite;
      if (*loss >= best_loss) continue;
      best_loss = *loss;
      best = &run;
    }
    text += cat("lr search of ", search.name, ", ", ended, " of ", search.runs.size(), " evaluations");
    if (best != nullptr) {
      char loss[32];
      std::snprintf(loss, sizeof loss, "%.4f", best_loss);
      text += cat(": best ", three_digits(best->config.optim.lr), " (validation loss ", loss, "), between ",
                  three_digits(search.low), " and ", three_digits(search.high));
      const bool at_low = search.low <= sweep.search_low * (1 + 1e-9);
      const bool at_high = search.high >= sweep.search_high * (1 - 1e-9);
      if (ended == search.runs.size() && (at_low || at_high))
        text += cat("; that is the ", at_low ? "lower" : "upper", " end of the range, and the best may lie beyond it");
    }
    if (infinite > 0) text += cat("; ", infinite, " failed or have no loss, and count as infinite");
    text += "\n";
  }
  return text;
}

}  // namespace ttt
