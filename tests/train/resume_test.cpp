// What may change where a run goes on: every key of a config has been thought of.
#include "train/resume.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "config/fields.h"

namespace ttt {
namespace {

bool stands_for(const ResumeRule& rule, const std::string& key) {
  return rule.key.ends_with('.') ? key.starts_with(rule.key) : key == rule.key;
}

TEST(ResumeRules, EveryKeyHasOneAndEveryRuleAKey) {
  RunConfig config;
  const std::vector<Field> fields = fields_of(config);
  for (const Field& field : fields) {
    const auto count = std::count_if(resume_rules().begin(), resume_rules().end(),
                                     [&](const ResumeRule& rule) { return stands_for(rule, field.key); });
    EXPECT_EQ(count, 1) << "'" << field.key
                        << "' needs one rule in resume_rules() (src/train/resume.cpp): what does it "
                        << "mean when a run goes on with another value?";
  }
  for (const ResumeRule& rule : resume_rules()) {
    EXPECT_TRUE(
        std::any_of(fields.begin(), fields.end(), [&](const Field& field) { return stands_for(rule, field.key); }))
        << "no key is '" << rule.key << "'";
  }
}

}  // namespace
}  // namespace ttt
