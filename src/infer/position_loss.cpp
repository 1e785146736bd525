#include "infer/position_loss.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iomanip>
#include <limits>
#include <numeric>
#include <sstream>
#include <tuple>

#include "base/error.h"
#include "base/quantile.h"
#include "base/rng.h"

namespace ttt {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
constexpr std::int64_t kResamples = 1000, kResamplesOfMany = 200;
constexpr std::size_t kManyEntries = std::size_t{1} << 20;
constexpr double kLevel = 0.95;  // of intervals

Json number_or_null(double value) {
  return std::isfinite(value) ? Json(value) : Json();
}

}  // namespace

std::vector<std::int64_t> position_bounds(std::int64_t longest) {
  TTT_CHECK(longest > 0, "longest ", longest);
  std::vector<std::int64_t> bounds;
  for (int i = 0;; ++i) {
    const std::int64_t bound = std::llround(std::exp2(0.25 * i));
    if (bound >= longest) break;
    if (bounds.empty() || bound > bounds.back()) bounds.push_back(bound);
  }
  bounds.push_back(longest);
  return bounds;
}

PositionSums::PositionSums(std::int64_t longest, std::vector<std::int64_t> offsets)
    : bounds_(position_bounds(longest)), offsets_(std::move(offsets)) {}

void PositionSums::add(std::int64_t place, std::int64_t window, std::int64_t position, double nats,
                       std::int64_t bytes) {
  TTT_CHECK(position >= 1 && position <= bounds_.back(), "position ", position, " of ", bounds_.back());
  std::int64_t unit = window;
  if (over_documents()) {
    const bool same = offsets_[document_] <= place && place < offsets_[document_ + 1];
    if (!same)
      document_ =
          static_cast<std::size_t>(std::upper_bound(offsets_.begin(), offsets_.end(), place) - offsets_.begin()) - 1;
    unit = static_cast<std::int64_t>(document_);
  }
  const auto fits = [&](const Entry& last) {
    const auto b = static_cast<std::size_t>(last.bucket);
    return window == window_ && last.unit == unit && position <= bounds_[b] && (b == 0 || position > bounds_[b - 1]);
  };
  if (entries_.empty() || !fits(entries_.back())) {
    const auto bucket = std::lower_bound(bounds_.begin(), bounds_.end(), position) - bounds_.begin();
    entries_.push_back({unit, bucket, place, 0, 0, 0.0});
  }
  window_ = window;
  Entry& entry = entries_.back();
  ++entry.tokens;
  entry.bytes += bytes;
  entry.nats += nats;
}

std::string PositionSums::data() const {
  return {reinterpret_cast<const char*>(entries_.data()), entries_.size() * sizeof(Entry)};
}

void PositionSums::merge(const std::string& data) {
  const std::size_t before = entries_.size(), count = data.size() / sizeof(Entry);
  entries_.resize(before + count);
  if (count > 0) std::memcpy(entries_.data() + before, data.data(), count * sizeof(Entry));
}

