// Samples that a run leaves out: those at which it was rolled back (train/run_safety.h). Part of the run's state, so
// that whoever replays it leaves out the same ones.
#pragma once

#include <cstdint>
#include <vector>

#include "base/json.h"

namespace ttt {

// Ranges of positions in the order of samples (MixtureOrder), which counts on over epochs.
class PassedOver {
 public:
  struct Range {
    std::int64_t first, last;  // [first, last)
    bool operator==(const Range&) const = default;
  };

  // Ranges may touch or overlap those that are there. first < last.
  void add(Range range);

  // The next `count` positions from `cursor` on that are not left out, and where the cursor stands after them.
  struct Next {
    std::vector<std::int64_t> positions;
    std::int64_t cursor;
  };
  Next next(std::int64_t cursor, std::int64_t count) const;

  const std::vector<Range>& ranges() const { return ranges_; }
  bool operator==(const PassedOver&) const = default;

 private:
  std::vector<Range> ranges_;  // ascending, apart from each other
};

// [[first, last], ...]; throws Json::exception where it is something else.
Json to_json(const PassedOver& passed_over);
PassedOver passed_over_from_json(const Json& json);

}  // namespace ttt
