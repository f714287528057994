/// A body for Boost.Beast whose text is shared: unpacked piece by piece, as each is sent.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <boost/asio/buffer.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/optional.hpp>

#include "gateway/control_recorder.hpp"

namespace weir::gateway {

/// Beast's "Body" with a "BodyWriter": what a response sends.
struct SharedBody {
  using value_type = std::vector<SharedText>;

  [[nodiscard]] static std::uint64_t size(const value_type& parts) {
    std::uint64_t sum = 0;
    for (const SharedText& part : parts) sum += part->size();
    return sum;
  }

  class writer {
   public:
    using const_buffers_type = boost::asio::const_buffer;

    template <bool IsRequest, class Fields>
    writer(const boost::beast::http::header<IsRequest, Fields>&, const value_type& parts) : parts_(parts) {}

    void init(boost::beast::error_code& error) { error = {}; }
    /// The next piece, valid until the next call, and whether another follows; none: nothing is left.
    boost::optional<std::pair<const_buffers_type, bool>> get(boost::beast::error_code& error) {
      error = {};
      if (next_ == parts_.size()) return boost::none;
      const std::string_view piece = parts_[next_++]->read(room_);
      return {{const_buffers_type(piece.data(), piece.size()), next_ < parts_.size()}};
    }

   private:
    const value_type& parts_;
    std::size_t next_ = 0;
    std::string room_;
  };
};

}  // namespace weir::gateway
