#include "chart/ticks.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>

namespace ttt {
namespace {

// Ends of an axis are computed: a tick at one of them may miss it by a rounding.
constexpr double kSlack = 1e-9;

// std::to_chars: the same in every locale, without trailing zeros.
std::string significant(double value, int digits) {
  char text[64];
  const auto end = std::to_chars(text, text + sizeof text, value, std::chars_format::general, digits).ptr;
  return {text, end};
}

std::string with_decimals(double value, int decimals) {
  char text[64];
  const auto end = std::to_chars(text, text + sizeof text, value, std::chars_format::fixed, decimals).ptr;
  return {text, end};
}

std::string superscript(int exponent) {
  static constexpr const char* kDigits[] = {"⁰", "¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹"};
  std::string out;
  for (const char c : std::to_string(exponent)) out += c == '-' ? std::string("⁻") : kDigits[c - '0'];
  return out;
}

std::string with_sign(const std::string& text) {  // a true minus sign
  return text.starts_with('-') ? "−" + text.substr(1) : text;
}

bool is_plain(double magnitude) {
  return magnitude == 0 || (magnitude >= 1e-4 && magnitude < 1e6);
}

std::string short_form(double value, int digits) {
  static constexpr const char* kPrefixes[] = {"", "k", "M", "B", "T"};
  int power = 0;
  digits = std::max(digits, 3);  // 1000 at fewer would be 1e+03
  while (power < 4 && std::abs(value) >= 1000 * (1 - 0.5 * std::pow(10.0, -digits))) {
    value /= 1000;
    ++power;
  }
  return significant(value, digits) + kPrefixes[power];
}

// 1, 2 or 5 times a power of ten, of which about `count` make the span.
double nice_step(double span, int count) {
  const double rough = span / std::max(count, 1);
  const double power = std::pow(10.0, std::floor(std::log10(rough)));
  const double fraction = rough / power;
  return power * (fraction < 1.5 ? 1 : fraction < 3 ? 2 : fraction < 7 ? 5 : 10);
}

std::vector<Tick> linear_ticks(double low, double high, NumberStyle style, int count) {
  const double step = nice_step(high - low, count), slack = (high - low) * kSlack;
  const double largest = std::max(std::abs(low), std::abs(high));
  // As many decimals as the step has, so that all ticks have the same.
  const int decimals = std::clamp(static_cast<int>(std::ceil(-std::log10(step) - kSlack)), 0, 12);
  const int digits = static_cast<int>(std::ceil(std::log10(largest / step) + kSlack)) + 1;
  std::vector<Tick> ticks;
  const auto first = static_cast<long long>(std::ceil((low - slack) / step));
  for (long long i = first; static_cast<double>(i) * step <= high + slack; ++i) {
    const double value = static_cast<double>(i) * step;
    if (style == NumberStyle::kPlain && is_plain(largest) && (value == 0 || decimals < 6))
      ticks.push_back({value, with_sign(with_decimals(value, decimals))});
    else
      ticks.push_back({value, chart_number(value, style, std::clamp(digits, 2, 12))});
  }
  return ticks;
}

std::vector<Tick> power_of_two_ticks(double low, double high, NumberStyle style, int count) {
  const int first = static_cast<int>(std::ceil(std::log2(low) - kSlack));
  const int last = static_cast<int>(std::floor(std::log2(high) + kSlack));
  const int every = std::max(1, (last - first + count) / std::max(count, 1));
  std::vector<Tick> ticks;
  for (int power = first; power <= last; ++power) {
    const double value = std::exp2(power);
    ticks.push_back({value, (power - first) % every == 0 ? chart_number(value, style, 7) : ""});
  }
  return ticks;
}

std::vector<Tick> power_of_ten_ticks(double low, double high, NumberStyle style, int count) {
  const double first = std::floor(std::log10(low) + kSlack), last = std::ceil(std::log10(high) - kSlack);
  const int decades = static_cast<int>(last - first);
  const int every = std::max(1, (decades + count - 1) / std::max(count, 1));
  // Where decades are few, their multiples say what they are: all three of 1, 2, 5, or 1 and 3.
  const double decades_seen = std::log10(high / low);
  const bool fives = 3 * decades_seen <= count, threes = !fives && 2 * decades_seen <= count;
  std::vector<Tick> ticks;
  for (int decade = 0; decade <= decades; ++decade) {
    const double power = std::pow(10.0, first + decade);
    for (int multiple = 1; multiple <= 9; ++multiple) {
      const double value = multiple * power;
      if (value < low * (1 - kSlack) || value > high * (1 + kSlack)) continue;
      const bool labelled = multiple == 1                    ? decade % every == 0
                            : multiple == 2 || multiple == 5 ? fives
                            : multiple == 3                  ? threes
                                                             : false;
      if (multiple > 1 && every > 1) continue;
      ticks.push_back({value, labelled ? chart_number(value, style) : ""});
    }
  }
  return ticks;
}

}  // namespace

std::string chart_number(double value, NumberStyle style, int digits) {
  if (!std::isfinite(value)) return std::isnan(value) ? "?" : value > 0 ? "∞" : "−∞";
  const double magnitude = std::abs(value);
  if (style == NumberStyle::kShort && (magnitude == 0 || (magnitude >= 1e-3 && magnitude < 1e15)))
    return with_sign(short_form(value, digits));
  if (is_plain(magnitude)) {
    const std::string text = significant(value, digits);  // with an exponent where it has more digits
    return with_sign(text.find('e') == std::string::npos ? text : with_decimals(value, 0));
  }
  char text[64];
  const auto end = std::to_chars(text, text + sizeof text, magnitude, std::chars_format::scientific, digits - 1).ptr;
  std::string mantissa(text, end);
  const std::size_t e = mantissa.find('e');
  const int exponent = std::atoi(mantissa.c_str() + e + 1);
  mantissa.resize(e);
  if (mantissa.find('.') != std::string::npos) {
    mantissa.erase(mantissa.find_last_not_of('0') + 1);
    if (mantissa.ends_with('.')) mantissa.pop_back();
  }
  return (value < 0 ? "−" : "") + (mantissa == "1" ? "" : mantissa + "×") + "10" + superscript(exponent);
}

std::vector<Tick> make_ticks(double low, double high, AxisScale scale, NumberStyle style, int count) {
  if (scale == AxisScale::kLinear) return linear_ticks(low, high, style, count);
  std::vector<Tick> ticks = scale == AxisScale::kLog2 ? power_of_two_ticks(low, high, style, count)
                                                      : power_of_ten_ticks(low, high, style, count);
  const auto labelled = std::count_if(ticks.begin(), ticks.end(), [](const Tick& t) { return !t.label.empty(); });
  if (labelled >= 3 || (labelled == 2 && high / low > 5)) return ticks;
  return linear_ticks(low, high, style, count);
}

}  // namespace ttt
