#!/bin/sh
# Runs inside the virtual machine: the unit tests that talk to the kernel, on the kernel that users run. Nothing may be
# skipped here, since this is the machine that has everything.
set -u
programs=${1:?usage: kernel_tests.sh FOLDER_OF_TEST_PROGRAMS}
code=0
for name in shaper_kernel_test classifier_program_test classifier_test; do
  log=/tmp/$name.log
  if "$programs/$name" >"$log" 2>&1 && ! grep -q SKIPPED "$log"; then
    echo "ok: $name: $(grep -c '  OK ' "$log") cases"
  else
    echo "FAILED: $name"
    grep -E -B30 'FAILED|SKIPPED' "$log"
    code=1
  fi
done
exit $code
