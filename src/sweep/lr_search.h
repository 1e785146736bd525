// A search for the learning rate: golden section over its logarithm.
//
//     lr_search: {low: 1e-4, high: 1e-2, evaluations: 6}
//
// Each run NAME of the sweep becomes the runs NAME_search1 to NAME_search6. The first two are at the golden sections of
// [low, high]; each further one is where the losses so far leave the minimum. A search is judged by the last validation
// loss; a run that failed, or whose loss is not a number, counts as infinite, and of two such the lower rate as better.
// What is searched next follows from the runs that have ended alone, so that a sweep that was killed goes on alike.
#pragma once

#include <vector>

#include "sweep/spec.h"
#include "sweep/yaml_source.h"

namespace ttt {

struct LrSearchSpec {
  std::string place;
  double low = 0, high = 0;
  int evaluations = 0;
};
LrSearchSpec read_lr_search(const YamlSource& yaml, const YAML::Node& key, const YAML::Node& node);

// Two points stand inside a bracket at its golden sections; the one with the lower loss stays, the other is the
// bracket's new end.
class GoldenSection {
 public:
  GoldenSection(double low, double high);

  // Of evaluation i, from 0: the first two, and one more for each loss from the second on. Three significant digits, so
  // that it is the same on every machine.
  double rate(std::size_t i) const;
  std::size_t rates() const { return rates_.size(); }
  // Of the evaluation after the last one that has a loss; not a number: infinite.
  void add_loss(double loss);
  double low() const;  // of the bracket
  double high() const;

 private:
  struct Point {
    double log_rate = 0, loss = 0;
  };
  std::vector<double> rates_;  // logarithms
  std::vector<double> losses_;
  double low_, high_;   // logarithms
  Point left_, right_;  // inside
  bool next_is_left_ = true;
};

// The learning rates that are known by the runs that have ended, and the best run of each search that has.
void advance_searches(Sweep& sweep);

// One line a search: the best rate so far, and between which it lies. Nothing without searches.
std::string searches_text(const Sweep& sweep, const std::vector<const SweepRun*>& runs);

}  // namespace ttt
