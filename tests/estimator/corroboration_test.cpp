// What one remote tells, and how far the others bear it out (estimator/corroboration.hpp).
#include "estimator/corroboration.hpp"

#include <random>

#include <gtest/gtest.h>

#include "packet_builder.hpp"

namespace weir {
namespace {

using namespace weir::test;
using namespace std::chrono_literals;

/// So many remotes, 1, 2, ..., each with its part of 10 MB that were sampled.
RemoteShares shares_of(std::initializer_list<double> parts) {
  RemoteShares shares;
  RemoteKey remote = 1;
  for (const double part : parts) shares.sampled(remote++, Bytes(static_cast<std::uint64_t>(part * 1e7)));
  return shares;
}

/// Events of remote 1 in a row, each behind the one before it, until one is not believed; `most` if all are.
int believed(const RemoteShares& shares, int most = 1000) {
  Corroboration losses(10ms);
  for (int i = 0; i < most; ++i) {
    if (!losses.hears(1, at_ms(10.0 * i), shares)) return i;
  }
  return most;
}

TEST(RemoteShares, AreThoseOfTheBytes) {
  const RemoteShares shares = shares_of({0.6, 0.3, 0.1});
  EXPECT_NEAR(shares.of(1), 0.6, 0.001);
  EXPECT_NEAR(shares.of(2), 0.3, 0.001);
  EXPECT_NEAR(shares.of(9), 0.0, 0.001);
}

TEST(RemoteShares, AreNeverToldTooSmallHoweverManyThereAre) {
  RemoteShares shares;
  for (std::uint32_t i = 0; i < 200'000; ++i) {
    shares.sampled(1000 + i % 997, Bytes(1500));
    if (i % 5 == 0) shares.sampled(1, Bytes(1500));
    if (i % 100 == 99) shares.close_tick();
  }
  EXPECT_GE(shares.of(1), 1.0 / 6);
  EXPECT_LE(shares.of(1), 1.0 / 6 + 1.0 / 16);
  EXPECT_LE(shares.of(5), 1.0 / 16 + 0.01) << "of one that was never seen, no more than of the least";
}

TEST(RemoteShares, ForgetWithinASecond) {
  RemoteShares shares = shares_of({0.5, 0.5});
  for (int tick = 0; tick < 10; ++tick) {
    shares.close_tick();
    shares.sampled(2, Bytes(10'000'000));
  }
  EXPECT_LT(shares.of(1), 0.03);
}

// The steps of the test are ln(u / s), u = 16 s / (1 - s + 16 s), and it ends behind 4.5: 2.21 each at 5 %,
// 1.21 at 25 %.
TEST(Corroboration, OneThatLosesAloneIsBelievedTheLessTheSmallerItIs) {
  EXPECT_EQ(believed(shares_of({0.05, 0.3, 0.3, 0.35})), 2);
  EXPECT_EQ(believed(shares_of({0.1, 0.3, 0.3, 0.3})), 2);
  EXPECT_EQ(believed(shares_of({0.25, 0.25, 0.25, 0.25})), 3);
  EXPECT_EQ(believed(shares_of({0.4, 0.2, 0.2, 0.2})), 5);
}

TEST(Corroboration, WhoIsTheSiteIsAlwaysBelieved) {
  EXPECT_EQ(believed(shares_of({1.0})), 1000);
  EXPECT_EQ(believed(shares_of({0.5, 0.5})), 1000);
  EXPECT_EQ(believed(shares_of({0.03, 0.92, 0.05})), 1) << "a third beside two is none of them";
  EXPECT_EQ(believed(shares_of({0.3, 0.62, 0.04, 0.04})), 1000);
}

TEST(Corroboration, AnUnknownRemoteIsAlwaysBelieved) {
  Corroboration losses(10ms);
  const RemoteShares shares = shares_of({0.25, 0.25, 0.25, 0.25});
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(losses.hears(kNobody, at_ms(20.0 * i), shares));
  EXPECT_TRUE(losses.believes(kNobody, shares));
}

TEST(Corroboration, WhatComesTogetherIsOneEvent) {
  Corroboration losses(10ms);
  const RemoteShares shares = shares_of({0.05, 0.3, 0.3, 0.35});
  for (int i = 0; i < 500; ++i) ASSERT_TRUE(losses.hears(1, at_ms(100 + i % 10), shares));
  ASSERT_TRUE(losses.hears(1, at_ms(50), shares)) << "told late";
  EXPECT_TRUE(losses.believes(1, shares));
  EXPECT_TRUE(losses.hears(1, at_ms(110), shares));
  EXPECT_FALSE(losses.hears(1, at_ms(120), shares));
  EXPECT_FALSE(losses.believes(1, shares));
  EXPECT_TRUE(losses.hears(2, at_ms(130), shares)) << "another one is not held to it";
}

// Chance takes one in thirty of their events for a liar's.
TEST(Corroboration, WhoLosesAsTheOthersDoIsBelieved) {
  for (const int remotes : {3, 4, 8, 20, 200}) {
    RemoteShares shares;
    for (int i = 0; i < remotes; ++i) shares.sampled(static_cast<RemoteKey>(i + 1), Bytes(1'000'000));
    Corroboration losses(10ms);
    std::mt19937 random(1);
    int counted = 0;
    for (int i = 0; i < 20'000; ++i) {
      const auto who = std::uniform_int_distribution<RemoteKey>(1, static_cast<RemoteKey>(remotes))(random);
      counted += losses.hears(who, at_ms(10.0 * i), shares) ? 1 : 0;
      if (i % 10 == 0) losses.close_tick();
    }
    EXPECT_GE(counted, 19'200) << remotes << " remotes";
  }
}

// It may add a quarter to what the others lose: its part of the events at which the test stands still.
TEST(Corroboration, ALiarAmongLosersAddsAQuarterAtTheMost) {
  const RemoteShares shares = shares_of({0.05, 0.3, 0.3, 0.35});
  Corroboration losses(10ms);
  int counted = 0;
  int of_others = 0;
  for (int i = 0; i < 10'000; ++i) {
    counted += losses.hears(1, at_ms(10.0 * i), shares) ? 1 : 0;
    if (i % 5 != 0) continue;
    ++of_others;
    EXPECT_TRUE(losses.hears(static_cast<RemoteKey>(2 + i / 5 % 3), at_ms(10.0 * i), shares));
  }
  EXPECT_LE(counted, of_others / 4);
}

TEST(Corroboration, IsForgottenWithinMinutesAndAtOnceWhereOthersLoseToo) {
  const RemoteShares shares = shares_of({0.05, 0.3, 0.3, 0.35});
  const auto liar = [&] {
    Corroboration losses(10ms);
    for (int i = 0; i < 100; ++i) static_cast<void>(losses.hears(1, at_ms(10.0 * i), shares));
    return losses;
  };
  Corroboration quiet = liar();
  int ticks = 0;
  for (; !quiet.believes(1, shares); ++ticks) {
    ASSERT_LT(ticks, 1200);
    quiet.close_tick();
  }
  EXPECT_GT(ticks, 600) << "a liar who pauses for a minute is none again";
  Corroboration busy = liar();
  int events = 0;
  for (; !busy.believes(1, shares); ++events) {
    ASSERT_LT(events, 20);
    static_cast<void>(
        busy.hears(static_cast<RemoteKey>(2 + events % 3), at_ms(2000 + 10.0 * events), shares));
  }
}

TEST(Corroboration, AnyNumberOfRemotesIsHeardInFixedMemory) {
  const RemoteShares shares = shares_of({0.05, 0.3, 0.3, 0.35});
  Corroboration losses(10ms);
  for (RemoteKey other = 1000; other < 11'000; ++other)
    ASSERT_TRUE(losses.hears(other, at_ms(static_cast<double>(other)), shares));
}

TEST(RemoteKeys, NameAHostOrTheNetworkOfOne) {
  EXPECT_NE(remote_key(address("10.0.0.1")), remote_key(address("10.0.0.2")));
  EXPECT_EQ(remote_key(address("2001:db8:1:2::1")), remote_key(address("2001:db8:1:2:ffff::7")));
  EXPECT_NE(remote_key(address("2001:db8:1:2::1")), remote_key(address("2001:db8:1:3::1")));
  EXPECT_NE(remote_key(address("::1")), kNobody);
}

}  // namespace
}  // namespace weir
