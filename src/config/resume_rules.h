// What it means that a run goes on with another value of a config key.
#pragma once

#include <string>
#include <vector>

namespace ttt {

// Whether a branch may have another value of a key than its trunk.
enum class InBranch {
  kSame,      // no: what the trunk did before the branch's first step would have been otherwise
  kSchedule,  // where no step before the branch's first one has another learning rate for it
  kMayDiffer
};

// What it means that a run goes on with another value of a key: of each key there is one rule. A key that ends with a
// dot stands for its whole section.
struct ResumeRule {
  std::string key, meaning;  // meaning: for the log; empty: it would be another run
  InBranch in_branch = InBranch::kSame;
  bool may_change() const { return !meaning.empty(); }
};
const std::vector<ResumeRule>& resume_rules();

// The rule of a key such as "optim.lr"; nullptr where there is none.
const ResumeRule* rule_of(const std::string& key);

}  // namespace ttt
