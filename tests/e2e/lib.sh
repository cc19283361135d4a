# What the end-to-end scripts share: packages, the binary, and the driver.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

# Installs what is missing. Debian starts services when it installs them; these tests start their own.
install_packages() {
  local missing=()
  command -v prometheus >/dev/null || missing+=(prometheus)
  command -v prometheus-node-exporter >/dev/null || missing+=(prometheus-node-exporter)
  [ ${#missing[@]} -gt 0 ] || return 0
  local policy=/usr/sbin/policy-rc.d made=no
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
    made=yes
  fi
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
  [ "$made" = no ] || rm -f "$policy"
}

# run_scenario NAME [BINARY]: with the binary given, else with the development build, made here.
run_scenario() {
  local scenario=$1 binary=${2:-}
  install_packages
  if [ -z "$binary" ]; then
    cargo build --package cardinal-server
    binary=${CARGO_TARGET_DIR:-target}/debug/cardinal
  fi
  cargo run --quiet --package cardinal-tests --example e2e -- "$scenario" "$binary"
}
