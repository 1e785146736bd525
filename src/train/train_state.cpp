#include "train/train_state.h"

#include "base/build_info.h"
#include "base/error.h"

namespace ttt {

Json to_json(const TrainState& state) {
  Json json = {{"step", state.step}, {"cursor", state.cursor}, {"tokens", state.tokens},
               {"seed", state.seed}, {"data", state.data},     {"git_revision", build_info().revision()}};
  if (state.owes_validation) json["owes_validation"] = true;
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
    state.owes_validation = json.value("owes_validation", false);
    return state;
  } catch (const Json::exception&) {
    user_error("'", source, "' has no training state to resume from; use it as init_from in a new output_dir instead");
  }
}

}  // namespace ttt
