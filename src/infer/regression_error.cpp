#include "infer/regression_error.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "base/error.h"
#include "data/task.h"

namespace ttt {
namespace {

double square(double x) {
  return x * x;
}

}  // namespace

std::optional<RegressionSums> RegressionSums::of(const Json& task) {
  if (!task.is_object() || task.value("name", Json()) != "regression") return std::nullopt;
  const Json settings = task.value("settings", Json::object());
  const auto number = [&](const char* key) {
    const Json value = settings.is_object() ? settings.value(key, Json()) : Json();
    return value.is_number_integer() ? value.get<std::int64_t>() : 0;
  };
  RegressionSums sums;
  sums.dimension_ = number("dimension");
  sums.points_ = number("points");
  if (sums.dimension_ < 1 || sums.points_ < 1 || sums.points_ > 1 << 20) return std::nullopt;
  sums.model_.assign(static_cast<std::size_t>(sums.points_), 0.0);
  sums.least_squares_ = sums.model_;
  return sums;
}

void RegressionSums::add(const std::vector<std::int32_t>& tokens, const std::vector<double>& expected) {
  const std::int64_t d = dimension_, n = points_;
  TTT_CHECK(static_cast<std::int64_t>(tokens.size()) == n * (d + 1) && static_cast<std::int64_t>(expected.size()) == n,
            tokens.size(), " tokens, ", expected.size(), " values of ", n, " points");
  const torch::Tensor all = torch::empty({n, d + 1}, torch::kDouble);
  double* value = all.mutable_data_ptr<double>();
  for (std::size_t i = 0; i < tokens.size(); ++i) value[i] = regression_value(tokens[i]);
  const torch::Tensor x = all.narrow(1, 0, d), y = all.narrow(1, d, 1);
  for (std::int64_t point = 0; point < n; ++point) {
    const double truth = value[point * (d + 1) + d];
    double guess = 0;
    if (point > 0) {
      const torch::Tensor w = at::mm(at::linalg_pinv(x.narrow(0, 0, point), /*rcond=*/1e-10), y.narrow(0, 0, point));
      guess = at::mm(x.narrow(0, point, 1), w).item<double>();
    }
    model_[static_cast<std::size_t>(point)] += square(expected[static_cast<std::size_t>(point)] - truth);
    least_squares_[static_cast<std::size_t>(point)] += square(guess - truth);
  }
  ++samples_;
}

RegressionErrors RegressionSums::means() const {
  RegressionErrors errors{samples_, model_, least_squares_};
  for (std::vector<double>* sums : {&errors.model, &errors.least_squares}) {
    for (double& sum : *sums) sum /= static_cast<double>(std::max<std::int64_t>(1, samples_));
  }
  return errors;
}

torch::Tensor expected_values(const torch::Tensor& logits_NV) {
  const std::int64_t V = logits_NV.size(1);
  std::vector<double> values;
  for (std::int64_t bin = 0; bin < V; ++bin) values.push_back(regression_value(bin));
  const torch::Tensor p_NV = at::softmax(logits_NV.to(torch::kCPU, torch::kDouble), 1);
  return at::mv(p_NV, torch::tensor(values, torch::kDouble));
}

Json to_json(const RegressionErrors& errors) {
  Json list = Json::array();
  for (std::size_t i = 0; i < errors.model.size(); ++i) {
    list.push_back(
        {{"points_before", i}, {"squared_error", errors.model[i]}, {"least_squares", errors.least_squares[i]}});
  }
  return list;
}

}  // namespace ttt
