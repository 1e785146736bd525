#include "fit/report.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>

#include "base/error.h"

namespace ttt {
namespace {

std::string number(double value, int digits = 4) {
  char text[40];
  std::snprintf(text, sizeof text, "%.*g", digits, value);
  return text;
}

std::string padded(std::string text, std::size_t width) {
  if (text.size() < width) text.append(width - text.size(), ' ');
  return text;
}

std::string between(const std::optional<Interval>& interval, int digits = 4) {
  return interval ? cat(number(interval->low, digits), " to ", number(interval->high, digits)) : std::string();
}

Json json_of(const std::optional<Interval>& interval) {
  return interval ? Json::array({interval->low, interval->high}) : Json();
}

Json json_of(const std::vector<ScalingPoint>& points, double ScalingPoint::*value) {
  const DataRange range = range_of(points, value);
  return Json::array({range.low, range.high});
}

std::string percent(double level) {
  return number(100 * level) + " %";
}

// Powers of ten within the runs' budgets, or their ends where there is none; those that `reachable` takes.
std::vector<double> budgets_for(const std::vector<ScalingPoint>& points, const ReportContext& context) {
  if (!context.budgets.empty()) return context.budgets;
  const DataRange c = range_of(points, &ScalingPoint::c);
  std::vector<double> budgets = {c.low};
  for (double power = std::ceil(std::log10(c.low * 1.2)); power < std::log10(c.high / 1.2); ++power)
    budgets.push_back(std::pow(10, power));
  if (c.high > c.low * 1.2) budgets.push_back(c.high);
  return budgets;
}

// --- the same for all approaches ---

std::string points_text(const std::string& name, const std::vector<ScalingPoint>& points) {
  const auto range = [&](double ScalingPoint::*value) {
    const DataRange r = range_of(points, value);
    return cat(number(r.low), " to ", number(r.high));
  };
  return cat(name.empty() ? "" : name + ": ", points.size(), points.size() == 1 ? " point" : " points", ", N ",
             range(&ScalingPoint::n), ", D ", range(&ScalingPoint::d), ", C ", range(&ScalingPoint::c), ", loss ",
             range(&ScalingPoint::loss), "\n");
}

std::string notes_text(const ReportContext& context) {
  std::string text;
  for (const std::string& note : context.notes) text += "note: " + note + "\n";
  return text;
}

std::string not_identified(const std::vector<std::string>& reasons) {
  std::string text = "  not identified\n";
  for (const std::string& reason : reasons) text += "    " + reason + "\n";
  return text;
}

Json points_json(const std::string& name, const std::vector<ScalingPoint>& points) {
  Json json;
  if (!name.empty()) json["name"] = name;
  json["points"] = points.size();
  json["n_range"] = json_of(points, &ScalingPoint::n);
  json["d_range"] = json_of(points, &ScalingPoint::d);
  json["c_range"] = json_of(points, &ScalingPoint::c);
  json["loss_range"] = json_of(points, &ScalingPoint::loss);
  return json;
}

Json settings_json(const char* approach, const ReportContext& context) {
  return {{"approach", approach},          {"files", context.files},
          {"notes", context.notes},        {"bootstrap", context.settings.bootstrap},
          {"seed", context.settings.seed}, {"level", context.settings.level}};
}

// One group's keys stay at the top, several get a list.
Json with_groups(Json top, const std::vector<Json>& groups) {
  if (groups.size() == 1)
    top.update(groups.front());
  else
    top["groups"] = groups;
  return top;
}

// --- approach 3 ---

struct Quantity {
  const char* name;
  std::function<double(const ScalingLaw&)> value;
};

const std::vector<Quantity>& law_parameters() {
  static const std::vector<Quantity> all = {{"E", [](const ScalingLaw& l) { return l.E; }},
                                            {"A", [](const ScalingLaw& l) { return l.A; }},
                                            {"B", [](const ScalingLaw& l) { return l.B; }},
                                            {"alpha", [](const ScalingLaw& l) { return l.alpha; }},
                                            {"beta", [](const ScalingLaw& l) { return l.beta; }}};
  return all;
}

const std::vector<Quantity>& law_exponents() {
  static const std::vector<Quantity> all = {{"n_exponent", [](const ScalingLaw& l) { return l.n_exponent(); }},
                                            {"d_exponent", [](const ScalingLaw& l) { return l.d_exponent(); }},
                                            {"loss_exponent", [](const ScalingLaw& l) { return l.loss_exponent(); }}};
  return all;
}

const char* objective_name(FitObjective objective) {
  return objective == FitObjective::kHuber ? "huber" : "least-squares";
}

std::string objective_text(FitObjective objective) {
  return objective == FitObjective::kHuber ? "sum of Huber(0.001) of log L" : "sum of squares of L";
}

// What is asked for must be within reach; of what is shown by default, what is not is left out.
std::vector<double> reachable_budgets(const LawStudy& study, const ReportContext& context) {
  std::vector<double> budgets = budgets_for(study.points, context);
  if (context.budgets.empty()) std::erase_if(budgets, [&](double c) { return beyond_reach(study, c).has_value(); });
  return budgets;
}

struct OptimumRow {
  double c = 0;
  Allocation best;
  std::optional<Interval> n, d, loss;
};
std::vector<OptimumRow> optimum_rows(const LawStudy& study, const ReportContext& context) {
  std::vector<OptimumRow> rows;
  for (const double c : reachable_budgets(study, context)) {
    const double k = study.flops_per_parameter_token;
    OptimumRow row;
    row.c = c;
    row.best = optimum_within_reach(study, c);
    row.n = study.interval([&](const ScalingLaw& l) { return compute_optimal(l, c, k).n; });
    row.d = study.interval([&](const ScalingLaw& l) { return compute_optimal(l, c, k).d; });
    row.loss = study.interval([&](const ScalingLaw& l) { return compute_optimal(l, c, k).loss; });
    rows.push_back(row);
  }
  return rows;
}

std::string law_text(const LawStudy& study, const ReportContext& context) {
  std::string text = points_text(study.name, study.points);
  if (!study.identified()) return text + not_identified(study.reasons);
  const std::string interval_title =
      study.samples.empty() ? "" : cat(percent(study.level), " of ", study.samples.size(), " bootstrap samples");
  text += cat("  L = E + A / N^alpha + B / D^beta      ", interval_title, "\n");
  for (const Quantity& q : law_parameters())
    text += cat("    ", padded(q.name, 8), padded(number(q.value(study.fit.law), 6), 14),
                between(study.interval(q.value)), "\n");
  text +=
      cat("  ", objective_text(context.settings.objective), ": ", number(study.fit.objective, 8), "; log L is off by ",
          number(study.residual_rms, 3), " (root mean square), at most by ",
          number(study.residuals[study.largest_residual], 3), " at ", study.points[study.largest_residual].place, "\n");
  const auto exponent = [&](const Quantity& q) {
    const auto interval = study.interval(q.value);
    return cat("C^", number(q.value(study.fit.law), 3), interval ? cat(" (", between(interval, 3), ")") : "");
  };
  text += cat("  compute-optimal, C = ", number(study.flops_per_parameter_token, 3), " N D: N grows as ",
              exponent(law_exponents()[0]), ", D as ", exponent(law_exponents()[1]), "\n");
  const auto cell = [](double value, const std::optional<Interval>& interval) {
    return padded(cat(number(value, 4), interval ? cat(" (", between(interval, 3), ")") : ""), 34);
  };
  text += cat("    ", padded("C", 12), padded("N", 34), padded("D", 34), padded("D/N", 8), "loss\n");
  for (const OptimumRow& row : optimum_rows(study, context))
    text += cat("    ", padded(number(row.c, 3), 12), cell(row.best.n, row.n), cell(row.best.d, row.d),
                padded(number(row.best.d / row.best.n, 3), 8), number(row.best.loss, 4),
                row.loss ? cat(" (", between(row.loss, 4), ")") : "", "\n");
  return text;
}

Json law_json(const LawStudy& study, const ReportContext& context) {
  Json json = points_json(study.name, study.points);
  const bool identified = study.identified();
  json["identified"] = identified;
  json["reasons"] = study.reasons;
  for (const Quantity& q : law_parameters()) json[q.name] = identified ? Json(q.value(study.fit.law)) : Json();
  json["objective"] = study.residuals.empty() ? Json() : Json(study.fit.objective);
  json["objective_name"] = objective_name(context.settings.objective);
  json["flops_per_parameter_token"] = study.flops_per_parameter_token;
  if (!identified) return json;
  Json intervals;
  for (const auto* list : {&law_parameters(), &law_exponents()})
    for (const Quantity& q : *list) intervals[q.name] = json_of(study.interval(q.value));
  for (const Quantity& q : law_exponents()) json[q.name] = q.value(study.fit.law);
  json["intervals"] = intervals;
  json["condition"] = study.condition;
  json["residual_rms"] = study.residual_rms;
  json["largest_residual"] = {{"point", study.points[study.largest_residual].place},
                              {"residual", study.residuals[study.largest_residual]}};
  Json optima = Json::array();
  for (const OptimumRow& row : optimum_rows(study, context))
    optima.push_back({{"c", row.c},
                      {"n", row.best.n},
                      {"d", row.best.d},
                      {"loss", row.best.loss},
                      {"n_interval", json_of(row.n)},
                      {"d_interval", json_of(row.d)},
                      {"loss_interval", json_of(row.loss)}});
  json["compute_optimal"] = optima;
  return json;
}

const LawStudy& baseline_of(const std::vector<LawStudy>& studies, const ReportContext& context) {
  if (context.baseline.empty()) return studies.front();
  std::string names;
  for (const LawStudy& study : studies) {
    if (study.name == context.baseline) return study;
    names += (names.empty() ? "'" : ", '") + study.name + "'";
  }
  user_error("there is no architecture '", context.baseline, "' for --baseline; there are ", names);
}

struct Comparison {
  const LawStudy* study;
  std::vector<FlopMultiplier> at;
  std::string why_not;
};
std::vector<Comparison> compare(const std::vector<LawStudy>& studies, const LawStudy& base) {
  std::vector<Comparison> out;
  for (const LawStudy& study : studies) {
    if (&study == &base) continue;
    Comparison comparison{&study, {}, ""};
    if (!base.identified() || !study.identified()) {
      comparison.why_not = cat("not identified: ", base.identified() ? study.name : base.name, " has no law");
    } else {
      comparison.at = flop_multipliers(base, study);
      if (comparison.at.empty()) comparison.why_not = "no budget that both have runs near";
    }
    out.push_back(std::move(comparison));
  }
  return out;
}

// --- approaches 1 and 2 ---

std::string optimum_text(const OptimumStudy& study, const ReportContext& context) {
  std::string text = points_text(study.name, study.points);
  for (const IsoflopCurve& curve : study.curves) {
    text += cat("    C ", padded(number(curve.c, 3), 11), padded(cat(curve.points.size(), " runs"), 10));
    text += curve.dropped.empty()
                ? cat("best N ", padded(number(curve.best.n), 11), "D ", padded(number(curve.best.d), 11), "loss ",
                      padded(number(curve.best.loss), 8), "off the middle by ", number(curve.offset, 2), "\n")
                : "left out: " + curve.dropped + "\n";
  }
  if (!study.envelope.empty()) {
    text += cat("  the envelope has ", study.envelope.size(), " points\n");
    for (const EnvelopePoint& at : study.envelope)
      text += cat("    C ", padded(number(at.point.c, 3), 11), "N ", padded(number(at.point.n), 11), "D ",
                  padded(number(at.point.d), 11), "loss ", padded(number(at.point.loss), 8),
                  at.at_edge ? "left out: the smallest or largest size" : "", "\n");
  }
  if (!study.identified()) return text + not_identified(study.reasons);
  const auto interval = study.interval(&PowerLaw::exponent);
  text += cat("  the best N grows as C^", number(study.n.exponent, 3),
              interval ? cat(" (", between(interval, 3), ")") : "", ", D as C^", number(study.d.exponent, 3), "\n");
  for (const double c : budgets_for(study.points, context))
    text += cat("    C ", padded(number(c, 3), 11), "N ", padded(number(study.n.at(c)), 11),
                padded(between(study.interval_at(true, c), 3), 26), "D ", padded(number(study.d.at(c)), 11),
                between(study.interval_at(false, c), 3), "\n");
  for (const std::string& warning : study.warnings) text += "  warning: " + warning + "\n";
  if (study.bias)
    text += cat("  of the law that least squares (approach 3) find in these points the exponent of N is ",
                number(study.bias->law_exponent, 3), "; from its own losses at the same N and D this approach gets ",
                number(study.bias->found_exponent, 3), "\n");
  return text;
}

Json optimum_json(const OptimumStudy& study, const ReportContext& context) {
  Json json = points_json(study.name, study.points);
  const bool identified = study.identified();
  json["identified"] = identified;
  json["reasons"] = study.reasons;
  json["n_exponent"] = identified ? Json(study.n.exponent) : Json();
  json["d_exponent"] = identified ? Json(study.d.exponent) : Json();
  json["n_exponent_interval"] = json_of(study.interval(&PowerLaw::exponent));
  json["warnings"] = study.warnings;
  json["bias"] = study.bias ? Json{{"law_exponent", study.bias->law_exponent},
                                   {"found_exponent", study.bias->found_exponent},
                                   {"n_ratio", study.bias->n_ratio}}
                            : Json();
  if (!study.curves.empty()) {
    Json curves = Json::array();
    for (const IsoflopCurve& curve : study.curves) {
      const bool used = curve.dropped.empty();
      curves.push_back({{"c", curve.c},
                        {"points", curve.points.size()},
                        {"n", used ? Json(curve.best.n) : Json()},
                        {"d", used ? Json(curve.best.d) : Json()},
                        {"loss", used ? Json(curve.best.loss) : Json()},
                        {"offset", used ? Json(curve.offset) : Json()},
                        {"left_out", used ? Json() : Json(curve.dropped)}});
    }
    json["budgets"] = curves;
  }
  if (!study.envelope.empty()) {
    Json envelope = Json::array();
    for (const EnvelopePoint& at : study.envelope)
      envelope.push_back({{"c", at.point.c},
                          {"n", at.point.n},
                          {"d", at.point.d},
                          {"loss", at.point.loss},
                          {"point", at.point.place},
                          {"at_edge", at.at_edge}});
    json["envelope"] = envelope;
  }
  if (!identified) return json;
  Json optima = Json::array();
  for (const double c : budgets_for(study.points, context))
    optima.push_back({{"c", c},
                      {"n", study.n.at(c)},
                      {"d", study.d.at(c)},
                      {"n_interval", json_of(study.interval_at(true, c))},
                      {"d_interval", json_of(study.interval_at(false, c))}});
  json["compute_optimal"] = optima;
  return json;
}

// Budgets that were asked for, of approaches that know nothing of the loss.
void check_reach(const std::vector<OptimumStudy>& studies, const ReportContext& context) {
  for (const OptimumStudy& study : studies) {
    const DataRange c = range_of(study.points, &ScalingPoint::c);
    for (const double budget : context.budgets) {
      if (budget > c.high * kFarthest || budget < c.low / kFarthest)
        user_error(study.name.empty() ? "" : study.name + ": ", "a budget of ", number(budget, 3),
                   " FLOPs is more than ten times beyond the runs (", number(c.low, 3), " to ", number(c.high, 3),
                   "), where no fit is trusted");
    }
  }
}

}  // namespace

std::string laws_text(const std::vector<LawStudy>& studies, const ReportContext& context) {
  std::string text = notes_text(context);
  for (const LawStudy& study : studies) text += law_text(study, context);
  if (studies.size() < 2) return text;
  const LawStudy& base = baseline_of(studies, context);
  text += cat("FLOPs at equal loss, ", base.name, " over the other (above 1: the other needs fewer)\n");
  for (const Comparison& comparison : compare(studies, base)) {
    text += "  " + comparison.study->name + "\n";
    if (!comparison.why_not.empty()) text += "    " + comparison.why_not + "\n";
    for (const FlopMultiplier& at : comparison.at)
      text += cat("    loss ", padded(number(at.loss), 8), padded(number(at.base_flops, 3), 9), " over ",
                  padded(number(at.flops, 3), 9), " = ", padded(number(at.multiplier, 3), 7),
                  at.interval ? cat(" (", between(at.interval, 3), ")") : "", "\n");
  }
  return text;
}

Json laws_json(const std::vector<LawStudy>& studies, const ReportContext& context) {
  std::vector<Json> groups;
  for (const LawStudy& study : studies) groups.push_back(law_json(study, context));
  Json json = with_groups(settings_json("3", context), groups);
  if (studies.size() < 2) return json;
  const LawStudy& base = baseline_of(studies, context);
  json["baseline"] = base.name;
  Json multipliers = Json::array();
  for (const Comparison& comparison : compare(studies, base)) {
    for (const FlopMultiplier& at : comparison.at)
      multipliers.push_back({{"name", comparison.study->name},
                             {"loss", at.loss},
                             {"base_flops", at.base_flops},
                             {"flops", at.flops},
                             {"multiplier", at.multiplier},
                             {"interval", json_of(at.interval)}});
    if (!comparison.why_not.empty())
      multipliers.push_back({{"name", comparison.study->name}, {"multiplier", Json()}, {"reason", comparison.why_not}});
  }
  json["flop_multipliers"] = multipliers;
  return json;
}

std::string optima_text(const std::vector<OptimumStudy>& studies, const ReportContext& context) {
  check_reach(studies, context);
  std::string text = notes_text(context);
  for (const OptimumStudy& study : studies) text += optimum_text(study, context);
  return text;
}

Json optima_json(const std::vector<OptimumStudy>& studies, const ReportContext& context) {
  check_reach(studies, context);
  std::vector<Json> groups;
  for (const OptimumStudy& study : studies) groups.push_back(optimum_json(study, context));
  return with_groups(settings_json(studies.front().curves.empty() ? "1" : "2", context), groups);
}

}  // namespace ttt