PositionLosses PositionSums::result(std::uint64_t seed) const {
  // In the order of the data, whoever collected them: every sum has the same bits then.
  std::vector<Entry> entries = entries_;
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::tie(a.unit, a.first, a.bucket) < std::tie(b.unit, b.first, b.bucket);
  });
  std::size_t units = 0;
  for (std::size_t i = 0, last = 0; i < entries.size(); ++i) {
    const auto unit = static_cast<std::size_t>(entries[i].unit);
    if (i == 0 || unit != last) ++units;
    last = unit;
    entries[i].unit = static_cast<std::int64_t>(units) - 1;
  }

  PositionLosses losses;
  losses.intervals = {over_documents(), static_cast<std::int64_t>(units),
                      entries.size() > kManyEntries ? kResamplesOfMany : kResamples, seed};
  const std::size_t buckets = bounds_.size();
  std::vector<double> nats(buckets), bytes(buckets);
  losses.positions.resize(buckets);
  for (std::size_t b = 0; b < buckets; ++b)
    losses.positions[b] = {b == 0 ? 1 : bounds_[b - 1] + 1, bounds_[b], 0, 0, kNone, kNone, kNone, kNone};
  std::vector<std::int64_t> last_unit(buckets, -1);
  for (const Entry& entry : entries) {
    const auto b = static_cast<std::size_t>(entry.bucket);
    if (entry.unit != last_unit[b]) ++losses.positions[b].units;
    last_unit[b] = entry.unit;
    nats[b] += entry.nats;
    bytes[b] += static_cast<double>(entry.bytes);
    losses.positions[b].tokens += entry.tokens;
  }
  std::vector<std::vector<double>> means(buckets);
  std::vector<double> drawn(units), of_nats(buckets), of_tokens(buckets);
  for (std::int64_t r = 0; r < losses.intervals.resamples && units > 0; ++r) {
    CounterRng rng(stream_seed(seed, cat("bootstrap ", r)));
    for (std::vector<double>* sums : {&drawn, &of_nats, &of_tokens}) std::fill(sums->begin(), sums->end(), 0.0);
    for (std::size_t i = 0; i < units; ++i) ++drawn[static_cast<std::size_t>(rng.next() % units)];
    for (const Entry& entry : entries) {
      const double times = drawn[static_cast<std::size_t>(entry.unit)];
      of_nats[static_cast<std::size_t>(entry.bucket)] += times * entry.nats;
      of_tokens[static_cast<std::size_t>(entry.bucket)] += times * static_cast<double>(entry.tokens);
    }
    for (std::size_t b = 0; b < buckets; ++b) {
      if (of_tokens[b] > 0) means[b].push_back(of_nats[b] / of_tokens[b]);
    }
  }
  for (std::size_t b = 0; b < buckets; ++b) {
    PositionLoss& of = losses.positions[b];
    if (of.tokens == 0) continue;
    of.loss = nats[b] / static_cast<double>(of.tokens);
    // With few units, resampled means may all lie on one side.
    const Interval interval = percentile_interval(means[b], kLevel);
    of.low = std::min(of.loss, interval.low);
    of.high = std::max(of.loss, interval.high);
    if (bytes[b] > 0) of.bits_per_byte = nats[b] / std::log(2.0) / bytes[b];
  }
  return losses;
}

Json to_json(const std::vector<PositionLoss>& positions) {
  Json list = Json::array();
  for (const PositionLoss& of : positions) {
    list.push_back({{"from", of.from},
                    {"to", of.to},
                    {"loss", number_or_null(of.loss)},
                    {"low", number_or_null(of.low)},
                    {"high", number_or_null(of.high)},
                    {"bits_per_byte", number_or_null(of.bits_per_byte)},
                    {"units", of.units},
                    {"tokens", of.tokens}});
  }
  return list;
}

Json to_json(const PositionIntervals& intervals) {
  return {{"percent", 95},
          {"over", intervals.over_documents ? "documents" : "windows"},
          {"units", intervals.units},
          {"resamples", intervals.resamples},
          {"seed", intervals.seed}};
}

std::string to_text(const PositionLosses& losses) {
  std::ostringstream out;
  const bool bytes = std::any_of(losses.positions.begin(), losses.positions.end(),
                                 [](const PositionLoss& of) { return std::isfinite(of.bits_per_byte); });
  out << "      position         loss    95 % interval" << (bytes ? "   bits/byte" : "") << "      tokens\n";
  out << std::fixed;
  for (const PositionLoss& of : losses.positions) {
    const std::string place = of.from == of.to ? cat(of.to) : cat(of.from, "-", of.to);
    out << std::setw(14) << place;
    if (of.tokens == 0) {
      out << std::setw(13) << "-" << std::setw(17) << "-" << (bytes ? "           -" : "");
    } else {
      out << std::setw(13) << std::setprecision(6) << of.loss << std::setprecision(4);
      if (of.units > 1) {
        out << std::setw(9) << of.low << " " << std::setw(7) << of.high;
      } else {
        out << std::setw(17) << "-";
      }
      if (bytes) out << std::setw(12) << of.bits_per_byte;
    }
    out << std::setw(12) << of.tokens << "\n";
  }
  out << "intervals: 95 %, bootstrap over " << losses.intervals.units
      << (losses.intervals.over_documents ? " documents" : " windows") << ", " << losses.intervals.resamples
      << " resamples, seed " << losses.intervals.seed << "\n";
  return out.str();
}

}  // namespace ttt
