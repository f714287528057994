/// A file that is replaced whole: a crash leaves the old or the new one, never a half.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace weir::gateway {

/// Writes `text` beside `folder`/`name`, syncs it to disk, renames it and syncs the folder, which is made if
/// it is not there. Waits for the disk. One writer per file. Throws std::system_error naming the attempt.
void replace_file(const std::filesystem::path& folder, const std::string& name, std::string_view text);

}  // namespace weir::gateway
