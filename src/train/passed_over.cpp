#include "train/passed_over.h"

#include <algorithm>

#include "base/error.h"

namespace ttt {

void PassedOver::add(Range range) {
  TTT_CHECK(range.first < range.last, "samples ", range.first, " to ", range.last);
  std::vector<Range> merged;
  for (const Range& other : ranges_) {
    if (other.last < range.first || range.last < other.first) {
      merged.push_back(other);
    } else {
      range = {std::min(range.first, other.first), std::max(range.last, other.last)};
    }
  }
  merged.push_back(range);
  std::sort(merged.begin(), merged.end(), [](const Range& a, const Range& b) { return a.first < b.first; });
  ranges_ = std::move(merged);
}

PassedOver::Next PassedOver::next(std::int64_t cursor, std::int64_t count) const {
  Next next{{}, cursor};
  auto range = ranges_.begin();
  while (static_cast<std::int64_t>(next.positions.size()) < count) {
    while (range != ranges_.end() && range->last <= next.cursor) ++range;
    if (range != ranges_.end() && range->first <= next.cursor) {
      next.cursor = range->last;
    } else {
      next.positions.push_back(next.cursor++);
    }
  }
  return next;
}

Json to_json(const PassedOver& passed_over) {
  Json json = Json::array();
  for (const PassedOver::Range& range : passed_over.ranges()) json.push_back({range.first, range.last});
  return json;
}

PassedOver passed_over_from_json(const Json& json) {
  PassedOver passed_over;
  for (const Json& range : json) passed_over.add({range.at(0).get<std::int64_t>(), range.at(1).get<std::int64_t>()});
  return passed_over;
}

}  // namespace ttt
