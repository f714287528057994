/// UTF-8 without trust. Pure.
#pragma once

#include <cstddef>
#include <string_view>

namespace weir {

/// Length of the well-formed UTF-8 character at the front (RFC 3629, section 4); 0 when there is none.
[[nodiscard]] std::size_t utf8_length(std::string_view text);

/// All of it is well-formed.
[[nodiscard]] bool is_utf8(std::string_view text);

}  // namespace weir
