// Writing SVG: numbers, escaped text, the width that text takes.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace ttt {

// For element content and attributes in double quotes: & < > " are escaped, control characters that XML has not left
// out, bytes that are not UTF-8 become U+FFFD.
std::string xml_escape(std::string_view text);

// A coordinate, to a hundredth of a pixel: "12.5".
std::string pixels(double value);

// About what `text` takes in a sans-serif font of that size; fonts differ by a tenth or so.
double text_width(std::string_view text, double font_size);

// Lines of at most that width, broken at blanks.
std::vector<std::string> wrap_text(const std::string& text, double font_size, double width);

}  // namespace ttt
