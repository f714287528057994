// weir_sim: one scenario, one law, one seed; prints the score as JSON.
#include <algorithm>
#include <fstream>
#include <iostream>
#include <optional>

#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include "proving/path/scenario.hpp"
#include "proving/path/truth.hpp"
#include "proving/sim/world.hpp"

namespace {

constexpr int kSkipped = 77;

std::string quoted(std::string text) {
  for (std::size_t at = 0; (at = text.find('"', at)) != std::string::npos; at += 2) text.insert(at, 1, '"');
  return '"' + text + '"';
}

void write_decisions(const std::string& path, const weir::proving::Scenario& scenario,
                     const std::vector<weir::proving::Decision>& decisions) {
  std::ofstream out(path);
  out << "time_s,site,rate_bps,reason\n";
  for (const auto& d : decisions)
    out << fmt::format("{:.3f},{},{},{}\n", weir::seconds(d.at.time_since_epoch()),
                       scenario.sites[d.site].name, d.rate.bps(), quoted(d.reason));
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Runs a scenario of the proving ground in ns-3 and scores it.");
  std::string file;
  std::string law = "weir";
  std::uint32_t seed = 1;
  std::optional<double> scale;
  std::string series;
  std::string decisions;
  std::string capture;
  std::string ticks;
  app.add_option("scenario", file, "YAML file")->required();
  app.add_flag_callback(
      "--laws",
      [] {
        for (const std::string& name : weir::proving::law_names()) std::cout << name << '\n';
        throw CLI::Success();
      },
      "print the names of the laws");
  app.add_option("--law", law, "whose law shapes")->check(CLI::IsMember(weir::proving::law_names()));
  app.add_option("--seed", seed, "determines the run");
  app.add_option("--scale", scale, "all rates of the scenario times this (default: what the file says)")
      ->check(CLI::Range(0.001, 1000.0));
  app.add_option("--series", series, "write what happened, a row every 10 ms, as CSV");
  app.add_option("--decisions", decisions, "write each change of rate with its reason, as CSV");
  app.add_option("--capture", capture, "write what the tap saw as pcap");
  app.add_option("--ticks", ticks, "write what the estimator told, a row a tick, as CSV");
  CLI11_PARSE(app, argc, argv);
  try {
    const auto whole = weir::proving::load_scenario(file);
    const auto scenario = weir::proving::scaled(whole, scale.value_or(whole.simulate_scale));
    if (std::any_of(scenario.loads.begin(), scenario.loads.end(),
                    [](const auto& l) { return l.congestion == "bbr"; })) {
      std::cerr << "weir_sim: ns-3.37's bbr decays by itself after its first losses: bbr is tried on real "
                   "kernels\n";
      return kSkipped;
    }
    weir::proving::World world(scenario, law, seed);
    if (!capture.empty()) world.capture_to(capture);
    if (!ticks.empty()) world.write_ticks_to(ticks);
    world.run();
    if (!series.empty()) weir::proving::write_csv(scenario, world.truth(), series);
    if (!decisions.empty()) write_decisions(decisions, scenario, world.decisions());
    std::cout << weir::proving::to_json(weir::proving::score(scenario, world.truth())) << '\n';
    return 0;
  } catch (const std::exception& e) {
    std::cerr << "weir_sim: " << e.what() << '\n';
    return 1;
  }
}
