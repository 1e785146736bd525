#include "train/train_state.h"

#include "base/build_info.h"
#include "base/error.h"

namespace ttt {

Json to_json(const TrainState& state) {
  Json json = {{"step", state.step}, {"cursor", state.cursor}, {"tokens", state.tokens},
               {"seed", state.seed}, {"data", state.data},     {"git_revision", build_info().revision()}};
  if (!state.bf16_products.empty()) json["bf16_products"] = state.bf16_products;
  if (state.owes_validation) json["owes_validation"] = true;
  json["loss_trend"] = to_json(state.loss_trend);
  json["previous_cursor"] = state.previous_cursor;
  if (state.skipped > 0) {
    json["skipped"] = state.skipped;
    json["skipped_in_row"] = state.skipped_in_row;
    json["row_cursor"] = state.row_cursor;
  }
  if (state.rollbacks > 0) {
    json["rollbacks"] = state.rollbacks;
    json["passed_over"] = to_json(state.passed_over);
  }
  return json;
}

TrainState train_state_from_json(const Json& json, const std::string& source) {
  try {
    TrainState state;
    json.at("step").get_to(state.step);
    json.at("cursor").get_to(state.cursor);
    json.at("tokens").get_to(state.tokens);
    json.at("seed").get_to(state.seed);
    json.at("data").get_to(state.data);
    state.bf16_products = json.value("bf16_products", std::string());
    state.owes_validation = json.value("owes_validation", false);
    state.skipped = json.value("skipped", std::int64_t{0});
    state.skipped_in_row = json.value("skipped_in_row", std::int64_t{0});
    state.row_cursor = json.value("row_cursor", std::int64_t{0});
    state.rollbacks = json.value("rollbacks", std::int64_t{0});
    state.previous_cursor = json.value("previous_cursor", state.cursor);
    if (json.contains("passed_over")) state.passed_over = passed_over_from_json(json.at("passed_over"));
    if (json.contains("loss_trend")) state.loss_trend = loss_trend_from_json(json.at("loss_trend"));
    return state;
  } catch (const Json::exception&) {
    user_error("'", source, "' has no training state to resume from; use it as init_from in a new output_dir instead");
  }
}

}  // namespace ttt
