#include "gateway/cli.hpp"

int main(int argc, char** argv) {
  return weir::gateway::run_command_line(argc, argv);
}
