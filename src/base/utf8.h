// Whether text is UTF-8.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace ttt {

// The offset of the first byte that is not part of a valid UTF-8 character (RFC 3629: no surrogates, no overlong forms,
// nothing beyond U+10FFFF), or nothing.
std::optional<std::size_t> find_invalid_utf8(std::string_view text);

}  // namespace ttt
