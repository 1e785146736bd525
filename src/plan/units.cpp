#include "plan/units.h"

#include <cmath>
#include <cstdio>

namespace ttt {
namespace {

struct Scaled {
  double value;
  const char* unit;
};

Scaled scaled(double value) {
  const char* units[] = {"", "k", "M", "G", "T", "P", "E", "Z"};
  int unit = 0;
  while (std::abs(value) >= 999.5 && unit < 7) {
    value /= 1000;
    ++unit;
  }
  return {value, units[unit]};
}

std::string three_digits(double value) {
  const int decimals = std::abs(value) >= 99.95 || value == std::floor(value) ? 0 : std::abs(value) >= 9.995 ? 1 : 2;
  char text[32];
  std::snprintf(text, sizeof text, "%.*f", decimals, value);
  return text;
}

}  // namespace

std::string short_number(double value) {
  const Scaled s = scaled(value);
  return three_digits(s.value) + s.unit;
}

std::string short_bytes(std::int64_t bytes) {
  const Scaled s = scaled(static_cast<double>(bytes));
  return three_digits(s.value) + " " + s.unit + "B";
}

std::string short_hours(double hours) {
  if (hours < 2.0 / 60) return three_digits(std::round(hours * 3600)) + " s";
  if (hours < 2) return three_digits(std::round(hours * 60)) + " min";
  if (hours < 72) return three_digits(hours) + " h";
  return three_digits(hours / 24) + " days";
}

}  // namespace ttt
