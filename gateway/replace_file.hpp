/// A file that is replaced whole: a crash leaves the old or the new one, never a half.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace weir::gateway {

enum class Owner : std::uint8_t {
  us,     ///< a file of our own, mode 0640
  as_was  ///< that of the file that is replaced, with its mode
};

/// Writes `text` beside `folder`/`name`, syncs it to disk, renames it and syncs the folder, which is made if
/// it is not there. Never follows a link. Waits for the disk. One writer per file. Throws std::system_error
/// naming the attempt.
void replace_file(const std::filesystem::path& folder, const std::string& name, std::string_view text,
                  Owner owner = Owner::us);

}  // namespace weir::gateway
