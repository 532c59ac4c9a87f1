#!/usr/bin/env bash
# Benchmarks by the names that scripts know, thin over `carnot`: everything is done by the verbs that it prints.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: scripts/benchmark.sh [TYPE…] [flags]

types  all (if nothing is said), inference, memory, concurrent, cache, profiling, baseline

  -o, --output DIRECTORY   for benchmark_results, performance_baseline and flamegraphs [.]
  -m, --model FILE         the model [the embedded one]
  -b, --baseline FILE      the baseline to compare with [DIRECTORY/performance_baseline/baseline_results.json]
  -t, --timeout SECONDS    for each type [300]
  -p, --profile            with inference, memory, concurrent: flame graphs, pprof, hotspots
  -c, --compare            compare a new baseline with the kept one: exit code 1 if worse, 3 if nobody knows
  -r, --report             say where the report is
      --targets FILE       targets of the baseline
      --ci                 no progress, no colour; with --compare also a table for a comment
  -h, --help

$CARNOT names the program [carnot on the PATH, or target/release/carnot].
TEXT
}

fail() { echo "benchmark.sh: $1" >&2; exit 2; }

types=() output=. model=() baseline= seconds=300 profile= compare= report= ci= targets=()
while (($#)); do
  case $1 in
    all | inference | memory | concurrent | cache | profiling | baseline) types+=("$1") ;;
    -o | --output) output=${2:?--output: expected a directory}; shift ;;
    -m | --model) model=("${2:?--model: expected a file}"); shift ;;
    -b | --baseline) baseline=${2:?--baseline: expected a file}; shift ;;
    -t | --timeout) seconds=${2:?--timeout: expected seconds}; shift ;;
    -p | --profile) profile=1 ;;
    -c | --compare) compare=1 ;;
    -r | --report) report=1 ;;
    --targets) targets=(--targets "${2:?--targets: expected a file}"); shift ;;
    --ci) ci=1 ;;
    -h | --help) usage; exit 0 ;;
    *) fail "expected a type or a flag, got $1; --help lists them" ;;
  esac
  shift
done
((${#types[@]})) || types=(all)
[[ $seconds =~ ^[1-9][0-9]*$ ]] || fail "--timeout: expected whole seconds, got $seconds"
carnot=${CARNOT:-$(command -v carnot || echo "$(dirname "$0")/../target/release/carnot")}
[[ -x $carnot ]] || fail "no carnot on the PATH and none built: cargo build --release"
baseline=${baseline:-$output/performance_baseline/baseline_results.json}
[[ $ci ]] && export NO_COLOR=1

run() {
  echo "+ carnot $*" >&2
  timeout "$seconds" "$carnot" "$@"
}

profiling() {
  run bench cpu "${model[@]}" --output "$output/benchmark_results"
}

for type in "${types[@]}"; do
  case $type in
    profiling) profiling ;;
    baseline) run baseline "${model[@]}" "${targets[@]}" --output "$output/performance_baseline" ;;
    inference | memory | concurrent) run bench "$type" "${model[@]}" ${profile:+--profile} --output "$output/benchmark_results" ;;
    *) run bench "$type" "${model[@]}" --output "$output/benchmark_results" ;;
  esac
done
if [[ -d $output/benchmark_results/flamegraphs ]]; then
  mkdir -p "$output/flamegraphs"
  mv -f "$output/benchmark_results/flamegraphs"/* "$output/flamegraphs"
  rmdir "$output/benchmark_results/flamegraphs"
fi
[[ $report ]] && echo "report: $output/benchmark_results/benchmark_report.html"
if [[ $compare ]]; then
  [[ -e $baseline ]] || fail "no baseline at $baseline: scripts/benchmark.sh baseline writes one"
  new=$(mktemp -d)
  trap 'rm -r "$new"' EXIT
  run baseline "${model[@]}" "${targets[@]}" --output "$new" >/dev/null
  comment=()
  [[ $ci ]] && comment=(--report "$output/comparison.md")
  run compare --current "$new/baseline_results.json" --baseline "$baseline" --threshold 10 "${comment[@]}"
fi
