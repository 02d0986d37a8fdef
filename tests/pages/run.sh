#!/usr/bin/env bash
# The pages in a real browser: two nodes on this machine, headless Chromium, every page in light and dark, narrow and
# wide. Installs what is missing (Chromium and Node.js by apt-get, two packages of pinned versions by npm) and fails
# where that cannot be done. Screenshots lie in target/pages-shots afterwards.
set -euo pipefail
cd "$(dirname "$0")/../.."

tools=target/pages-tools
need=()
command -v chromium > /dev/null || need+=(chromium fonts-liberation)
command -v node > /dev/null && command -v npm > /dev/null || need+=(nodejs npm)
if [ "${#need[@]}" -gt 0 ]; then
    apt-get update --quiet --quiet
    apt-get install --yes --quiet --no-install-recommends "${need[@]}" > /dev/null
fi
mkdir -p "$tools"
cp tests/pages/package.json tests/pages/package-lock.json "$tools/"
if ! cmp --silent "$tools/package-lock.json" "$tools/installed-lock.json"; then
    npm ci --prefix "$tools" --ignore-scripts --no-audit --no-fund --loglevel=error
    cp "$tools/package-lock.json" "$tools/installed-lock.json"
fi
cargo build --quiet --locked --bin market

exec node tests/pages/pages.mjs \
    "${CARGO_TARGET_DIR:-target}/debug/market" "$(command -v chromium)" "$tools/node_modules" target/pages-shots
