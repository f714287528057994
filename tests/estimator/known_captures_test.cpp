// Real captures with a known truth, outside the project: WEIR_CAPTURES names their folder (policing/ and
// real/, each with a MANIFEST.tsv). Without it these tests are skipped, visibly.
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "estimator/observe_file.hpp"

namespace weir {
namespace {

using Row = std::map<std::string, std::string>;

std::vector<std::string> split(const std::string& line) {
  std::vector<std::string> fields;
  std::istringstream in(line);
  for (std::string field; std::getline(in, field, '\t');) fields.push_back(field);
  return fields;
}

std::vector<Row> manifest(const std::filesystem::path& folder) {
  std::ifstream file(folder / "MANIFEST.tsv");
  std::vector<Row> rows;
  std::string line;
  std::getline(file, line);
  const std::vector<std::string> names = split(line);
  while (std::getline(file, line)) {
    const std::vector<std::string> fields = split(line);
    Row row;
    for (std::size_t i = 0; i < names.size(); ++i) row[names[i]] = i < fields.size() ? fields[i] : "";
    rows.push_back(row);
  }
  return rows;
}

std::uint64_t number(const Row& row, const char* column) {
  return std::strtoull(row.at(column).c_str(), nullptr, 10);
}

class KnownCaptures : public testing::Test {
 protected:
  void SetUp() override {
    const char* folder = std::getenv("WEIR_CAPTURES");
    if (folder == nullptr) GTEST_SKIP() << "WEIR_CAPTURES is not set";
    folder_ = folder;
  }
  std::filesystem::path folder_;
};

// Segments below H by an independent count of bytes already seen, against our classes of the same segments.
TEST_F(KnownCaptures, SegmentsBelowTheHighestSequenceAreTheOnesThatAnIndependentCountFinds) {
  std::uint64_t files = 0;
  std::uint64_t disagree = 0;
  for (const Row& row : manifest(folder_ / "real")) {
    // Super-packets are counted as wire segments here and as frames there; two captures are fuzzed on
    // purpose.
    if (number(row, "superpackets_gt1518") > 0) continue;
    const Observation o = observe_file(folder_ / "real" / row.at("file"), EstimatorSettings{});
    EXPECT_EQ(o.tcp_packets, number(row, "tcp_packets")) << row.at("file");
    std::uint64_t ours = 0;
    for (const DirectionObservation& d : o.directions) {
      const SegmentTotals& s = d.segments;
      ours += s.retransmitted + s.spurious + s.hole_fill + s.reordered + s.duplicate + s.unknown;
    }
    const std::uint64_t theirs = number(row, "own_old_segs") + number(row, "own_partial_old");
    const std::uint64_t slack = std::max<std::uint64_t>(1, theirs / 50);
    ++files;
    if (ours > theirs + slack || ours + slack < theirs) {
      ++disagree;
      std::cout << row.at("file") << ": ours " << ours << ", theirs " << theirs << "\n";
    }
  }
  EXPECT_GE(files, 30U);
  EXPECT_EQ(disagree, 0U);
}

// Nobody knows what these paths carried; but none shows more than a handful of losses, and few were ever
// full.
TEST_F(KnownCaptures, CapacityOfTrafficInTheWildIsNoMoreThanItsBusiestHalfSecond) {
  std::uint64_t files = 0;
  for (const Row& row : manifest(folder_ / "real")) {
    const Observation o = observe_file(folder_ / "real" / row.at("file"), EstimatorSettings{});
    ++files;
    for (const DirectionObservation& d : o.directions) {
      if (!d.capacity || !d.capacity->rate) continue;
      std::cout << row.at("file") << ": " << to_string(d.capacity->mode) << " " << d.capacity->rate->mbps()
                << " Mbit/s, busiest " << d.busiest.mbps() << "\n";
      EXPECT_LE(*d.capacity->rate, d.busiest * 1.1) << row.at("file");
    }
  }
  EXPECT_GE(files, 30U);
}

TEST_F(KnownCaptures, CapacityIsWithinTenPercentOrNotTold) {
  struct Score {
    unsigned files = 0;
    unsigned told = 0;
    unsigned right = 0;
  };
  std::map<std::string, Score> scores;
  for (const Row& row : manifest(folder_ / "policing")) {
    const Observation o = observe_file(folder_ / "policing" / row.at("file"), EstimatorSettings{});
    const CapacityFinding c = o.directions.at(0).capacity.value_or(CapacityFinding{});
    const bool tiny = row.at("burst_or_queue_bytes") == "8000";
    Score& score = scores[row.at("truth") + (tiny ? " of 8 kB" : "")];
    ++score.files;
    const auto truth = static_cast<double>(number(row, "rate_bps"));
    const double error = c.rate ? static_cast<double>(c.rate->bps()) / truth - 1.0 : NAN;
    if (c.rate) ++score.told;
    if (std::abs(error) <= 0.1) ++score.right;
    std::cout << row.at("file") << ": " << to_string(c.mode) << " " << error << "\n";
    EXPECT_FALSE(std::abs(error) > 0.1) << row.at("file");
  }
  for (const auto& [truth, s] : scores) {
    std::cout << truth << ": " << s.files << " files, told " << s.told << ", within 10 % " << s.right << "\n";
  }
  EXPECT_GE(scores["shaper"].right * 100, scores["shaper"].files * 98);
  EXPECT_GE(scores["policer"].right * 100, scores["policer"].files * 95);
  EXPECT_EQ(scores["random_loss"].told, 0U);
}

// The shaper of these captures stands on the way out, and is all that ever makes their round trips longer.
TEST_F(KnownCaptures, TheQueueOfAShaperOnTheWayOutIsOnTheWayOut) {
  unsigned long_queues = 0;
  for (const Row& row : manifest(folder_ / "policing")) {
    const Observation o = observe_file(folder_ / "policing" / row.at("file"), EstimatorSettings{});
    const DirectionObservation& out = o.directions.at(0);
    EXPECT_GT(out.queue.share(), 0.7) << row.at("file");
    EXPECT_LT(milliseconds(out.queue.reverse_p50), 4.0) << row.at("file");
    EXPECT_LT(milliseconds(out.queue.reverse_p95), 5.0) << row.at("file");
    const double queue = milliseconds(out.rtt.p95 - out.rtt.min);
    if (row.at("truth") != "shaper" || queue < 30.0) continue;
    ++long_queues;
    EXPECT_NEAR(milliseconds(out.queue.forward_p95) / queue, 1.0, 0.1) << row.at("file");
  }
  EXPECT_GE(long_queues, 10U);
}

}  // namespace
}  // namespace weir
