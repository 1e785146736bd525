// What was fitted, as text and as JSON.
#pragma once

#include <string>
#include <vector>

#include "base/json.h"
#include "fit/law_study.h"
#include "fit/optimum.h"

namespace ttt {

// What the report is about, beside the studies.
struct ReportContext {
  std::vector<std::string> files;
  std::vector<std::string> notes;  // of PointSet
  FitSettings settings;
  std::vector<double> budgets;  // FLOPs to say the best N and D for; empty: round ones within the runs'
  std::string baseline;         // the architecture that others are held against; empty: the first
};

// Approach 3. The keys of one architecture's law (E, A, B, alpha, beta, objective, identified, ...) are at the top of
// the object where there is one, in "groups" where there are several. Numbers that the data do not identify are null.
// Throws UserError for budgets out of reach and for a baseline that is not there.
std::string laws_text(const std::vector<LawStudy>& studies, const ReportContext& context);
Json laws_json(const std::vector<LawStudy>& studies, const ReportContext& context);

// Approaches 1 and 2.
std::string optima_text(const std::vector<OptimumStudy>& studies, const ReportContext& context);
Json optima_json(const std::vector<OptimumStudy>& studies, const ReportContext& context);

}  // namespace ttt
