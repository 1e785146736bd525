// Losses of a sweep's runs against FLOPs and parameters, and the scaling law that they identify.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "fit/law_study.h"
#include "report/figure.h"
#include "report/run_log.h"

namespace ttt {

// Laws that were fitted, by the points that they were fitted to: a page that is written again fits what is new.
struct LawMemory {
  std::map<std::string, LawStudy> studies;
};

// For each results file perplexity and validation loss against exact FLOPs and parameters: a line for each mixer and
// backbone, through its sizes in their order, and the law that `ttt fit` finds, or why it finds none. Appends the
// figures.
std::string scaling_section(const std::vector<ResultsFile>& results, std::vector<Figure>& figures, LawMemory& memory);

}  // namespace ttt
