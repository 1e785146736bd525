// What scaling laws are fitted to: runs as (N, D, C, loss).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/files.h"

namespace ttt {

struct ScalingPoint {
  double n = 0;            // parameters
  double d = 0;            // tokens trained on
  double c = 0;            // training FLOPs
  double loss = 0;         // nats a token, or what else the column has
  std::string group = {};  // the architecture; "" where points are not told apart
  std::string place = {};  // file and line, or the run's name
};

// Which columns hold what. Two of n, d and c determine the third: C = 6 N D.
// Of JSON Lines with the keys of a sweep's runs.jsonl those that are empty are taken from there (sweep/record.h): N by
// `parameters`, D `tokens`, C by `flops`, the loss `valid_loss`, the group `mixer` and, where a run has one,
// `backbone`.
struct PointColumns {
  std::string n = {}, d = {}, c = {}, loss = {}, by = {};
  std::string parameters = "total";  // or "non_embedding"
  std::string flops = "exact";       // or "chinchilla", "six_nd"
};

struct PointSet {
  std::vector<ScalingPoint> points;
  std::vector<std::string> notes;  // sentences on what was left out and what stands for what
};

// Reads the tables one after the other. Runs of a sweep that are not finished, have no loss, or are of a search for the
// learning rate and not its best one are left out, with a note. Throws UserError for columns that are not there, cells that are no numbers above zero, and for no points at
// all.
PointSet read_points(const std::vector<fs::path>& files, const PointColumns& columns);

// Leaves out the `count` highest losses, with a note. Throws UserError where nothing would be left.
void drop_highest(PointSet& set, std::int64_t count);

// The points of each group, groups in the order in which they first occur.
struct PointGroup {
  std::string name;
  std::vector<ScalingPoint> points;
};
std::vector<PointGroup> group_points(const std::vector<ScalingPoint>& points);

// The ends of what the points cover.
struct DataRange {
  double low = 0, high = 0;
};
DataRange range_of(const std::vector<ScalingPoint>& points, double ScalingPoint::*value);

// FLOPs for each parameter and token: the median of C / (N D); 6 where C is not known by itself.
double flops_per_parameter_token(const std::vector<ScalingPoint>& points);

}  // namespace ttt
