#!/usr/bin/env bash
# Takes the pictures of the console that the documentation shows, anew. Takes two minutes; wants npm, which brings the browser.
set -euo pipefail
cd "$(dirname "$0")/../.."
mkdir -p docs/console
DIRIGO_PICTURES="$PWD/docs/console" cargo test --release --workspace --locked --test console pictures
