#include "ops/products.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <time.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <atomic>
#include <limits>
#include <optional>

#include "base/error.h"

namespace ttt {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// A panel's largest extent: 16 MB of fp32, so that widening it is a small part of its products.
constexpr std::int64_t kPanel = 2048;

// Seconds of the processor that this thread has had, however busy the machine is. Where the processor's clock is coarse
// (some virtual machines tick it), seconds of the wall.
class ProcessorTimer {
 public:
  double seconds() const {
    const double had = now(CLOCK_THREAD_CPUTIME_ID) - had_, passed = now(CLOCK_MONOTONIC) - begin_;
    return had > 0 ? std::min(had, passed) : passed;
  }

 private:
  static double now(clockid_t clock) {
    timespec time{};
    clock_gettime(clock, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
  }
  double begin_ = now(CLOCK_MONOTONIC), had_ = now(CLOCK_THREAD_CPUTIME_ID);
};

std::atomic<Bf16Products> chosen{Bf16Products::kNative};

// A part of an operand in fp32; kept where the next product takes the same part.
class Panel {
 public:
  explicit Panel(const at::Tensor& whole) : whole_(whole) {}
  const at::Tensor& at(std::int64_t row, std::int64_t rows, std::int64_t column, std::int64_t columns) {
    if (row == row_ && column == column_) return wide_;
    row_ = row, column_ = column;
    const at::Tensor part = whole_.narrow(0, row, rows).narrow(1, column, columns);
    // Widened in the order of its memory: a transposed operand stays transposed.
    const bool transposed = part.stride(0) == 1 && part.stride(1) != 1;
    wide_ = at::empty(transposed ? at::IntArrayRef{columns, rows} : at::IntArrayRef{rows, columns},
                      part.options().dtype(at::kFloat));
    if (transposed) wide_ = wide_.t();
    wide_.copy_(part);
    return wide_;
  }

 private:
  at::Tensor whole_, wide_;
  std::int64_t row_ = -1, column_ = -1;
};

void product_through_panels(const at::Tensor& c, const at::Tensor& a, const at::Tensor& b, bool accumulate) {
  const auto m = a.size(0), k = a.size(1), n = b.size(1);
  const bool wide = c.scalar_type() == at::kFloat;
  Panel a_panel(a), b_panel(b);
  at::Tensor sums;
  for (std::int64_t column = 0; column < n; column += kPanel) {
    const auto columns = std::min(kPanel, n - column);
    for (std::int64_t row = 0; row < m; row += kPanel) {
      const auto rows = std::min(kPanel, m - row);
      const at::Tensor part = c.narrow(0, row, rows).narrow(1, column, columns);
      if (wide) {
        sums = part;
      } else {
        sums = at::empty({rows, columns}, c.options().dtype(at::kFloat));
        if (accumulate) sums.copy_(part);
      }
      for (std::int64_t inner = 0; inner < k; inner += kPanel) {
        const auto depth = std::min(kPanel, k - inner);
        const at::Tensor& x = a_panel.at(row, rows, inner, depth);
        const at::Tensor& y = b_panel.at(inner, depth, column, columns);
        if (inner == 0 && !accumulate) {
          at::mm_out(sums, x, y);
        } else {
          sums.addmm_(x, y);
        }
      }
      if (!wide) part.copy_(sums);
    }
  }
}

struct LinearThroughPanels : torch::autograd::Function<LinearThroughPanels> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            const std::optional<at::Tensor>& bias) {
    const at::Tensor x_ND = x.reshape({-1, x.size(-1)}), w = weight.to(at::kBFloat16);
    const at::Tensor y = at::empty({x_ND.size(0), w.size(0)}, x.options());
    product_out(y, x_ND, w.t());
    if (bias) y.add_(bias->to(at::kBFloat16));
    context->save_for_backward({x_ND, w});
    context->saved_data["weight"] = static_cast<std::int64_t>(weight.scalar_type());
    context->saved_data["bias"] = static_cast<std::int64_t>(bias.value_or(weight).scalar_type());
    context->saved_data["has_bias"] = bias.has_value();
    auto sizes = x.sizes().vec();
    sizes.back() = w.size(0);
    return y.view(sizes);
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &w = saved[1], &dy = grads[0];
    const at::Tensor dy_NE = dy.reshape({-1, w.size(0)});
    at::Tensor dx, dw, db;
    if (context->needs_input_grad(0)) {
      dx = at::empty_like(x);
      product_out(dx, dy_NE, w);
      auto sizes = dy.sizes().vec();
      sizes.back() = w.size(1);
      dx = dx.view(sizes);
    }
    const auto type = [&](const char* name) { return static_cast<at::ScalarType>(context->saved_data[name].toInt()); };
    if (context->needs_input_grad(1)) {
      dw = at::empty(w.sizes(), w.options().dtype(at::kFloat));
      product_out(dw, dy_NE.t(), x);
      dw = dw.to(type("weight"));
    }
    if (context->saved_data["has_bias"].toBool() && context->needs_input_grad(2))
      db = dy_NE.sum(0, /*keepdim=*/false, at::kFloat).to(type("bias"));
    return {dx, dw, db};
  }
};

}  // namespace

