// What all laws owe the harness, and the laws that need no words.
#include "proving/laws/law.hpp"

#include <algorithm>
#include <random>
#include <set>
#include <stdexcept>
#include <utility>

#include <gtest/gtest.h>

#include "proving/laws/law_driver.hpp"

namespace weir::proving::test {
namespace {

using namespace std::chrono_literals;

TEST(Laws, AreKnownByName) {
  for (const char* name : {"weir", "none", "static", "oracle", "stormguard", "stormguard-tuned", "bundler",
                           "bundler-estimated", "cake-ingress", "cake-autorate", "cake-autorate-tuned"}) {
    EXPECT_EQ(std::count(law_names().begin(), law_names().end(), name), 1) << name;
  }
  EXPECT_EQ(law_names().size(), 13U);
}

TEST(Laws, AnUnknownNameSaysWhichAreKnown) {
  try {
    const auto law = make_law("cake", site(), TimePoint());
    FAIL() << "a law called \"cake\"";
  } catch (const std::invalid_argument& problem) {
    const std::string text = problem.what();
    EXPECT_NE(text.find("\"cake\""), std::string::npos);
    for (const std::string& name : law_names()) EXPECT_NE(text.find(name), std::string::npos) << name;
  }
}

TEST(Laws, NoneDoesNotShape) {
  const auto law = make_law("none", site(), TimePoint());
  EXPECT_EQ(law->step({}), std::nullopt);
}

TEST(Laws, StaticIsTheContract) {
  LawDriver driver("static", site());
  driver.path.capacity = Rate::mbps(60);
  driver.path.lost = 0.5;
  driver.run(60s);
  EXPECT_EQ(driver.rate(), Rate::mbps(45));
}

TEST(Laws, TheOracleIsToldTwoPercentLessThanTheTruth) {
  LawDriver driver("oracle", site());
  driver.path.capacity = Rate::mbps(60);
  driver.run(100ms);
  EXPECT_EQ(driver.rate(), Rate::kbps(58'800));
  driver.path.capacity = Rate::mbps(50);
  driver.run(100ms);
  EXPECT_EQ(driver.rate(), Rate::mbps(49));
}

/// 90 Mbit/s without a break, so much of each 2 ms lost.
Cohort even_cohort(TimePoint begin, std::uint16_t lost_per_slot) {
  Cohort made = cohort(begin, 14 * kSlotsPerCohort, lost_per_slot * kSlotsPerCohort);
  const auto delivered = static_cast<std::uint16_t>(14 - lost_per_slot);
  made.slots.assign(kSlotsPerCohort,
                    {.bytes = 22'500, .sent = 14, .delivered = delivered, .lost = lost_per_slot});
  return made;
}

TEST(Laws, WeirIsTheProductsController) {
  const LawSettings settings = site();
  const auto law = make_law("weir", settings, TimePoint());
  SiteController controller({.floor = settings.floor, .ceiling = settings.ceiling}, settings.start,
                            TimePoint());
  TimePoint now;
  Rate least = settings.start;
  for (int tick = 0; tick < 600; ++tick) {
    const TimePoint began = std::exchange(now, now + 100ms);
    ControlInput control;
    control.measured.at = now;
    control.measured.interval = 100ms;
    control.measured.mature = {even_cohort(began, tick > 100 && tick < 200 ? 6 : 0)};
    control.sent = Rate::mbps(90);
    control.measured.sent = control.measured.sent_tcp = control.sent.in(100ms);
    LawInput input;
    input.now = now;
    input.control = &control;
    const Rate rate = controller.step(control, now).rate;
    EXPECT_EQ(law->step(input), rate);
    input.now += 10ms;
    input.control = nullptr;  // between ticks nothing changes
    EXPECT_EQ(law->step(input), rate);
    least = std::min(least, rate);
  }
  EXPECT_LT(least, settings.start);
  EXPECT_EQ(law->reason(), controller.decision().reason);
}

/// Anything a harness could say, sense or not.
class Noise {
 public:
  explicit Noise(std::uint32_t seed) : random_(seed) {}

  LawInput next(Duration period) {
    now_ += below(10) == 0 ? Duration::zero() : period;
    LawInput input;
    input.now = now_;
    input.interval = below(10) == 0 ? Duration::zero() : period;
    input.capacity = Rate::bps(below(200'000'000));
    input.sent = Rate::bps(below(3) == 0 ? 0 : below(200'000'000));
    input.received = Rate::bps(below(3) == 0 ? 0 : below(200'000'000));
    if (below(3) != 0) input.rtt = Duration(below(below(5) == 0 ? 20'000'000'000 : 100'000'000));
    pings_.assign(below(4), {.at = now_, .rtt = Duration(below(5'000'000'000))});
    arrivals_.clear();
    for (std::uint64_t i = below(20); i > 0; --i)
      arrivals_.push_back(
          {.at = now_ - Duration(below(10'000'000)), .bytes = Bytes(below(below(50) == 0 ? 65'536 : 1'500))});
    input.pings = pings_;
    input.arrivals = arrivals_;
    control_ = {};
    const std::uint64_t segments = below(1000);
    control_.measured.mature = {cohort(now_, segments, below(segments + 1))};
    if (below(10) == 0) input.control = &control_;
    return input;
  }

 private:
  std::uint64_t below(std::uint64_t limit) { return random_() % limit; }

  std::mt19937_64 random_;
  TimePoint now_;
  std::vector<PingReply> pings_;
  std::vector<Arrival> arrivals_;
  ControlInput control_;
};

TEST(Laws, SurviveAnyInputAndAreReplayable) {
  for (const std::string& name : law_names()) {
    const auto law = make_law(name, site(), TimePoint());
    const auto again = make_law(name, site(), TimePoint());
    ASSERT_GT(law->period(), Duration::zero()) << name;
    Noise noise(1), same(1);
    std::set<Rate> rates;
    for (int i = 0; i < 20'000; ++i) {
      const std::optional<Rate> rate = law->step(noise.next(law->period()));
      ASSERT_EQ(rate, again->step(same.next(again->period()))) << name << ", step " << i;
      if (rate) rates.insert(*rate);
    }
    if (name == "oracle" || rates.empty()) continue;  // it may be told any capacity
    EXPECT_LE(*rates.rbegin(), site().ceiling) << name;
    // It did react; what Weir makes of evidence is its own tests' matter.
    EXPECT_GT(rates.size(), name == "static" || name.starts_with("weir") ? 0U : 3U) << name;
  }
}

}  // namespace
}  // namespace weir::proving::test
