/// Every constant of the control law, in one place, each with its reason. docs/CONTROLLER.md discusses them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "config/units.hpp"

namespace weir::control {

using namespace std::chrono_literals;

/// Shaped rate as a share of the measured capacity: leaves 2 % to drain what the estimate got wrong.
inline constexpr double kGain = 0.98;
/// The same of a policer that senders' bursts come to, which its bucket has to hold: at 0.98 of 12 Mbit/s
/// with a bucket of ten packets 4 % were lost by chance, and the loss did not answer to small cuts.
inline constexpr double kGainUnpaced = 0.93;

// --- loss: a sequential probability ratio test between p0 (harmless) and p1 (congestion) ---
inline constexpr double kHarmlessLoss = 0.0005;
inline constexpr double kCongestionLoss = 0.004;  ///< p1 - p0 at the least
inline constexpr double kLossThreshold = 9.2;     ///< L at which to act: ln(10^4)
inline constexpr double kInitialDispersion = 10;  ///< phi before anything is known: losses come in bursts
inline constexpr Duration kLossEvent = 10ms;      ///< losses within it are one event
inline constexpr double kLossEventMemory = 0.98;  ///< a cohort: five seconds
inline constexpr Duration kDispersionWindow = 60s;
inline constexpr double kDispersionLosses = 20;  ///< fewer say nothing about Var/mean
inline constexpr Duration kFloorLifetime = 10min;
inline constexpr Duration kSuspicion = 8s;      ///< 1 % too much at 2.5 Mbit/s is decided within it
inline constexpr Duration kSecondOpinion = 5s;  ///< evidence that comes again within it is believed

// --- capacity after a loss ---
inline constexpr int kCohortsOfLoss = 2;  ///< from the first one with losses, to the cut
inline constexpr int kCohortsOfFirstLoss = 4;
inline constexpr Duration kLossTiming = 4ms;      ///< what both ends together may be off: two slots
inline constexpr Duration kLeastAfterLoss = 6ms;  ///< near senders collapse within 10 ms
inline constexpr Duration kSilence = 50ms;        ///< waiting for ACKs is over sooner, a timeout is not
inline constexpr Duration kLull = 8ms;            ///< between bursts: the limit may have been idle
inline constexpr std::uint64_t kLeastPassed =
    10;  ///< segments: a packet's worth of tokens may be left at a loss
inline constexpr std::size_t kMostSlotEnds = 400;  ///< bounds the work to their square

// --- a capacity that falls slowly ---
inline constexpr double kDriftMost = 0.15;    ///< fallen by more: it jumped
inline constexpr Duration kDriftTime = 5s;    ///< since it was measured before; longer ago it says nothing
inline constexpr double kDriftMargin = 0.03;  ///< that a cut takes ahead at the most
inline constexpr Duration kDriftWait = 5s;    ///< without a further cut, before it is probed for more

// --- queueing delay ---
inline constexpr Duration kQueueHigh = 8ms;      ///< q_hi at the least
inline constexpr Duration kQueueTarget = 3ms;    ///< q_t at the least
inline constexpr Duration kQueueProbe = 3ms;     ///< ends a probe, at the least
inline constexpr Duration kQueueClean = 1500us;  ///< under it a probe's round is clean
inline constexpr double kQueueHighOfBase = 0.08;
inline constexpr double kQueueTargetOfBase = 0.03;
inline constexpr double kQueueProbeOfBase = 0.04;
inline constexpr double kQueueCleanOfBase = 0.02;
inline constexpr double kNoiseMemory = 0.05;       ///< weight of a quiet tick
inline constexpr Duration kQueueRemembered = 5s;   ///< by the average that an AQM (RED) drops by,
inline constexpr double kRememberedLoss = 0.12;    ///< surely no more than that,
inline constexpr Duration kRememberedLosses = 1s;  ///< and as long as it goes on no probe can tell anything
inline constexpr int kQueueTicks = 3;  ///< consecutive fresh ticks above q_hi before it is evidence
inline constexpr std::uint32_t kMarksPerTick = 3;  ///< ECE echoes that weigh as much as a tick above q_hi

// --- drain ---
inline constexpr Duration kDrainTime = 300ms;  ///< T: the queue is to be gone after about that, or 2 base
inline constexpr double kDrainLeast = 0.5;
inline constexpr double kSlowed = 0.8;  ///< of the known capacity: what comes out in each of
inline constexpr int kSlowedTicks = 2;  ///< on end, while a sudden queue begins: the path has changed
/// Where the capacity is known and the queue no surprise there is no haste: the rate stays within a tenth.
inline constexpr double kDrainGently = 0.945;
inline constexpr double kDrainShrink = 0.97;  ///< C when a drain did less than half of what it should
inline constexpr double kHeld = 0.9;          ///< S / r from which our rate is what limits us

// --- somebody else's queue, a longer route, the way back ---
inline constexpr double kAllDelivered = 1.08;  ///< D / S so near one: the path carries what we send
inline constexpr double kMostDelivered = 0.8;  ///< less: it carries less than that
inline constexpr double kContrast = 0.85;  ///< S / C at the most at which a queue of ours would have to fall
inline constexpr double kContrastStep = 0.7;   ///< of S: the second rate that has to show it
inline constexpr int kForeignSteps = 3;        ///< of a drain, each without an effect: contrast enough
inline constexpr Duration kForeignLeast = 1s;  ///< that a queue has to stand, before it is somebody else's
inline constexpr Duration kForeignPauseLeast = 10s;  ///< until it is tried again, then twice as long
inline constexpr Duration kForeignPauseMost = 60s;
inline constexpr Duration kForeignMemory = 60s;   ///< after that: a queue is taken for the same
inline constexpr Duration kForeignMeasured = 1s;  ///< of D, before it is tried again
inline constexpr double kForeignTried = 0.75;     ///< share of D to go down to then
inline constexpr int kForeignGoneTicks = 5;
inline constexpr Duration kRouteSpread = 3ms;  ///< of q over kRouteTime at the most: no queue stands so still
inline constexpr Duration kRouteTime = 2s;
inline constexpr std::uint32_t kSplitSamples = 8;  ///< from which the way out of q is told from the way back

// --- what is known of the capacity ---
inline constexpr double kTickSpread = 0.04;       ///< of D over one tick, at the least
inline constexpr double kTickPackets = 2;         ///< that the ends of a count may be off: ACKs come for two
inline constexpr double kTickPacketsMost = 0.07;  ///< no reason to take C for badly known (kKnownBadly)
inline constexpr double kPacketBits = 12'000;     ///< of a packet of the usual size
inline constexpr std::size_t kStretchTicks = 3;   ///< with a queue, from which its growth tells D
inline constexpr double kStretchSpread = 0.1;     ///< s, of the send times at the least (root of the squares)
inline constexpr double kStretchNoise = 0.0015;   ///< s, of one tick's queue at the least
inline constexpr double kCapacitySpread = 0.05;   ///< figures this close agree, whatever their errors
inline constexpr double kCapacityErrorLeast = 0.005;  ///< no measurement is better than that
inline constexpr double kCapacityErrorMost = 0.25;
inline constexpr double kCapacityAgeing = 0.0002;  ///< a second: a hundredth in 50 s
inline constexpr double kCapacityAgeingMost = 0.05;

// --- verify ---
inline constexpr Duration kVerifyTime = 5s;
inline constexpr double kVerifyOdds = 4.6;     ///< |log likelihood ratio| that decides: 100 to 1
inline constexpr double kVerifyHelped = 0.85;  ///< remaining share of the loss below which the cut helped
inline constexpr double kMostHarmless = 0.05;  ///< more is congestion until six cuts have not helped
inline constexpr int kMostCuts = 6;
inline constexpr Duration kVerifyEarly =
    400ms;  ///< after the cut a limit that falls has not fallen below it yet:
inline constexpr double kVerifyEarlyShare =
    0.33;  ///< the share of the whole loss ratio that is lost then at the most
inline constexpr std::uint32_t kVerifySegments = 50;
inline constexpr double kMostLoss = 0.99;  ///< that a ratio is compared with: its logarithm must be finite

// --- probe ---
/// Twice +4 %: a token bucket of 10 ms hides the first step, and the second still stays within 6 % of the
/// capacity.
inline constexpr std::array<double, 6> kProbeSteps = {0.04, 0.04, 0.08, 0.16, 0.32, 0.50};
/// After a round that went clean just past the known limit: it is gone.
inline constexpr std::size_t kProbeStepPast = 2;
/// The first one where no limit was seen, or a run ended clean above the one that was.
inline constexpr std::size_t kProbeStepUnknown = 3;
inline constexpr double kProbePast = 1.01;  ///< of the known capacity and its error: where a run slows down
inline constexpr double kLeastStep = 1.01;
inline constexpr double kProbeMostFirst = 1.16;   ///< towards a capacity that is known badly:
inline constexpr Duration kKnownLately = 3s;      ///< and only then: later a probe has shown it to be no more
inline constexpr double kKnownBadly = 0.08;       ///< its error from there on
inline constexpr double kResponseLeast = 0.25;    ///< of the queue to a step; steps grow by its inverse
inline constexpr double kResponseSurely = 0.055;  ///< what one run was too much by, to tell it alone
inline constexpr Duration kQueueOfSmallStep = 25ms;  ///< up to kProbeNear 8 ms a tick, seen within two
inline constexpr double kProbeNear = 1.08;  ///< of the known capacity: the first step, and a second of 4 %
inline constexpr Duration kProbeRound = 400ms;  ///< of sending, or 3 RTT
inline constexpr Duration kProbeRoundNear =
    1s;  ///< just past a known policer: 2 % of it empty 20 ms of bucket
inline constexpr Duration kProbeRoundMost = 8s;     ///< where a bucket of that size hid the limit before
inline constexpr double kProbePastMost = 1.05;      ///< and the rate for it, as kProbePast
inline constexpr Duration kProbePatience = 2s;      ///< for the senders to fill the raised rate
inline constexpr Duration kProbePatienceMost = 8s;  ///< as long as they send more and more
inline constexpr double kDemandGrows = 1.03;        ///< in a second
inline constexpr double kDemand = 0.95;             ///< S / r from which the site wants more
inline constexpr double kProbeUsed = 0.97;          ///< S / r from which a round has tried its rate;
inline constexpr double kProbeUsedUnknown = 0.9;    ///< where no limit is known, before our own leaf drops
inline constexpr Duration kDemandWindow = 500ms;
inline constexpr Duration kProbeWaitFirst = 500ms;  ///< after a cut, or a run that gained or found no demand
inline constexpr Duration kProbeWaitLeast = 2s;     ///< after an aborted run; then twice as long, up to
inline constexpr Duration kProbeWaitMost = 4s;
inline constexpr Duration kProbeWaitOfBuffer = 3s;  ///< a probe of it costs a little queue, and no packet
inline constexpr Duration kProbeWaitHeld = 8s;  ///< where a class would suffer, or the capture cannot keep up
inline constexpr double kProbeJitter = 0.4;
inline constexpr double kProbeGained = 1.05;  ///< a run that raised the rate so far starts the waits anew
/// A latency goal that is missed at the provider holds a probe back for so long at the most.
inline constexpr Duration kLatencyPatience = 60s;
/// More than a probe's own step can lose, at less than what went through clean before it: the path itself has
/// changed.
inline constexpr double kFallen = 0.9;
inline constexpr double kFallenLoss = 0.05;
inline constexpr double kSettleError = 0.12;    ///< what a probe measured worse than that is not used
inline constexpr double kChanceError = 0.03;    ///< what tells that no limit was met, at the most
inline constexpr double kProbeLossOdds = 0.02;  ///< chance of that many losses at the usual ratio that aborts

// --- outage, blindness ---
inline constexpr Duration kOutageLeast = 1s;
inline constexpr Duration kBlindAfter = 10s;

// --- what outlives the daemon ---
inline constexpr double kRestartGain =
    0.95;  ///< of a capacity from before: what it has lost since is probed for
inline constexpr Duration kMemoryLifetime = 24h;  ///< of a capacity, and of a memory as a whole

inline constexpr Duration kMemory = 12s;  ///< of ticks and cohorts
inline constexpr Duration kSlotMemory =
    4s;  ///< of the cohorts' slots: up to an RTT of 2 s evidence is judged sooner
inline constexpr Duration kShownWindow = 10s;  ///< behind the loss ratios that people see

}  // namespace weir::control