std::string to_string(Bf16Products products) {
  return products == Bf16Products::kNative ? "native" : "fp32_panels";
}

Bf16Products bf16_products_of(const std::string& name) {
  TTT_CHECK(name == "native" || name == "fp32_panels", "bf16 products '", name, "'");
  return name == "native" ? Bf16Products::kNative : Bf16Products::kFp32Panels;
}

void set_bf16_products(Bf16Products products) {
  chosen = products;
}

Bf16Products bf16_products() {
  return chosen;
}

bool through_fp32_panels(const at::Tensor& x) {
  return chosen == Bf16Products::kFp32Panels && x.scalar_type() == at::kBFloat16 && x.is_cpu();
}

void product_out(const at::Tensor& c, const at::Tensor& a, const at::Tensor& b, bool accumulate) {
  TTT_CHECK(a.dim() == 2 && b.dim() == 2 && a.size(1) == b.size(0) && c.size(0) == a.size(0) && c.size(1) == b.size(1),
            "c ", c.sizes(), ", a ", a.sizes(), ", b ", b.sizes());
  at::Tensor result = c;
  if (through_fp32_panels(a)) {
    product_through_panels(c, a, b, accumulate);
  } else if (c.scalar_type() != a.scalar_type()) {
    const at::Tensor narrow = at::mm(a, b);
    accumulate ? result.add_(narrow) : result.copy_(narrow);
  } else if (accumulate) {
    result.addmm_(a, b);
  } else {
    at::mm_out(result, a, b);
  }
}

at::Tensor linear_through_panels(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  return LinearThroughPanels::apply(x, weight, bias.defined() ? std::optional(bias) : std::nullopt);
}

Bf16ProductSpeed measure_bf16_products() {
  constexpr std::int64_t kTokens = 128, kIn = 512, kOut = 512;
  constexpr double kFlops = 2.0 * kTokens * kIn * kOut;
  constexpr int kRepeats = 4;
  constexpr double kHopeless = 8;  // times as long as the slowest product through panels: decided
  const torch::NoGradGuard no_grad;
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const at::Tensor x = at::ones({kTokens, kIn}, at::kBFloat16), w = at::ones({kOut, kIn}, at::kBFloat16);
  const at::Tensor y = at::ones({kTokens, kOut}, at::kBFloat16);
  const at::Tensor out = at::empty_like(y), dx = at::empty_like(x), dw = at::empty_like(w);
  // Seconds of the slowest orientation; no more is measured once one is sure to take longer than `enough`.
  const auto slowest = [&](const auto& multiply, double enough) {
    double longest = 0;
    for (const auto& [c, a, b] : {std::tuple(out, x, w.t()), std::tuple(dx, y, w), std::tuple(dw, y.t(), x)}) {
      multiply(c, a, b);  // the first one also loads code and touches new memory, which can take longer than it does
      double best = std::numeric_limits<double>::infinity();
      for (int i = 0; i < kRepeats && (i == 0 || best < enough); ++i) {
        const ProcessorTimer timer;
        multiply(c, a, b);
        best = std::min(best, timer.seconds());
      }
      longest = std::max(longest, best);
      if (longest > enough) break;
    }
    return longest;
  };
  const double panels = slowest(
      [](const at::Tensor& c, const at::Tensor& a, const at::Tensor& b) { product_through_panels(c, a, b, false); },
      std::numeric_limits<double>::infinity());
  const double native =
      slowest([](at::Tensor c, const at::Tensor& a, const at::Tensor& b) { at::mm_out(c, a, b); }, kHopeless * panels);
  at::set_num_threads(threads);
  return {kFlops / native / 1e9, kFlops / panels / 1e9};
}

}  // namespace ttt
