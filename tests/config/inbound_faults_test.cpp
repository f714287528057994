// Faults of what a policy file says of traffic that comes from sites (policy_fault.hpp).
#include "policy_fault.hpp"

namespace weir::test {
namespace {

INSTANTIATE_TEST_SUITE_P(
    Inbound, PolicyFault,
    ::testing::Values(
        Case{.name = "InboundWithoutLan",
             .lan = "",
             .sites = site("rate: {floor: 45mbit}, inbound: @{rate: 300mbit}"),
             .expected = {{"what comes from site 'coast' is shaped at the LAN port, and the file names none",
                           "add lan: {interface: lan0}"}}},
        Case{.name = "InboundHasAFixedRate",
             .sites = site("rate: {floor: 45mbit}, inbound: {rate: @{floor: 300mbit}}"),
             .expected = {{"'rate' takes a single value here", "write rate: 300mbit"}}},
        Case{.name = "InboundWithoutRate",
             .sites = site("rate: {floor: 45mbit}, inbound: @{policy: p}"),
             .expected = {{"inbound lacks 'rate'", "add rate: 300mbit"}}},
        Case{.name = "InboundAboveTheWanPort",
             .sites = site("rate: {floor: 45mbit}, inbound: {rate: @623mbit}"),
             .expected = {{"rate 623mbit is above the LAN port's rate of 622mbit",
                           "write at most 622mbit, or a higher lan.rate"}}},
        Case{.name = "InboundAboveTheLanPort",
             .lan = "{interface: lan0, rate: 100mbit}",
             .sites = site("rate: {floor: 45mbit}, inbound: {rate: @101mbit}"),
             .expected = {{"rate 101mbit is above the LAN port's rate of 100mbit",
                           "write at most 100mbit, or a higher lan.rate"}}},
        Case{
            .name = "InboundRatesDoNotFitTogether",
            .lan = "{interface: lan0, rate: 100mbit}",
            .sites = "[{name: a, subnets: [10.1.0.0/16], rate: {floor: 1mbit}, inbound: {rate: 50mbit}}, "
                     "{name: b, subnets: [10.2.0.0/16], rate: {floor: 1mbit}, inbound: {rate: @50mbit}}]",
            .expected =
                {{"the least rates of all that comes from sites (100mbit) and what control and elsewhere are "
                  "guaranteed (3mbit) do not fit into the LAN port's 100mbit",
                  "lower the rates by 3mbit in total, or write a higher lan.rate"}}},
        Case{.name = "InboundFloorAboveTheRate",
             .sites = site("rate: {floor: 45mbit}, inbound: {rate: 50mbit, floor: @60mbit}"),
             .expected = {{"floor 60mbit is above the rate of 50mbit",
                           "write at most 50mbit, or raise the rate"}}},
        Case{.name = "InboundStartBelowTheFloor",
             .sites = site("rate: {floor: 45mbit}, inbound: {rate: 50mbit, floor: 10mbit, start: @9mbit}"),
             .expected = {{"start 9mbit is below the floor of 10mbit", "write at least 10mbit"}}},
        Case{.name = "InboundStartAboveTheRate",
             .sites = site("rate: {floor: 45mbit}, inbound: {rate: 50mbit, floor: 10mbit, start: @51mbit}"),
             .expected = {{"start 51mbit is above the rate of 50mbit", "write at most 50mbit"}}},
        Case{.name = "InboundStartOfARateThatStandsStill",
             .sites = site("rate: {floor: 45mbit}, inbound: {rate: 50mbit, start: @40mbit}"),
             .expected = {{"start is of a rate that follows the path, and this one stands still",
                           "add floor: with the least that it may be, or remove start"}}},
        Case{
            .name = "InboundFloorsDoNotFitTogether",
            .lan = "{interface: lan0, rate: 100mbit}",
            .sites = "[{name: a, subnets: [10.1.0.0/16], rate: {floor: 1mbit}, inbound: {rate: 90mbit, "
                     "floor: 50mbit}}, "
                     "{name: b, subnets: [10.2.0.0/16], rate: {floor: 1mbit}, inbound: {rate: 90mbit, "
                     "floor: @50mbit}}]",
            .expected =
                {{"the least rates of all that comes from sites (100mbit) and what control and elsewhere are "
                  "guaranteed (3mbit) do not fit into the LAN port's 100mbit",
                  "lower the floors by 3mbit in total, or write a higher lan.rate"}}},
        Case{.name = "InboundPolicyThatIsNotThere",
             .sites = site("rate: {floor: 45mbit}, inbound: {rate: 300mbit, policy: @q}"),
             .expected = {{"there is no policy 'q'", "did you mean 'p'?"}}},
        Case{.name = "InboundGuaranteesOfSubnets",
             .sites =
                 site("rate: {floor: 45mbit}, inbound: {rate: 10mbit, each_subnet: {guarantee: @11mbit}}"),
             .expected =
                 {{"the guarantees of 1 subnets add up to 11mbit at what comes from site 'coast', whose "
                   "rate is 10mbit",
                   "write at most 10mbit, or raise the rate"}}},
        Case{.name = "InboundGuaranteesOfClasses",
             .sites = site("rate: {floor: 45mbit}, inbound: {rate: 10mbit, policy: p}"),
             .classes = "[{name: rest, default: true, guarantee: @11mbit}]",
             .expected =
                 {{"the guarantees of policy 'p' add up to 11mbit at what comes from site 'coast', whose "
                   "rate is 10mbit (on line 3, column 87)",
                   "lower them by 1mbit in total, or raise the rate"}}}),
    case_name);

}  // namespace
}  // namespace weir::test
