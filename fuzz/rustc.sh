#!/bin/sh
# Cargo's wrapper for the crates of this workspace in a fuzz build: compiles the fuzz bodies in, and counts edges in everything but the runner itself.
# Dependencies are compiled as always, so a fuzz build after a plain one is short.
set -eu
case "${CARGO_PKG_NAME:-}" in
tipring-engine | tipring-signalling | tipring-meta-sim)
    exec "$@" --cfg fuzzing -C passes=sancov-module -C llvm-args=-sanitizer-coverage-level=3 \
        -C llvm-args=-sanitizer-coverage-inline-8bit-counters -C llvm-args=-sanitizer-coverage-trace-compares
    ;;
tipring-fuzz) exec "$@" --cfg fuzzing ;;
*) exec "$@" ;;
esac
