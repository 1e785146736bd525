// Fits as charts.
#pragma once

#include <vector>

#include "chart/chart.h"
#include "fit/law_study.h"
#include "fit/optimum.h"

namespace ttt {

// Losses and the compute-optimal loss by FLOPs with its interval; residuals of log L by N, by D and by loss; the best N
// and D by FLOPs. Of architectures that are not identified the points alone.
ChartGrid law_figure(const std::vector<LawStudy>& studies);

// The parabolas (approach 2) or the envelope (approach 1), and the best N by FLOPs.
ChartGrid optimum_figure(const std::vector<OptimumStudy>& studies);

}  // namespace ttt
