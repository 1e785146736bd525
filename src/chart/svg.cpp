#include "chart/svg.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <sstream>

#include "base/utf8.h"

namespace ttt {

std::string xml_escape(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const std::size_t good = find_invalid_utf8(text).value_or(text.size());
    for (const char c : text.substr(0, good)) {
      switch (c) {
        case '&':
          out += "&amp;";
          break;
        case '<':
          out += "&lt;";
          break;
        case '>':
          out += "&gt;";
          break;
        case '"':
          out += "&quot;";
          break;
        default:
          if (static_cast<unsigned char>(c) >= 0x20 || c == '\n' || c == '\t') out += c;
      }
    }
    if (good < text.size()) out += "\xef\xbf\xbd";
    text.remove_prefix(std::min(text.size(), good + 1));
  }
  return out;
}

std::string pixels(double value) {
  char text[32];
  const double rounded = std::round(value * 100) / 100;
  const auto end = std::to_chars(text, text + sizeof text, rounded == 0 ? 0 : rounded).ptr;
  return {text, end};
}

double text_width(std::string_view text, double font_size) {
  double em = 0;
  for (const char c : text) {
    if ((static_cast<unsigned char>(c) & 0xc0) == 0x80) continue;  // counted with the character's first byte
    if (std::string_view("iljtfrI.,:;|!'()[] ").find(c) != std::string_view::npos)
      em += 0.34;
    else if (std::string_view("mwMW@%").find(c) != std::string_view::npos)
      em += 0.92;
    else if (c >= 'A' && c <= 'Z')
      em += 0.69;
    else
      em += 0.6;
  }
  return em * font_size;
}

std::vector<std::string> wrap_text(const std::string& text, double font_size, double width) {
  std::vector<std::string> lines;
  std::istringstream words(text);
  std::string line;
  for (std::string word; words >> word;) {
    const std::string longer = line.empty() ? word : line + " " + word;
    if (!line.empty() && text_width(longer, font_size) > width) {
      lines.push_back(line);
      line = word;
    } else {
      line = longer;
    }
  }
  if (!line.empty()) lines.push_back(line);
  return lines;
}

}  // namespace ttt
