#include "proving/laws/law.hpp"
#include <stdexcept>
namespace weir::proving {
namespace {
class Weir final : public Law {
 public:
  Weir(const LawSettings& s, TimePoint now) : c_({.floor = s.floor, .ceiling = s.ceiling}, s.start, now), rate_(s.start) {}
  Duration period() const override { return std::chrono::milliseconds(100); }
  std::optional<Rate> step(const LawInput& in) override {
    if (in.control) rate_ = c_.step(*in.control, in.now).rate;
    return rate_;
  }
  std::string_view reason() const override { return c_.decision().reason; }
 private:
  SiteController c_;
  Rate rate_;
};
class Fixed final : public Law {
 public:
  Fixed(int k, Rate r) : kind_(k), rate_(r) {}
  Duration period() const override { return std::chrono::milliseconds(100); }
  std::optional<Rate> step(const LawInput& in) override {
    if (kind_ == 0) return std::nullopt;
    if (kind_ == 1) return rate_;
    return in.capacity * 0.98;
  }
 private:
  int kind_;
  Rate rate_;
};
}  // namespace
const std::vector<std::string>& law_names() { static const std::vector<std::string> n{"weir", "none", "static", "oracle"}; return n; }
std::unique_ptr<Law> make_law(std::string_view name, const LawSettings& s, TimePoint now) {
  if (name == "weir") return std::make_unique<Weir>(s, now);
  if (name == "none") return std::make_unique<Fixed>(0, Rate());
  if (name == "static") return std::make_unique<Fixed>(1, s.contract);
  if (name == "oracle") return std::make_unique<Fixed>(2, Rate());
  throw std::invalid_argument("unknown law");
}
}  // namespace weir::proving
